"""Faults of what is read: it changes meanwhile, its lines have no end, every row of it is bad."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.errors import CatalogError
from indexer.apply import apply_changes
from indexer.build import IndexOptions, index_catalog
from indexer.progress import Advance
from tests.faults.shop import Shop, Step

_LONG = 10 * 2**20  # bytes of one line


@dataclass(frozen=True)
class Meddler:
    """Changes a file as soon as some of its rows were read."""

    path: Path
    draw: random.Random
    after: int

    @contextmanager
    def step(self, name: str, total: int | None) -> Iterator[Advance]:
        rows = itertools.count(1)

        def advance(done: int, /) -> None:
            if name == "Reading" and next(rows) == self.after:
                self._meddle()

        yield advance

    def _meddle(self) -> None:
        content = self.path.read_bytes()
        match self.draw.randrange(5):
            case 0:
                self.path.write_bytes(content + b'{"id": "late", "title": "Late"}\n')
            case 1:
                self.path.write_bytes(content[: self.draw.randrange(len(content))])
            case 2:
                self.path.write_bytes(content[::-1])
            case 3:
                aside = self.path.with_suffix(".next")
                aside.write_bytes(content.upper())
                aside.replace(self.path)
            case _:
                self.path.unlink()


@dataclass(frozen=True)
class ChangingCatalog:
    """The catalog is appended to, cut, rewritten, replaced or deleted while it is read."""

    name: str = "catalog that changes while it is read"

    def stage(self, shop: Shop, draw: random.Random) -> Step:
        step = shop.next("index", draw)
        path = step.command.source
        whole = path.read_bytes()
        path.write_bytes(whole + b"\n" * 300_000)  # more than is read ahead
        meddler = Meddler(path, draw, draw.randint(1, len(step.after.products)))
        with pytest.raises(CatalogError, match=r"changed while it was read|does not exist"):
            step.command.run(meddler)
        shop.holds(step, done=False)
        path.write_bytes(whole)
        return step


@dataclass(frozen=True)
class EndlessLines:
    """Lines of 10 MB among the products: they are rejected, the others count."""

    name: str = "10 MB lines"

    def stage(self, shop: Shop, draw: random.Random) -> Step:
        step = shop.next("index", draw)
        path = step.command.source
        lines = path.read_text(encoding="utf-8").splitlines()
        count = draw.randint(1, 3)
        for _ in range(count):
            text = draw.choice("x\x00{é") * _LONG
            row = json.dumps({"id": "long", "title": text}) if draw.random() < 0.5 else text
            lines.insert(draw.randint(1, len(lines)), row)
        path.write_text("\n".join(lines) + draw.choice(["", "\n"]), encoding="utf-8")
        bare = IndexOptions(encoder=step.command.encoder, reranker=None, ranking=None, threads=1)
        report = index_catalog(path, shop.store, bare)
        assert report.rejects_by_reason == {"line too long": count}
        assert report.rejects_file is not None
        assert len(report.rejects_file.read_text(encoding="utf-8").splitlines()) == count
        shop.acknowledge(step, report.snapshot_id)
        return step


_BAD = (
    '{"title": "no id"}',
    '{"id": "x1"}',
    '{"id": "x2", "title": "t", "price": "dear"}',
    '{"id": "x3", "title": "t", "rating": "good"}',
    '{"id": ',
    "[]",
    '{"id": "x4", "title": "t", "in_stock": "perhaps"}',
)


@dataclass(frozen=True)
class BadRows:
    """A large catalog, or a large file of changes, of which every row is bad."""

    rows: int

    @property
    def name(self) -> str:
        return f"every one of {self.rows:,} rows bad"

    def stage(self, shop: Shop, draw: random.Random) -> Step:
        step, again = shop.next("index", draw), shop.next("index", draw)
        path = step.command.source
        with path.open("w", encoding="utf-8") as file:
            file.writelines(draw.choice(_BAD) + "\n" for _ in range(self.rows))
        if draw.random() < 0.5:
            with pytest.raises(CatalogError, match=r"every row of .* was rejected .*rejects.jsonl"):
                step.command.run()
            log = shop.store / "rejects.jsonl"
        else:
            report = apply_changes(path, shop.store, IndexOptions(threads=1))
            assert report.rejected == self.rows
            assert report.snapshot_id == shop.snapshots.current_id()
            log = shop.store / "rejects-apply.jsonl"
        with log.open(encoding="utf-8") as listed:
            assert sum(1 for _ in listed) == self.rows
        shop.holds(again, done=False)
        return again
