"""What the benchmarks share: alternating rounds, spreads, what they read, and how they report."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from engine.types import Product
from indexer.catalog import RejectLog, read_catalog

Row = Mapping[str, object]
"""One line of a table: column → cell."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some measurements and how far they scatter."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Median, least and most of the values."""
        return cls(float(np.median(values)), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.3g} [{self.low:.3g}, {self.high:.3g}]"


def seconds_of(run: Callable[[], object]) -> float:
    """How long one call takes, by the wall clock."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def alternate(subjects: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each subject in each round, one after another within a round.

    Whatever else the machine does then slows all subjects of a round alike: a ratio within a round
    means something where a time does not.
    """
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, run in subjects.items():
            seconds[name].append(seconds_of(run))
    return seconds


def speedup(seconds: Sequence[float], peer: Sequence[float]) -> Spread:
    """How many times as fast as the peer, round by round."""
    return Spread.of([theirs / ours for ours, theirs in zip(seconds, peer, strict=True)])


def percentiles(seconds: Sequence[float], *points: int) -> dict[str, object]:
    """Milliseconds at these percentiles, as cells of a table."""
    found = np.percentile(np.asarray(seconds) * 1000, points)
    names = ("median ms" if point == 50 else f"p{point} ms" for point in points)
    return {name: round(float(value), 3) for name, value in zip(names, found, strict=True)}


def memory_mb(process: int | None = None, *, peak: bool = False) -> float:
    """Resident memory of a process in MB (10^6 bytes), this one if none is given; Linux only."""
    status = Path(f"/proc/{process or os.getpid()}/status")
    if not status.exists():
        raise SystemExit("memory is read from /proc: run this benchmark on Linux")
    name = "VmHWM:" if peak else "VmRSS:"
    lines = status.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(name))


def disk_mb(folder: Path) -> float:
    """Size of the files in a folder, in MB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def optional_module(name: str, install: str) -> Any:  # noqa: ANN401 - a module has no better type
    """A module that the project does not depend on; exits with the cure where it is missing."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"{error.name} is not installed. Install it with: pip install {install}"
        ) from error


def read_products(catalog: Path) -> list[Product]:
    """Every good row of a catalog file."""
    with RejectLog(None) as rejects:
        return list(read_catalog(catalog, rejects=rejects))


def catalog_in(folder: Path) -> Path:
    """The file `products.*` of a judged set."""
    found = sorted(folder.glob("products.*"))
    if not found:
        raise SystemExit(f"{folder} holds no products.* file. Name a folder that holds a set")
    return found[0]


def read_texts(path: Path, wanted: int) -> list[str]:
    """`wanted` distinct queries of a file: a text, or id<TAB>text, in each line.

    Drawn by chance, the same each time: sorted files begin with queries that all hold numbers.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    texts = list(dict.fromkeys(line.rpartition("\t")[2].strip() for line in lines))
    texts = [text for text in texts if text]
    if len(texts) < wanted:
        raise SystemExit(f"{path} holds {len(texts)} distinct queries, {wanted} are needed")
    return random.Random(0).sample(texts, wanted)


def arguments(documentation: str | None) -> argparse.ArgumentParser:
    """A parser that every benchmark adds its options to."""
    parser = argparse.ArgumentParser(
        description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return parser


def report(tables: Mapping[str, Sequence[Row]], *, as_json: bool) -> None:
    """Print tables by title: aligned Markdown, or one JSON object."""
    if as_json:
        cells = json.dumps(tables, default=_plain, ensure_ascii=False, indent=2)
        sys.stdout.write(cells + "\n")
        return
    for title, rows in tables.items():
        sys.stdout.write(f"\n{title}\n\n{_markdown(rows)}\n")


def _plain(value: object) -> object:
    if isinstance(value, Spread):
        return {"median": value.median, "low": value.low, "high": value.high}
    raise TypeError(f"{type(value).__name__} is no cell")


def _markdown(rows: Sequence[Row]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    texts = [[_text(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *texts, strict=True)]
    lines = [columns, ["-" * width for width in widths], *texts]
    padded = (map(str.ljust, line, widths) for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def _text(cell: object) -> str:
    return f"{cell:.6g}" if isinstance(cell, float) else str(cell)
