"""Publishing another part makes a whole new snapshot, or leaves the store as it was."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import engine.snapshot
from daogou import app
from engine.errors import DaogouError, ModelError, SettingsError, SnapshotError, StoreLockedError
from engine.manifest import read_manifest
from engine.models.encoder import SHIPPED_ENCODER
from engine.models.folder import INFO_FILE, RerankerInfo, fingerprint_of, read_model_info
from engine.search import SearchEngine
from engine.settings import Settings
from engine.store import SnapshotStore
from engine.types import Stage
from indexer.build import IndexOptions, index_catalog
from indexer.publish import publish
from tests.fakes import FakeReranker
from tests.rankings import info_for, stage_model, write_ranking
from tests.shop import write_catalog


@pytest.fixture
def store(shop_store: Path, tmp_path: Path) -> Path:
    return shutil.copytree(shop_store, tmp_path / "store")


def files(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.name != "writer.lock"
    }


def fused_ranking(store: Path, folder: Path, weight: float = -1.0) -> Path:
    """A ranking of the fused stage for this store; by default it turns keyword search round."""
    manifest = read_manifest(SnapshotStore(store).current())
    write_ranking(folder, info_for(manifest, {Stage.FUSED: stage_model({"lexical": weight})}))
    return folder


def reranked_ranking(store: Path, folder: Path) -> Path:
    manifest = read_manifest(SnapshotStore(store).current())
    write_ranking(folder, info_for(manifest, {Stage.RERANKED: stage_model({"grade": 1.0})}))
    return folder


@pytest.fixture
def reranker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_reranker(tmp_path / "judge", "judge", monkeypatch)


def make_reranker(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole reranker folder whose graph is not run: a fake with its fingerprint stands for it."""
    shutil.copytree(SHIPPED_ENCODER, folder)
    shipped = read_model_info(folder, kind="encoder")
    shared = shipped.model_dump(include=set(RerankerInfo.model_fields) - {"kind"})
    labels = ("irrelevant", "complement", "substitute", "exact")
    info = RerankerInfo(**shared | {"name": name, "labels": labels, "weights": name})
    info = info.model_copy(update={"fingerprint": fingerprint_of(info)})
    (folder / INFO_FILE).write_text(info.model_dump_json(), "utf-8")

    def load(path: Path, *, threads: int = 0, kept: Path | None = None) -> FakeReranker:
        fake = FakeReranker()
        fake.fingerprint = read_model_info(path, kind="reranker").fingerprint
        return fake

    monkeypatch.setattr(engine.snapshot, "load_reranker", load)
    return folder


def order(store: Path, stage: Stage | None = None) -> list[str]:
    found = SearchEngine.open(store, Settings()).search("kettle", k=100, stage=stage)
    return [hit.product.id for hit in found.hits]


def test_a_ranking_is_served_and_the_rest_is_shared(store: Path, tmp_path: Path) -> None:
    before = SnapshotStore(store).current()
    untuned = order(store)
    report = publish(store, ranking=fused_ranking(store, tmp_path / "ranking"))

    assert (report.ranking, report.reranker, report.dropped_ranking) == ("by hand", None, None)
    assert report.folder == SnapshotStore(store).current()
    assert report.folder != before
    for name in read_manifest(before).files:
        assert (report.folder / name).samefile(before / name)
    new = {path.name: path.stat().st_size for path in (report.folder / "ranking").iterdir()}
    assert set(new) == {"ranking.json", "README.md"}
    assert report.new_bytes == sum(new.values())
    manifest = read_manifest(report.folder)
    assert manifest.parent == before.name
    assert manifest.ranking is not None
    assert manifest.products == read_manifest(before).products
    assert SnapshotStore(store).verify() == []
    assert order(store) != untuned
    assert order(store)[-1] in {"k1", "k2"}
    SnapshotStore(store).rollback()
    assert order(store) == untuned


