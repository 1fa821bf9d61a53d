"""Small catalogs for the tests, and a short way to read them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.types import Product
from indexer.catalog import RejectLog, read_catalog


@dataclass(frozen=True)
class Outcome:
    """What reading a catalog gave."""

    products: list[Product]
    rejects: list[dict[str, Any]]
    by_reason: Counter[str]

    @property
    def ids(self) -> list[str]:
        return [product.id for product in self.products]


def read(source: Path, layout: str = "auto", mapping: Mapping[str, str] | None = None) -> Outcome:
    """Read a catalog, with its rejects file beside it."""
    log = source.parent / "rejects.jsonl"
    with RejectLog(log) as rejects:
        found = read_catalog(source, layout=layout, mapping=mapping or {}, rejects=rejects)
        products = list(found)
    lines = log.read_text("utf-8").splitlines() if log.exists() else []
    return Outcome(products, [json.loads(line) for line in lines], rejects.by_reason)


def write_jsonl(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def read_row(folder: Path, **fields: object) -> Product:
    """The product that one JSON row becomes."""
    row = {"id": "p1", "title": "Kettle"} | fields
    outcome = read(write_jsonl(folder / "one.jsonl", row))
    assert outcome.rejects == []
    return outcome.products[0]


def rejected_row(folder: Path, **fields: object) -> tuple[str, str]:
    """(reason, field) for which one JSON row is rejected."""
    row = {"id": "p1", "title": "Kettle"} | fields
    outcome = read(write_jsonl(folder / "one.jsonl", row))
    assert outcome.products == []
    (entry,) = outcome.rejects
    return entry["reason"], entry["field"]
