"""`--device`: what encodes passages, what is said where it cannot, and what is found either way."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import types
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from daogou import app
from engine.errors import MissingExtraError, ModelError
from engine.manifest import read_manifest
from engine.search import SearchEngine
from engine.settings import Settings
from engine.store import SnapshotStore
from engine.types import Stage, Vectors
from indexer import device, passage_reader
from indexer.apply import apply_changes
from indexer.build import IndexOptions, index_catalog
from indexer.device import LEAST_TEXTS, Device, check_agrees, require, takes_gpu
from indexer.plan import plan_index
from tests.faults.tiny import save_tiny_encoder
from tests.shop import PRODUCTS, write_catalog

pytest.importorskip("torch", reason="a GPU's encoder needs torch: pip install 'daogou[train]'")

import torch

from indexer.export.torch_encoder import TorchEncoder, load_torch_encoder

ROOT = Path(__file__).parents[2]
QUERIES = ("kettle with a whistle", "sleep outdoors", "keep coffee hot", "music without a cable")


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return write_catalog(tmp_path / "catalog.jsonl")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU would run is run by torch on the CPU, few texts or many."""
    monkeypatch.setattr(device, "_driver_has_gpu", lambda: True)
    monkeypatch.setattr(device, "LEAST_TEXTS", 0)
    for module in ("indexer.build", "indexer.apply", "indexer.plan"):
        monkeypatch.setattr(f"{module}.require", lambda _: None)
    monkeypatch.setattr(
        passage_reader, "load_on_gpu", lambda folder: load_torch_encoder(folder, device="cpu")
    )


def index(catalog: Path, store: Path, options: IndexOptions) -> tuple[str, str]:
    """What encoded, and why no GPU did."""
    report = index_catalog(catalog, store, options)
    assert SnapshotStore(store).verify() == []
    return report.device, report.no_gpu


def bare(asked: Device) -> IndexOptions:
    return IndexOptions(reranker=None, ranking=None, device=asked)


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("asked", [Device.AUTO, Device.CUDA])
def test_the_same_is_found_whatever_encoded(catalog: Path, tmp_path: Path, asked: Device) -> None:
    assert index(catalog, tmp_path / "gpu", IndexOptions(device=asked)) == ("cuda", "")
    assert index(catalog, tmp_path / "cpu", IndexOptions(device=Device.CPU)) == ("cpu", "")
    of_gpu, of_cpu = (
        SearchEngine.open(tmp_path / name, Settings(rerank=True, cache=0))
        for name in ("gpu", "cpu")
    )
    vectors, expected = (
        engine.snapshot.vectors[:].astype(np.float32) for engine in (of_gpu, of_cpu)
    )
    cosines = (vectors * expected).sum(axis=1)
    assert 0.98 <= cosines.min() < 1 - 1e-4
    for stage in (Stage.DENSE, Stage.FUSED, Stage.RERANKED):
        for query in QUERIES:
            found, wanted = (
                [hit.product.id for hit in engine.search(query, stage=stage, k=3).hits]
                for engine in (of_gpu, of_cpu)
            )
            assert found[0] == wanted[0], (stage, query)
            assert len(set(found) & set(wanted)) >= 2
    assert (
        read_manifest(of_gpu.snapshot.folder).models == read_manifest(of_cpu.snapshot.folder).models
    )


