"""An index run publishes all of a catalog, or leaves the store as it was."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import (
    CatalogError,
    ModelError,
    RejectedRowError,
    SnapshotError,
    StoreLockedError,
)
from engine.manifest import read_manifest
from engine.models.encoder import SHIPPED_ENCODER, TransformerEncoder, load_encoder
from engine.models.folder import INFO_FILE, RerankerInfo, fingerprint_of, read_model_info
from engine.models.reranker import TokenReranker, load_reranker
from engine.models.tokens import pack
from engine.search import SearchEngine
from engine.settings import Settings
from engine.store import SnapshotStore
from engine.text import passage
from engine.types import Stage
from indexer.build import IndexOptions, faults_named, index_catalog
from indexer.catalog.entries import Entry, Fresh
from indexer.products import ProductWriter
from indexer.progress import Silent
from indexer.reuse import Changes
from tests.shop import PRODUCTS, write_catalog

ROOT = Path(__file__).parents[2]
BAD_ROWS = (
    {"id": "x1", "title": "Kettle", "price": "free"},
    {"id": "x2"},
    {"id": "k1", "title": "Twice"},
)


@pytest.fixture
def store(shop_store: Path, tmp_path: Path) -> Path:
    """A copy of the shop's store, to write to."""
    return shutil.copytree(shop_store, tmp_path / "store")


@pytest.fixture
def flawed(tmp_path: Path) -> Path:
    """The shop's catalog and three rows that are no products."""
    catalog = write_catalog(tmp_path / "flawed.jsonl")
    with catalog.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in BAD_ROWS)
    return catalog


