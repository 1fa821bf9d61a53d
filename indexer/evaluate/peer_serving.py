"""How a peer is run: an index written, and served with FastAPI, as anybody would, on a free port.

python -m indexer.evaluate.peer… index --products FILE --models DIR --out DIR
python -m indexer.evaluate.peer… serve --index DIR --models DIR
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import uvicorn
from fastapi import FastAPI

from engine.text import whole_text
from engine.types import Product

PRODUCTS = "products.jsonl"
"""In the index of a peer: what it answers with, a product a line."""


class Searches(Protocol):
    """A peer's pipeline."""

    def search(self, text: str, k: int) -> list[dict[str, Any]]:
        """The best `k` products as they were indexed, with their scores."""


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write a file that comes to `path` when the block succeeds, and only then."""
    aside = path.with_name(f".{path.name}.fresh")
    try:
        yield aside
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def read_products(path: Path) -> list[dict[str, Any]]:
    """The products of a JSON Lines file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def texts_of(products: list[dict[str, Any]]) -> list[str]:
    """What a peer reads of them: all their texts, as far as its model reads."""
    return [whole_text(Product.from_dict(product)) for product in products]


def main(
    description: str | None,
    build: Callable[[Path, Path, Path], None],
    load: Callable[[Path, Path], Searches],
) -> None:
    """Index or serve, as the command line says.

    Args:
        description: of the peer.
        build: given a file of products, the folder of models and an empty folder, writes an index.
        load: given an index and the folder of models, opens it.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("what", choices=("index", "serve"))
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--products", type=Path)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.what == "serve":
        _serve(load(given.index, given.models))
        return
    given.out.mkdir(parents=True, exist_ok=True)
    build(given.products, given.models, given.out)
    with whole(given.out / PRODUCTS) as aside:  # last: what has it is whole
        shutil.copyfile(given.products, aside)


def _serve(pipeline: Searches) -> None:
    """Answer `GET /v1/search?q=…&k=…` on a free port, printed once it can."""
    app = FastAPI()

    @app.get("/v1/search")
    def search(q: str, k: int = 10) -> dict[str, Any]:
        return {"hits": pipeline.search(q, k)}

    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"ready at http://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
    server.run(sockets=[listener])