@pytest.mark.usefixtures("stand_in")
def test_what_either_encoded_is_taken_over_by_the_other(catalog: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert index(catalog, store, bare(Device.CUDA)) == ("cuda", "")
    write_catalog(catalog, PRODUCTS[::-1])
    report = index_catalog(catalog, store, bare(Device.CPU))
    assert (report.device, report.changes.encoded, report.again) == ("", 0, "")
    plan = plan_index(catalog, tmp_path / "new", bare(Device.CUDA))
    assert plan.seconds > 0


@pytest.mark.usefixtures("stand_in")
def test_an_encoder_that_is_no_bert_stays_on_the_cpu(catalog: Path, tmp_path: Path) -> None:
    options = IndexOptions(
        encoder=save_tiny_encoder(tmp_path / "tiny"), reranker=None, ranking=None
    )
    used, why = index(catalog, tmp_path / "store", options)
    assert used == "cpu"
    assert "'tiny' cannot be put on a GPU" in why
    words = ["index", str(catalog), "--encoder", str(options.encoder), "--store"]
    done = CliRunner().invoke(app, [*words, str(tmp_path / "said")])
    assert "The GPU was given up: the encoder 'tiny' cannot be put on a GPU" in done.stdout
    done = CliRunner().invoke(app, [*words, str(tmp_path / "refused"), "--device", "cuda"])
    assert isinstance(done.exception, ModelError)
    assert "--device cpu" in str(done.exception)


@pytest.mark.usefixtures("stand_in")
def test_other_vectors_than_are_served_are_not_kept(
    catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = TorchEncoder.encode_passages

    def other(self: TorchEncoder, texts: Sequence[str]) -> Vectors:
        return np.roll(plain(self, texts), 1, axis=1)

    monkeypatch.setattr(TorchEncoder, "encode_passages", other)
    used, why = index(catalog, tmp_path / "auto", bare(Device.AUTO))
    assert used == "cpu"
    assert "other vectors than the CPU" in why
    with pytest.raises(ModelError, match=r"mean cosine.*--device cpu"):
        index(catalog, tmp_path / "cuda", bare(Device.CUDA))
    assert SnapshotStore(tmp_path / "cuda").current_id() is None


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("asked", [Device.AUTO, Device.CUDA])
def test_a_gpu_that_fails_midway(
    catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Device
) -> None:
    """On its own, the CPU goes on; where the GPU was asked for, the next run does."""
    monkeypatch.setattr("indexer.encode.ENCODE_CHUNK", 4)
    monkeypatch.setattr("indexer.making.ENCODE_CHUNK", 4)
    plain, calls = TorchEncoder.encode_passages, []

    def failing(self: TorchEncoder, texts: Sequence[str]) -> Vectors:
        calls.append(len(texts))
        if len(calls) == 3:  # checked, one chunk encoded
            raise ModelError("encoding on cuda failed: out of memory")
        return plain(self, texts)

    monkeypatch.setattr(TorchEncoder, "encode_passages", failing)
    if asked is Device.AUTO:
        assert index(catalog, tmp_path / "store", bare(asked)) == (
            "cpu", "encoding on cuda failed: out of memory",
        )  # fmt: skip
    else:
        with pytest.raises(ModelError, match="out of memory"):
            index(catalog, tmp_path / "store", bare(asked))
        report = index_catalog(catalog, tmp_path / "store", bare(Device.CPU))
        assert (report.device, report.changes.taken_up) == ("cpu", 4)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("command", ["index", "apply", "dry run"])
def test_without_a_gpu_asking_for_one_names_the_cure(
    catalog: Path, tmp_path: Path, shop_store: Path, command: str
) -> None:
    store = shop_store if command == "apply" else tmp_path / "store"
    words = [command] if command == "apply" else ["index"]
    words += [str(catalog), "--store", str(store), "--device", "cuda"]
    words += ["--dry-run"] if command == "dry run" else []
    error = CliRunner().invoke(app, words).exception
    assert isinstance(error, ModelError)
    assert "there is no GPU to encode on" in str(error)
    assert "pytorch.org" in str(error)
    assert "--device cpu" in str(error)
    assert not (tmp_path / "store").exists()


def test_without_torch_asking_for_a_gpu_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # as Python marks what is not to be found
    with pytest.raises(MissingExtraError, match=r"pip install 'daogou\[train\]'"):
        require(Device.CUDA)
    monkeypatch.setattr(device, "_driver_has_gpu", lambda: True)
    assert not takes_gpu(Device.AUTO, 10**6)
    require(Device.AUTO)


def test_a_torch_that_cannot_be_loaded_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "indexer.export.torch_encoder", None)
    with pytest.raises(ModelError, match=r"the GPU cannot be used: .*--device cpu"):
        device.load_on_gpu(tmp_path)


def test_auto_takes_the_cpu_here_and_imports_no_torch(catalog: Path, tmp_path: Path) -> None:
    """However many texts there are, where the driver has no GPU."""
    code = (
        "import sys\n"
        "from indexer import device\n"
        "from daogou import app\n"
        "device.LEAST_TEXTS = 0\n"
        f"app(['index', {str(catalog)!r}, '--store', {str(tmp_path / 'store')!r}],"
        " standalone_mode=False)\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "GPU" not in done.stdout


def test_a_gpu_is_taken_for_many_texts_or_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "_driver_has_gpu", lambda: True)
    many = LEAST_TEXTS + 1
    assert [takes_gpu(Device.AUTO, texts) for texts in (0, LEAST_TEXTS, many)] == [
        False, False, True,
    ]  # fmt: skip
    assert [takes_gpu(Device.CUDA, texts) for texts in (0, 1, many)] == [False, True, True]
    assert not takes_gpu(Device.CPU, many)


@pytest.mark.parametrize(("status", "gpus", "has"), [(0, 2, True), (0, 0, False), (100, 2, False)])
def test_the_driver_is_asked_for_gpus(
    monkeypatch: pytest.MonkeyPatch, status: int, gpus: int, has: bool
) -> None:
    def count(place: object) -> int:
        place._obj.value = gpus  # type: ignore[attr-defined]
        return 0

    driver = types.SimpleNamespace(cuInit=lambda _: status, cuDeviceGetCount=count)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: driver)
    assert device._driver_has_gpu() is has


@pytest.mark.parametrize("error", [OSError("no such file"), AttributeError("cuInit")])
def test_without_a_driver_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def missing(_: str) -> None:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert not device._driver_has_gpu()


def test_vectors_that_are_no_numbers_do_not_agree() -> None:
    unit: NDArray[np.float32] = np.eye(3, dtype=np.float32)
    check_agrees(unit, unit)
    with pytest.raises(ModelError, match="mean cosine nan"):
        check_agrees(unit * np.nan, unit)


@pytest.mark.usefixtures("stand_in")
def test_changes_are_applied_on_a_gpu(shop_store: Path, tmp_path: Path) -> None:
    store = shutil.copytree(shop_store, tmp_path / "store")
    changes = tmp_path / "changes.jsonl"
    changes.write_text('{"id": "n1", "title": "Cast iron teapot"}\n')
    report = apply_changes(changes, store, IndexOptions(device=Device.CUDA))
    assert (report.device, report.changes.encoded) == ("cuda", 1)
    assert SearchEngine.open(store).search("teapot").hits[0].product.id == "n1"
    again = apply_changes(changes, store, IndexOptions(device=Device.CUDA))
    assert again.device == ""