def tree(folder: Path) -> dict[str, int]:
    """Every file below a folder and when it was last written."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.name != "writer.lock"
    }


def test_bad_rows_are_listed_and_the_rest_is_served(flawed: Path, tmp_path: Path) -> None:
    store = tmp_path / "new"
    report = index_catalog(flawed, store)

    assert (report.products, report.rejected) == (len(PRODUCTS), 3)
    assert report.rejects_by_reason == {
        "unparsable price": 1,
        "missing title": 1,
        "duplicate id": 1,
    }
    assert report.rejects_file == store / "rejects.jsonl"
    listed = [json.loads(line) for line in report.rejects_file.read_text("utf-8").splitlines()]
    assert [(entry["row"], entry["id"]) for entry in listed] == [(13, "x1"), (14, "x2"), (15, "k1")]
    assert report.folder == SnapshotStore(store).current()
    assert report.folder.name == report.snapshot_id
    assert report.bytes == sum(
        (report.folder / name).stat().st_size for name in read_manifest(report.folder).files
    )
    assert list(report.seconds) == ["read", "encode", "index", "publish"]
    manifest = read_manifest(report.folder)
    assert (manifest.products, manifest.rejected, manifest.source) == (12, 3, str(flawed))
    found = SearchEngine.open(store, Settings()).search("kettle with a whistle").hits
    assert found[0].product == PRODUCTS[1]


def test_the_next_index_shares_what_did_not_change(store: Path, tmp_path: Path) -> None:
    before = SnapshotStore(store).current()
    (store / "rejects.jsonl").write_text("of an earlier run")
    changed = [replace(PRODUCTS[0], title="Emberly Teapot"), *PRODUCTS[1:]]
    report = index_catalog(write_catalog(tmp_path / "changed.jsonl", changed), store)

    for name in ("model.bin", "model.xml", "tokenizer.json", "model.json"):
        shared = report.folder / "models" / "encoder" / name
        assert shared.samefile(before / "models" / "encoder" / name)
        assert shared.stat().st_nlink == 2
    assert not (report.folder / "products.sqlite").samefile(before / "products.sqlite")
    assert read_manifest(report.folder).parent == before.name
    assert not (store / "rejects.jsonl").exists()
    assert report.rejects_file is None


def test_strict_changes_nothing_but_the_log(store: Path, flawed: Path, tmp_path: Path) -> None:
    before = tree(store)
    log = tmp_path / "why.jsonl"
    with pytest.raises(RejectedRowError, match=r"row 13, field price: unparsable price"):
        index_catalog(flawed, store, IndexOptions(strict=True, rejects=log))
    assert tree(store) == before
    assert json.loads(log.read_text("utf-8"))["id"] == "x1"


def test_a_catalog_of_no_products_names_the_reasons(store: Path, tmp_path: Path) -> None:
    before = tree(store)
    (tmp_path / "bad.csv").write_text("id,title,price\n1,,3\n2,,4\n3,Mug,free\n")
    options = IndexOptions(rejects=tmp_path / "rejects.jsonl")
    with pytest.raises(CatalogError, match=r"missing title 2, unparsable price 1\).*rejects.jsonl"):
        index_catalog(tmp_path / "bad.csv", store, options)
    (tmp_path / "empty.csv").write_text("id,title\n")
    with pytest.raises(CatalogError, match="holds no products"):
        index_catalog(tmp_path / "empty.csv", store, options)
    assert tree(store) == before


def test_the_catalog_is_not_overwritten(store: Path, flawed: Path) -> None:
    content = flawed.read_bytes()
    with pytest.raises(CatalogError, match="--rejects"):
        index_catalog(flawed, store, IndexOptions(rejects=flawed))
    assert flawed.read_bytes() == content


def test_the_store_may_lie_in_the_catalog_folder(tmp_path: Path) -> None:
    write_catalog(tmp_path / "shop.jsonl", PRODUCTS[:6])
    write_catalog(tmp_path / "more.jsonl", PRODUCTS[6:])
    for _ in range(2):  # the second time, a published snapshot lies there too
        report = index_catalog(tmp_path, tmp_path / "store")
        assert (report.products, report.rejected) == (len(PRODUCTS), 0)
    with pytest.raises(CatalogError, match="--store"):
        index_catalog(tmp_path / "store", tmp_path / "store")


@pytest.mark.parametrize("kind", ["encoder", "reranker"])
def test_a_folder_that_is_no_model_changes_nothing(store: Path, tmp_path: Path, kind: str) -> None:
    before = tree(store)
    given = IndexOptions()
    if kind == "encoder":
        options = replace(given, encoder=tmp_path)
    else:
        options = replace(given, reranker=tmp_path)
    with pytest.raises(ModelError, match="not a model folder"):
        index_catalog(write_catalog(tmp_path / "shop.jsonl"), store, options)
    assert tree(store) == before


def test_a_reranker_is_carried_by_the_snapshot(tmp_path: Path) -> None:
    # Its graph is not run here: any files that are what model.json says will do.
    folder = shutil.copytree(SHIPPED_ENCODER, tmp_path / "reranker")
    shipped = read_model_info(folder, kind="encoder")
    shared = shipped.model_dump(include=set(RerankerInfo.model_fields) - {"kind"})
    info = RerankerInfo(**shared | {"name": "judge", "labels": ("a", "b", "c", "d")})
    info = info.model_copy(update={"fingerprint": fingerprint_of(info)})
    (folder / INFO_FILE).write_text(info.model_dump_json(), "utf-8")

    options = IndexOptions(reranker=folder)
    report = index_catalog(write_catalog(tmp_path / "shop.jsonl"), tmp_path / "store", options)

    entry = read_manifest(report.folder).models["reranker"]
    assert (entry.name, entry.fingerprint) == ("judge", info.fingerprint)
    carried = report.folder / "models" / "reranker"
    assert read_model_info(carried, kind="reranker").fingerprint == entry.fingerprint


def test_one_writer_at_a_time(store: Path, tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path / "shop.jsonl")
    before = tree(store)
    with SnapshotStore(store).writing(), pytest.raises(StoreLockedError, match="another process"):
        index_catalog(catalog, store)
    assert tree(store) == before


def test_options_of_searching_are_not_read(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAOGOU_MAX_QUERY_CHARS", "1")
    monkeypatch.setenv("DAOGOU_THREADS", "abc")
    assert index_catalog(write_catalog(tmp_path / "shop.jsonl"), store).products == len(PRODUCTS)


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
import daogou
daogou.main()
"""