def test_a_ranking_replaces_another(store: Path, tmp_path: Path) -> None:
    untuned = order(store)
    publish(store, ranking=fused_ranking(store, tmp_path / "one"))
    turned = order(store)
    publish(store, ranking=fused_ranking(store, tmp_path / "two", weight=1.0))
    assert order(store)[0] == untuned[0]
    assert order(store) != turned
    assert SnapshotStore(store).verify() == []


def test_a_reranker_comes_and_its_ranking_goes_with_it(
    store: Path, tmp_path: Path, reranker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = publish(store, reranker=reranker)
    assert report.reranker == "judge"
    assert order(store, Stage.RERANKED)[0] in {"k1", "k2"}

    ranking = reranked_ranking(store, tmp_path / "ranking")
    assert publish(store, ranking=ranking).ranking == "by hand"
    again = publish(store, reranker=reranker)
    assert (again.ranking, again.dropped_ranking) == ("by hand", None)  # the same reranker

    other = make_reranker(tmp_path / "other", "other", monkeypatch)
    changed = publish(store, reranker=other)
    assert (changed.ranking, changed.dropped_ranking) == (None, "by hand")
    assert not (changed.folder / "ranking").exists()
    assert read_manifest(changed.folder).ranking is None
    with pytest.raises(ModelError, match="another reranker"):
        publish(store, ranking=ranking)
    new = reranked_ranking(store, tmp_path / "new")
    both = publish(store, ranking=new, reranker=other)
    assert (both.ranking, both.reranker) == ("by hand", "other")
    assert SnapshotStore(store).verify() == []


def test_a_ranking_of_the_fusion_outlives_the_reranker(
    store: Path, tmp_path: Path, reranker: Path
) -> None:
    publish(store, ranking=fused_ranking(store, tmp_path / "ranking"))
    report = publish(store, reranker=reranker)
    assert (report.ranking, report.dropped_ranking) == ("by hand", None)


def test_parts_that_do_not_fit_change_nothing(store: Path, tmp_path: Path) -> None:
    before = files(store)
    manifest = read_manifest(SnapshotStore(store).current())
    foreign = manifest.model_copy(update={"lexical_fingerprint": "other"})
    info = info_for(foreign, {Stage.FUSED: stage_model({"lexical": 1.0})})
    write_ranking(tmp_path / "foreign", info)
    (tmp_path / "empty").mkdir()
    attempts: list[tuple[type[DaogouError], str, dict[str, Path]]] = [
        (ModelError, "another lexical", {"ranking": tmp_path / "foreign"}),
        (ModelError, "is no final ranking", {"ranking": tmp_path / "empty"}),
        (ModelError, "not a model folder", {"reranker": tmp_path / "empty"}),
        (ModelError, "of kind 'encoder'", {"reranker": SHIPPED_ENCODER}),
        (SettingsError, "nothing to publish", {}),
    ]
    for kind, message, parts in attempts:
        with pytest.raises(kind, match=message):
            publish(store, **parts)  # type: ignore[arg-type]
    with SnapshotStore(store).writing(), pytest.raises(StoreLockedError):
        publish(store, ranking=fused_ranking(store, tmp_path / "ranking"))
    assert files(store) == before


def test_nothing_published_yet(tmp_path: Path, store: Path) -> None:
    ranking = fused_ranking(store, tmp_path / "ranking")
    with pytest.raises(SnapshotError, match="holds no index"):
        publish(tmp_path / "new", ranking=ranking)


def test_damage_is_not_described_anew(store: Path, tmp_path: Path) -> None:
    ranking = fused_ranking(store, tmp_path / "ranking")
    vectors = SnapshotStore(store).current() / "vectors.npy"
    content = bytearray(vectors.read_bytes())
    content[-1] ^= 1
    vectors.write_bytes(content)
    served = SnapshotStore(store).current_id()
    with pytest.raises(SnapshotError, match=r"vectors.npy was altered"):
        publish(store, ranking=ranking)
    assert SnapshotStore(store).current_id() == served
    assert not (store / "staging").exists()


@pytest.mark.parametrize("name", ["lexical/*.fast", "id_rank.npy", "models/encoder/model.json"])
def test_damage_is_named_before_it_is_read(store: Path, tmp_path: Path, name: str) -> None:
    ranking = fused_ranking(store, tmp_path / "ranking")
    (path,) = SnapshotStore(store).current().glob(name)
    path.write_bytes(path.read_bytes()[:9])
    with pytest.raises(SnapshotError, match=r"has 9 bytes instead of .*snapshots rollback"):
        publish(store, ranking=ranking)


def test_a_disk_without_links_gets_copies(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranking = fused_ranking(store, tmp_path / "ranking")

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    report = publish(store, ranking=ranking)
    assert (report.folder / "vectors.npy").stat().st_nlink == 1
    assert SnapshotStore(store).verify() == []


def test_an_index_run_takes_a_ranking(store: Path, tmp_path: Path) -> None:
    ranking = fused_ranking(store, tmp_path / "ranking")
    catalog = write_catalog(tmp_path / "shop.jsonl")
    report = index_catalog(catalog, tmp_path / "new", IndexOptions(ranking=ranking))
    entry = read_manifest(report.folder).ranking
    assert entry is not None
    assert entry.name == "by hand"
    publish(store, ranking=ranking)
    assert order(tmp_path / "new") == order(store)

    manifest = read_manifest(report.folder)
    encoder = manifest.models["encoder"].model_copy(update={"fingerprint": "other"})
    foreign = manifest.model_copy(update={"models": {"encoder": encoder}})
    info = info_for(foreign, {Stage.FUSED: stage_model({"lexical": 1.0})})
    write_ranking(tmp_path / "foreign", info)
    with pytest.raises(ModelError, match="another encoder"):
        index_catalog(catalog, tmp_path / "new", IndexOptions(ranking=tmp_path / "foreign"))


def test_the_command_says_what_is_served(store: Path, tmp_path: Path) -> None:
    ranking = fused_ranking(store, tmp_path / "ranking")
    run = CliRunner()
    done = run.invoke(app, ["publish", "--store", str(store), "--ranking", str(ranking), "--json"])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["snapshot"] == SnapshotStore(store).current_id()
    assert (answer["ranking"], answer["dropped_ranking"]) == ("by hand", None)
    spoken = run.invoke(app, ["publish", "--store", str(store), "--ranking", str(ranking)])
    assert "reranker none, ranking by hand" in spoken.stdout


def test_a_reranker_that_reads_what_is_not_kept_is_refused(
    exported_pair: tuple[Path, Path], shop_store: Path, tmp_path: Path
) -> None:
    encoder, reranker = exported_pair
    other = shutil.copytree(shop_store, tmp_path / "other")
    with pytest.raises(ModelError, match=r"another encoder .*daogou index --encoder"):
        publish(other, reranker=reranker)
    store = tmp_path / "store"
    catalog = write_catalog(tmp_path / "catalog.jsonl")
    bare = IndexOptions(encoder=encoder, reranker=None, ranking=None)
    index_catalog(catalog, store, bare)
    with pytest.raises(ModelError, match=r"does not keep.*daogou index --reranker"):
        publish(store, reranker=reranker)
    index_catalog(catalog, store, replace(bare, reranker=reranker))
    publish(store, reranker=reranker)  # what is kept is shared
    assert SearchEngine.open(store).search("kettle", stage=Stage.RERANKED).hits[0].probabilities


def test_a_snapshot_whose_models_are_not_read_any_more_is_not_rolled_back_to(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store, ranking=fused_ranking(store, tmp_path / "ranking"))
    now = SnapshotStore(store).current_id()
    monkeypatch.setattr("engine.models.folder.PASSAGE_TEMPLATE", "passage/9")
    with pytest.raises(ModelError, match="index its catalog again"):
        SnapshotStore(store).rollback()
    assert SnapshotStore(store).current_id() == now
