"""How a peer is served: FastAPI, as anybody would, on a free port."""

from __future__ import annotations

import argparse
import json
import socket
import sys
from pathlib import Path
from typing import Any, Protocol

import uvicorn
from fastapi import FastAPI

from engine.text import passage
from engine.types import Product

PRODUCTS = "products.jsonl"
"""In the index of a peer: what it answers with, a product a line."""


class Searches(Protocol):
    """A peer's pipeline."""

    def search(self, text: str, k: int) -> list[dict[str, Any]]:
        """The best `k` products as they were indexed, with their scores."""


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options of every peer."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("what", choices=("index", "serve"))
    parser.add_argument("--products", type=Path)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--out", type=Path)
    return parser


def read_products(path: Path) -> list[dict[str, Any]]:
    """The products of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def texts_of(products: list[dict[str, Any]]) -> list[str]:
    """What a peer reads of them."""
    return [passage(Product.from_dict(product)) for product in products]


def serve(pipeline: Searches) -> None:
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