@pytest.mark.parametrize(
    "limit",
    [4_000, 20_000_000],
    ids=["the first files", "the model"],
)
def test_a_store_that_cannot_grow_serves_on(store: Path, tmp_path: Path, limit: int) -> None:
    before = tree(store)
    catalog = write_catalog(tmp_path / "shop.jsonl")
    arguments = ["index", str(catalog), "--store", str(store)]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit), *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert_refused(done, store)
    assert tree(store) == before


def test_a_full_disk_is_named_and_freed(small_disk: Path, shop_store: Path, tmp_path: Path) -> None:
    store = shutil.copytree(shop_store, small_disk / "store")
    free = shutil.disk_usage(small_disk).free
    done = subprocess.run(
        [sys.executable, "-m", "daogou", "index", str(write_catalog(tmp_path / "shop.jsonl")),
         "--store", str(store)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert_refused(done, store)
    assert "No space left" in done.stderr
    assert shutil.disk_usage(small_disk).free >= free - 8_192
    assert SnapshotStore(store).verify() == []


@pytest.mark.parametrize(
    ("part", "reason"),
    [("products.sqlite", "database or disk is full"), ("lexical", "No space left")],
)
def test_a_part_that_does_not_fit_is_named(
    small_disk: Path, tmp_path: Path, part: str, reason: str
) -> None:
    folder = tmp_path / "staging"
    folder.mkdir()
    if part == "lexical":
        (small_disk / part).mkdir()
    (folder / part).symlink_to(small_disk / part)
    room = 64 << 10
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - room))
    entries = [
        Fresh(replace(PRODUCTS[0], id=str(n), description=f"{n}a {n}b " * 9)) for n in range(3000)
    ]
    with pytest.raises(SnapshotError, match=f"cannot write to .*{reason}"):
        write(folder, entries)


def write(folder: Path, entries: Sequence[Entry]) -> None:
    with faults_named(folder), ProductWriter(folder, {}) as writer:
        writer.read(entries, Silent())
        writer.finish()


def assert_refused(done: subprocess.CompletedProcess[str], store: Path) -> None:
    assert done.returncode == 2, done.stderr
    assert f"error: cannot write to {store}: " in done.stderr
    assert "Free some space" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (store / "staging").exists()


def test_what_the_reranker_reads_is_kept(exported_pair: tuple[Path, Path], tmp_path: Path) -> None:
    encoder, reranker = exported_pair
    options = IndexOptions(encoder=encoder, reranker=reranker, ranking=None)
    report = index_catalog(write_catalog(tmp_path / "catalog.jsonl"), tmp_path / "store", options)
    engine = SearchEngine.open(tmp_path / "store", Settings(rerank=True, cache=0))
    assert len(engine.snapshot.passages) == report.products == len(PRODUCTS)
    passages = [passage(product) for product in PRODUCTS]
    vectors, tokens = load_encoder(encoder, tokens=True).read_passages(passages)
    kept = engine.snapshot.passages.take(np.arange(len(PRODUCTS)))
    np.testing.assert_allclose(kept.hidden, pack(tokens).hidden, atol=1e-6)
    np.testing.assert_allclose(engine.snapshot.vectors, vectors, atol=1e-3)
    answer = engine.search("electric kettle", k=100)
    assert answer.stage is Stage.RERANKED
    found = {hit.product.id: hit.probabilities for hit in answer.hits}
    loaded = load_reranker(reranker)
    assert isinstance(loaded, TokenReranker)
    expected = loaded.classify_read("electric kettle", pack(tokens))
    for product, wanted in zip(PRODUCTS, expected, strict=True):
        given = found[product.id]
        assert given is not None
        assert list(given.values()) == pytest.approx(wanted.tolist(), abs=1e-3)


