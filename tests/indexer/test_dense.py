from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from engine.errors import RecallError
from engine.retrieval import ivf
from engine.retrieval.dense import ExactIndex
from engine.retrieval.ivf import FOLDER, INDEX_FILE, IvfIndex
from engine.search import SearchEngine
from engine.snapshot import Snapshot
from engine.store import SnapshotStore
from indexer.build import IndexOptions, IndexReport, index_catalog

DEMO = Path(__file__).parents[2] / "catalogs" / "demo" / "products.jsonl"


@pytest.fixture(autouse=True)
def _every_catalog_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ivf, "MOST_EXACT", 100)


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of the demo catalog and its store, small enough to be searched exactly."""
    folder = tmp_path_factory.mktemp("dense")
    lines = DEMO.read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "catalog.jsonl").write_text("".join(lines[::4]), encoding="utf-8")
    index_catalog(folder / "catalog.jsonl", folder / "store", _options(1))
    return folder


@pytest.fixture
def store(indexed: Path, tmp_path: Path) -> Path:
    """A copy: nothing has to be encoded again."""
    return Path(shutil.copytree(indexed, tmp_path / "copy")) / "store"


def _options(min_recall: float) -> IndexOptions:
    return IndexOptions(reranker=None, ranking=None, min_recall=min_recall)


def index(store: Path, catalog: str = "catalog.jsonl", min_recall: float = 0.95) -> IndexReport:
    return index_catalog(store.parent / catalog, store, _options(min_recall))


def write_cheaper(folder: Path) -> str:
    """The catalog at other prices, and without its last 10 products."""
    lines = (folder / "catalog.jsonl").read_text(encoding="utf-8").splitlines()[:-10]
    products = (json.loads(line) | {"price": 1.5} for line in lines)
    written = "".join(json.dumps(one) + "\n" for one in products)
    (folder / "cheaper.jsonl").write_text(written, encoding="utf-8")
    return "cheaper.jsonl"


def test_a_large_catalog_is_searched_through_lists(store: Path) -> None:
    exact = SearchEngine.open(store)
    report = index(store)
    assert report.dense is not None
    assert report.dense.recall >= 0.95
    assert report.dense.products == report.products
    engine = SearchEngine.open(store)
    assert isinstance(engine.snapshot.dense, IvfIndex)
    assert isinstance(exact.snapshot.dense, ExactIndex)
    shared = [
        len({hit.product.id for hit in engine.search(text).hits}
            & {hit.product.id for hit in exact.search(text).hits})
        for text in ("quiet fan", "warm boots for snow", "kettle", "toys for a dog", "lamp")
    ]  # fmt: skip
    assert np.mean(shared) >= 9


def test_other_prices_cost_no_new_index_and_fewer_products_no_new_lists(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = index(store)
    monkeypatch.setattr(ivf, "learn_centroids", None)  # would fail: nothing is to be learnt
    fewer = index(store, write_cheaper(store.parent))
    assert fewer.dense is not None
    assert fewer.dense.products == first.products - 10
    monkeypatch.setattr(ivf, "build", None)
    lines = (store.parent / "cheaper.jsonl").read_text(encoding="utf-8")
    (store.parent / "dearer.jsonl").write_text(
        lines.replace('"price": 1.5', '"price": 9.5'), encoding="utf-8"
    )
    again = index(store, "dearer.jsonl")
    assert again.dense == fewer.dense
    assert again.changes.updated == again.products


def test_an_index_that_finds_too_little_is_not_published(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ivf, "TARGET", 0.1)  # fewer lists are read than would be needed
    served = SnapshotStore(store).current_id()
    with pytest.raises(
        RecallError, match=r"--min-recall 0\.\d\d, or compare every vector with --min-recall 1"
    ):
        index(store, min_recall=0.9999)
    assert SnapshotStore(store).current_id() == served


def test_every_vector_is_compared_where_that_is_wanted(store: Path) -> None:
    report = index(store, min_recall=1)
    assert report.dense is None
    snapshot = Snapshot.open(SnapshotStore(store).current())
    assert isinstance(snapshot.dense, ExactIndex)


def test_a_damaged_index_of_before_is_made_anew(store: Path) -> None:
    first = index(store)
    path = first.folder / FOLDER / INDEX_FILE
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    again = index(store)
    assert again.dense == first.dense
    SearchEngine.open(store)


def test_lists_are_not_learnt_from_beside_a_damaged_array(store: Path) -> None:
    path = index(store).folder / "id_rank.npy"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content.replace(b"shape", b"shqpe"))
    cheaper = index(store, write_cheaper(store.parent))
    assert cheaper.dense is not None
    assert cheaper.changes.encoded == 0
    assert SnapshotStore(store).verify() == []
