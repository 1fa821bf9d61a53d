"""How a peer is served: FastAPI, as anybody would, on a free port."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any, Protocol

import uvicorn
from fastapi import FastAPI

PRODUCTS = "products.jsonl"
"""In the index of a peer: what it answers with, a product a line."""


class Searches(Protocol):
    """A peer's pipeline."""

    def search(self, text: str, k: int) -> list[dict[str, Any]]:
        """The best `k` products as they were indexed, with their scores."""


def read_lines(path: Path) -> list[str]:
    """The lines of a JSON Lines file."""
    return path.read_text(encoding="utf-8").splitlines()


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
