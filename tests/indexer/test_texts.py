from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import SnapshotError
from engine.guide.guide import ShoppingGuide
from engine.manifest import read_manifest
from engine.retrieval.facet_builder import FacetBuilder
from engine.retrieval.facets import Facets
from engine.retrieval.lexical import LexicalBuilder
from engine.store import SnapshotStore
from engine.types import Product
from indexer import texts
from indexer.build import IndexOptions, IndexReport, index_catalog
from indexer.records import RecordBuilder
from tests.shop import PRODUCTS, write_catalog

BARE = IndexOptions(ranking=None, reranker=None)
CHEAPER = tuple(replace(product, price=1.0, in_stock=True) for product in PRODUCTS)


def index(folder: Path, products: Sequence[Product], options: IndexOptions = BARE) -> IndexReport:
    folder.mkdir(exist_ok=True)
    write_catalog(folder / "catalog.jsonl", products)
    return index_catalog(folder / "catalog.jsonl", folder / "store", options)


def answers(folder: Path) -> list[object]:
    guide = ShoppingGuide.open(folder / "store")
    found: list[object] = [
        [(hit.product.id, hit.score) for hit in guide.search(text).hits]
        for text in ("kettle", "belt without buckle", "renamed", "保温杯", "tent pegs")
    ]
    return [*found, guide.suggest("ket"), guide.suggest("ten")]


def shared(report: IndexReport) -> set[str]:
    """Parts of which every file is the very one of the snapshot before."""
    names = list(read_manifest(report.folder).files)
    new = {name for name in names if (report.folder / name).stat().st_nlink == 1}
    return {_part(name) for name in names} - {_part(name) for name in new}


def _part(name: str) -> str:
    """The folder a file lies in, or the file."""
    return name.rpartition("/")[0] or name


def test_where_no_text_differs_nothing_of_texts_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(tmp_path / "shop", PRODUCTS)
    monkeypatch.setattr(texts, "LexicalBuilder", None)  # would fail
    report = index(tmp_path / "shop", CHEAPER)
    assert report.changes.encoded == 0
    assert {"lexical", "suggest", "vectors.npy"} <= shared(report)
    monkeypatch.undo()
    index(tmp_path / "fresh", CHEAPER)
    assert answers(tmp_path / "shop") == answers(tmp_path / "fresh")


@pytest.mark.parametrize(
    "after",
    [
        (*CHEAPER[:5], replace(CHEAPER[5], title="Renamed"), *CHEAPER[6:]),
        (*CHEAPER[:-1], Product("n1", "Renamed New Kettle")),
        (replace(CHEAPER[0], attributes={"capacity_l": True}), *CHEAPER[1:]),
    ],
    ids=["changed", "replaced", "true for 1"],
)
def test_where_any_differs_it_is_as_if_made_anew(tmp_path: Path, after: Sequence[Product]) -> None:
    index(tmp_path / "shop", PRODUCTS)
    report = index(tmp_path / "shop", after)
    assert "lexical" not in shared(report)
    index(tmp_path / "fresh", after)
    assert answers(tmp_path / "shop") == answers(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("changed", "kept"),
    [
        ({"title": "Renamed"}, True),
        ({"description": "Said otherwise."}, True),
        ({"brand": "Renamed"}, False),
        ({"category": ("Renamed",)}, False),
        ({"attributes": {"capacity_l": 2}}, False),
        ({"attributes": {"capacity_l": True}}, False),
    ],
    ids=str,
)
def test_columns_are_kept_where_no_value_in_them_differs(
    tmp_path: Path, changed: dict[str, Any], kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = replace(CHEAPER[0], attributes={"capacity_l": 1})
    index(tmp_path / "shop", (before, *CHEAPER[1:]))
    after = (replace(before, **changed), *CHEAPER[1:])
    with monkeypatch.context() as patched:
        if kept:
            patched.setattr(FacetBuilder, "finish", None)  # would fail
        report = index(tmp_path / "shop", after)
    assert ("facets/texts" in shared(report)) is kept
    fresh = index(tmp_path / "fresh", after)
    assert counts(report) == counts(fresh)


def counts(report: IndexReport) -> dict[str, list[tuple[int, str]]]:
    """What columns of texts hold: each row with its values, numbers as texts."""
    facets = Facets(report.folder / "facets", report.products)
    rows = np.arange(report.products)
    held = {}
    for name in ("brand", "category", "capacity_l"):
        column = facets.field(name)
        places, starts = facets.entries(column, rows)
        terms = [facets.display(column, start) for start in starts.tolist()]
        numbers = facets.numbers(column)
        known = np.flatnonzero(np.isfinite(numbers)).tolist()
        held[name] = sorted(zip(places.tolist(), terms, strict=True))
        held[name] += [(row, str(numbers[row])) for row in known]
    return held


def test_other_past_queries_and_damage_are_seen(tmp_path: Path) -> None:
    first = index(tmp_path / "shop", PRODUCTS)
    asked = tmp_path / "asked.txt"
    asked.write_text("kettle\nkettle\n", encoding="utf-8")
    second = index(tmp_path / "shop", CHEAPER, replace(BARE, past_queries=asked))
    assert "suggest" not in shared(second)
    path = next(path for path in (second.folder / "lexical").iterdir() if path.stat().st_size > 50)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    third = index(tmp_path / "shop", PRODUCTS)
    assert "lexical" not in shared(third)
    assert answers(tmp_path / "shop")
    assert first.products == third.products


@pytest.mark.parametrize("moment", ["__init__", "add", "finish"])
def test_a_disk_that_is_full_for_the_keyword_index_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    before = index(tmp_path / "shop", PRODUCTS)

    def full(*_: object) -> None:
        raise ValueError("An IO error occurred: 'No space left on device (os error 28)'")

    with monkeypatch.context() as patched:
        patched.setattr(LexicalBuilder, moment, full)
        renamed = (replace(PRODUCTS[0], title="Renamed"), *PRODUCTS[1:])
        with pytest.raises(SnapshotError, match=r"No space left.*index again"):
            index(tmp_path / "shop", renamed)
    assert SnapshotStore(tmp_path / "shop" / "store").current() == before.folder
    assert not (tmp_path / "shop" / "store" / "staging").exists()


def test_damaged_columns_are_made_anew(tmp_path: Path) -> None:
    products = (replace(CHEAPER[0], attributes={"capacity_l": 1}), *CHEAPER[1:])
    whole = index(tmp_path / "shop", products)
    expected = counts(whole)
    path = whole.folder / "facets" / "texts" / "entry_starts.npy"
    path.chmod(0o644)
    content = path.read_bytes()
    path.write_bytes(content[:128] + bytes(len(content) - 128))  # every value is the first
    mended = index(tmp_path / "shop", products)
    assert mended.changes.kept == len(products)
    assert counts(mended) == expected


def test_a_full_disk_is_named_where_the_keyword_index_does_not_say_why(small_disk: Path) -> None:
    told = ValueError("A worker thread encountered an error (io::Error most likely) or panicked")
    with pytest.raises(OSError, match="worker thread"), texts.keyword_faults(small_disk):
        raise told
    with contextlib.suppress(OSError), (small_disk / "filler").open("wb") as file:
        while True:
            file.write(bytes(1 << 16))
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)), texts.keyword_faults(small_disk):
        raise told


def test_records_that_cannot_be_written_are_no_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a thread of its own could not write is said in the end at the latest."""
    builder = RecordBuilder(tmp_path / "records")

    def full(_block: list[bytes]) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(builder, "_write", full)
    builder.add(b"[]")
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        builder.finish()
    builder.close()