def test_a_reranker_of_another_encoder_is_refused(
    exported_pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = write_catalog(tmp_path / "catalog.jsonl")
    options = IndexOptions(reranker=exported_pair[1], ranking=None)
    with pytest.raises(ModelError, match="Name the encoder it was exported with"):
        index_catalog(catalog, tmp_path / "store", options)
    monkeypatch.setattr("indexer.models.SHIPPED_RERANKER", exported_pair[1])
    index_catalog(catalog, tmp_path / "store", options)  # as if it were the one that ships
    engine = SearchEngine.open(tmp_path / "store")
    assert engine.stages == (Stage.LEXICAL, Stage.DENSE, Stage.FUSED)


class Counting:
    """Counts the texts that encoders are given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.texts: list[str] = []
        for name in ("encode_passages", "read_passages"):
            original = getattr(TransformerEncoder, name)

            def counted(encoder: object, texts: list[str], original: Any = original) -> Any:  # noqa: ANN401
                self.texts += texts
                return original(encoder, texts)

            monkeypatch.setattr(TransformerEncoder, name, counted)


@pytest.mark.parametrize("with_tokens", [False, True])
def test_only_what_is_new_is_encoded(
    exported_pair: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    with_tokens: bool,
) -> None:
    encoder, reranker = exported_pair
    options = IndexOptions(
        encoder=encoder, reranker=reranker if with_tokens else None, ranking=None
    )
    store, catalog = tmp_path / "store", tmp_path / "catalog.jsonl"
    first, second, third, *rest = PRODUCTS
    index_catalog(write_catalog(catalog, [first, second, third, *rest]), store, options)
    counting = Counting(monkeypatch)
    again = index_catalog(catalog, store, options)
    assert counting.texts == []
    assert again.changes == Changes(kept=len(PRODUCTS))

    cheaper = replace(second, price=1.0)
    renamed = replace(third, title="A title of its own")
    new = replace(first, id="new", sku="", gtin="", title="Something else")
    changed = [*rest, new, renamed, cheaper]  # in another order, and the first is gone
    report = index_catalog(write_catalog(catalog, changed), store, options)
    assert sorted(counting.texts) == sorted(map(passage, (new, renamed)))
    expected = Changes(added=1, changed=1, updated=1, kept=len(rest), removed=1, encoded=2)
    assert report.changes == expected

    whole = index_catalog(catalog, tmp_path / "anew", options)
    assert whole.changes == Changes(added=len(changed), encoded=len(changed))
    ours, theirs = (
        SearchEngine.open(each, Settings(cache=0)) for each in (store, tmp_path / "anew")
    )
    np.testing.assert_array_equal(ours.snapshot.vectors, theirs.snapshot.vectors)
    if with_tokens:
        rows = np.arange(len(changed))
        for mine, wanted in zip(
            ours.snapshot.passages.take(rows), theirs.snapshot.passages.take(rows), strict=True
        ):
            np.testing.assert_array_equal(mine, wanted)
    for query in ("kettle", "something else", "A title of its own"):
        assert [hit.product for hit in ours.search(query).hits] == [
            hit.product for hit in theirs.search(query).hits
        ]


def test_vectors_of_another_encoder_or_damaged_ones_are_not_reused(
    exported_pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, catalog = tmp_path / "store", write_catalog(tmp_path / "catalog.jsonl")
    tiny = IndexOptions(encoder=exported_pair[0], reranker=None, ranking=None)
    index_catalog(catalog, store, tiny)
    counting = Counting(monkeypatch)
    with_tokens = index_catalog(catalog, store, replace(tiny, reranker=exported_pair[1]))
    count = len(PRODUCTS)
    assert with_tokens.changes == Changes(kept=count, encoded=count)
    assert "token was not kept" in with_tokens.again
    other = index_catalog(catalog, store, IndexOptions(reranker=None, ranking=None))
    assert other.changes == Changes(kept=count, encoded=count)
    assert "another encoder" in other.again
    assert len(counting.texts) == 2 * count

    folder = SnapshotStore(store).current()
    path = folder / "vectors.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    mended = index_catalog(catalog, store, IndexOptions(reranker=None, ranking=None))
    assert mended.changes.encoded == count
    assert len(counting.texts) == 3 * count
