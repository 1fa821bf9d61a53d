"""Of a damaged snapshot the next one takes over what is whole, and makes anew what is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engine.manifest import read_manifest
from engine.search import SearchEngine
from engine.store import SnapshotStore
from indexer.build import IndexOptions, index_catalog
from tests.shop import PRODUCTS, write_catalog

COUNT = len(PRODUCTS)


@pytest.mark.parametrize(
    ("part", "encoded"),
    [
        ("products.sqlite", COUNT),
        ("offers.sqlite", COUNT),
        ("sources.npy", COUNT),
        ("vectors.npy", COUNT),
        ("id_rank.npy", 0),
        ("lexical/", 0),
        ("facets/texts/", 0),
        ("facets/offers/", 0),
        ("shelves/", 0),
        ("suggest/", 0),
        ("records/", 0),
        ("models/encoder/", 0),
    ],
)
@pytest.mark.parametrize("harm", ["altered", "gone"])
def test_one_part_that_is_damaged_is_made_anew(
    shop_store: Path, tmp_path: Path, part: str, encoded: int, harm: str
) -> None:
    store = SnapshotStore(shutil.copytree(shop_store, tmp_path / "store"))
    folder = store.current()
    for name, entry in read_manifest(folder).files.items():
        if name.startswith(part) and entry.size:
            content = (folder / name).read_bytes()
            (folder / name).unlink()
            if harm == "altered":
                (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    bare = IndexOptions(reranker=None, ranking=None)
    report = index_catalog(write_catalog(tmp_path / "catalog.jsonl"), store.folder, bare)
    assert report.changes.encoded == encoded
    assert bool(report.again) == bool(encoded)
    assert store.verify() == []
    ours, theirs = (
        [(hit.product, hit.score) for hit in SearchEngine.open(each).search("kettle").hits]
        for each in (store.folder, shop_store)
    )
    assert ours == theirs
