"""What indexing a catalog again costs, as a share of indexing it for the first time.

A copy of the catalog with made-up prices is indexed whole, then changed in four ways, each from
that same snapshot and in a process of its own, as a shop would: `daogou index` or `daogou apply`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from tests.benchmarks.common import Row, Spread, arguments, report, seconds_of

_SEED = 1


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__)
    options.add_argument("--catalog", type=Path, required=True, help="a Parquet file")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--work", type=Path, help="a folder to work in")
    options.add_argument("--keep", action="store_true", help="keep the first snapshot, or use it")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(dir=given.work) as folder:
        work = Path(folder)
        catalog = _priced(pd.read_parquet(given.catalog))
        kept = (given.work or work) / "reindex-store"
        whole = _recorded(kept) if kept.is_dir() else _first(catalog, kept, work)
        rows: list[Row] = [{"change": "(first time)", "seconds": whole}]
        for name, change, command in CHANGES:
            seconds = []
            for _ in range(given.rounds):
                store = work / "store"
                # Links: a snapshot never changes, and a copy would have the disk busy.
                shutil.copytree(kept, store, copy_function=_link)
                file = work / f"changed.{'parquet' if command == 'index' else 'jsonl'}"
                _write(change(catalog), file)
                seconds.append(_timed(command, file, store))
                shutil.rmtree(store)
            spread = Spread.of(seconds)
            share = f"{spread.median / whole:.1%}"
            rows.append({"change": name, "seconds": spread, "share": share})
        if not given.keep:
            shutil.rmtree(kept)
    report({f"{len(catalog):,} products": rows}, as_json=given.json)


def _priced(catalog: pd.DataFrame) -> pd.DataFrame:
    """The catalog with a price for every product."""
    prices = np.random.default_rng(_SEED).lognormal(3, 1, len(catalog)).round(2)
    return catalog.assign(price=prices)


def _dearer(catalog: pd.DataFrame) -> pd.DataFrame:
    """Every price another one."""
    return catalog.assign(price=(catalog["price"] * 1.1 + 0.01).round(2))


def _some(catalog: pd.DataFrame) -> pd.DataFrame:
    """One product in a hundred."""
    return catalog.sample(frac=0.01, random_state=_SEED)


def _retitled(catalog: pd.DataFrame) -> pd.DataFrame:
    """The titles of one product in a hundred changed."""
    title = "title" if "title" in catalog else "product_title"
    chosen = catalog.index.isin(_some(catalog).index)
    return catalog.assign(**{title: catalog[title].where(~chosen, catalog[title] + " new")})


CHANGES: list[tuple[str, Callable[[pd.DataFrame], pd.DataFrame], str]] = [
    ("nothing", lambda catalog: catalog, "index"),
    ("every price", _dearer, "index"),
    ("1% of the titles", _retitled, "index"),
    ("1% of the prices, applied", lambda catalog: _some(_dearer(catalog)), "apply"),
]


def _first(catalog: pd.DataFrame, store: Path, work: Path) -> float:
    """Index the catalog for the first time; seconds."""
    file = work / "catalog.parquet"
    _write(catalog, file)
    seconds = _timed("index", file, store)
    (store / "seconds.json").write_text(json.dumps(seconds), encoding="utf-8")
    return seconds


def _recorded(store: Path) -> float:
    """How long the first time took."""
    return float(json.loads((store / "seconds.json").read_text(encoding="utf-8")))


def _write(catalog: pd.DataFrame, file: Path) -> None:
    if file.suffix == ".parquet":
        catalog.to_parquet(file)
    else:
        catalog.to_json(file, orient="records", lines=True, force_ascii=False)


def _timed(command: str, file: Path, store: Path) -> float:
    """Seconds of one command, start-up of the process included."""
    line = [sys.executable, "-m", "daogou", command, str(file), "--store", str(store)]
    return seconds_of(lambda: subprocess.run(line, check=True, capture_output=True))


def _link(source: str, target: str) -> None:
    """Link the files of a snapshot, copy those that are written over."""
    if "/snapshots/" in source:
        Path(target).hardlink_to(source)
    else:
        shutil.copy2(source, target)


if __name__ == "__main__":
    main()
