"""Compiled models, kept between starts: sooner, the same, and never in the way."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from daogou import app
from engine.models import compiled, onnx_runner, openvino_runner, runtime, translated
from engine.models.compiled import load_compiled
from engine.models.encoder import SHIPPED_ENCODER, TransformerEncoder, load_encoder
from engine.models.folder import WEIGHTS_FILE
from engine.models.openvino import ov
from engine.search import SearchEngine
from engine.settings import load_settings, user_cache
from tests.faults.tiny import save_tiny_encoder
from tests.shop import write_catalog

TEXTS = ["red shoes", "a tent for two"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder's folder."""
    return save_tiny_encoder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(autouse=True)
def by_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run models by OpenVINO, whatever this CPU can do."""
    monkeypatch.setattr(runtime, "multiplies_bytes", lambda: True)


@pytest.fixture(params=["OpenVINO", "ONNX Runtime"])
def either(request: pytest.FixtureRequest, model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An encoder's folder, to be run by one runtime and then by the other."""
    monkeypatch.setattr(runtime, "multiplies_bytes", lambda: request.param == "OpenVINO")
    return model if request.param == "OpenVINO" else SHIPPED_ENCODER


def compile_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let compiling, and translating, fail from here on."""
    monkeypatch.setattr(ov.Core, "compile_model", None)
    monkeypatch.setattr(translated, "translate", None)


def load(model: Path, kept: Path | None, threads: int = 1) -> TransformerEncoder:
    return load_encoder(model, threads=threads, kept=kept)


def files(kept: Path) -> list[Path]:
    return sorted(kept.iterdir())


def test_the_second_time_it_is_not_compiled_and_computes_the_same(
    either: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = load(either, None).encode_queries(TEXTS)
    first = load(either, tmp_path / "kept").encode_queries(TEXTS)
    compile_no_more(monkeypatch)
    second = load(either, tmp_path / "kept").encode_queries(TEXTS)
    assert np.array_equal(plain, first)
    assert np.array_equal(first, second)
    assert len(files(tmp_path / "kept")) == 1


def test_other_options_and_other_models_are_kept_apart(model: Path, tmp_path: Path) -> None:
    load(model, tmp_path / "kept", threads=1)
    load(model, tmp_path / "kept", threads=2)
    assert len(files(tmp_path / "kept")) == 2
    other = save_tiny_encoder(tmp_path / "other")
    about = other / "model.json"
    about.write_text(about.read_text() + "\n")
    load(other, tmp_path / "kept")
    assert len(files(tmp_path / "kept")) == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: os.urandom(100),
    ],
    ids=["empty", "cut short", "a bit", "something else"],
)
def test_what_is_damaged_is_compiled_and_kept_again(
    model: Path, tmp_path: Path, damage: object
) -> None:
    expected = load(model, tmp_path).encode_queries(TEXTS)
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    assert callable(damage)
    path.write_bytes(damage(whole))
    assert np.array_equal(load(model, tmp_path).encode_queries(TEXTS), expected)
    assert files(tmp_path) == [path]
    assert load_compiled(path)


def test_what_was_made_of_damaged_weights_is_not_kept(model: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(model, damaged)
    weights = damaged / WEIGHTS_FILE
    content = bytearray(weights.read_bytes())
    content[100] ^= 0x40
    weights.write_bytes(bytes(content))
    load(damaged, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
    shutil.copy(model / WEIGHTS_FILE, weights)
    mended = load(damaged, tmp_path / "kept").encode_queries(TEXTS)
    assert np.array_equal(mended, load(model, None).encode_queries(TEXTS))
    assert len(files(tmp_path / "kept")) == 1


def test_what_the_runtime_does_not_read_is_compiled_again(
    either: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(either, tmp_path)
    for runner in (openvino_runner, onnx_runner):
        monkeypatch.setattr(runner, "load_compiled", lambda path: b"not what a runtime writes")
    assert len(load(either, tmp_path).encode_queries(TEXTS)) == len(TEXTS)


def test_a_folder_that_cannot_be_written_to_is_done_without(model: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file")
    assert len(load(model, tmp_path / "kept").encode_queries(TEXTS)) == len(TEXTS)
    assert (tmp_path / "kept").read_text() == "a file"


def test_only_the_last_used_are_kept(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "_MOST", 2)
    load(model, tmp_path, threads=1)
    (first,) = files(tmp_path)
    os.utime(first, (1, 1))
    load(model, tmp_path, threads=2)
    (second,) = set(files(tmp_path)) - {first}
    os.utime(second, (2, 2))
    load(model, tmp_path, threads=1)  # the older one, used again
    load(model, tmp_path, threads=3)
    assert first in files(tmp_path)
    assert second not in files(tmp_path)
    assert len(files(tmp_path)) == 2


def test_what_a_killed_process_left_goes(model: Path, tmp_path: Path) -> None:
    old, new, foreign = tmp_path / "aside-1", tmp_path / "aside-2", tmp_path / "notes.txt"
    for path in (old, new, foreign):
        path.write_text("")
    os.utime(old, (1, 1))
    os.utime(foreign, (1, 1))
    load(model, tmp_path)
    assert not old.exists()
    assert new.exists()
    assert foreign.exists()


def test_others_do_not_read_it(model: Path, tmp_path: Path) -> None:
    load(model, tmp_path / "kept")
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0


def test_indexing_and_searching_keep_what_they_compile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    monkeypatch.setenv("DAOGOU_MODEL_CACHE", str(kept))
    model, store = save_tiny_encoder(tmp_path / "tiny"), tmp_path / "store"
    command = ["index", str(write_catalog(tmp_path / "shop.jsonl")), "--store", str(store)]
    done = CliRunner().invoke(app, [*command, "--encoder", str(model), "--no-reranker"])
    assert done.exit_code == 0, done.output
    (first,) = files(kept)
    SearchEngine.open(store, load_settings(threads=3))
    assert len(set(files(kept)) - {first}) == 1  # for another number of threads
    compile_no_more(monkeypatch)
    assert SearchEngine.open(store, load_settings(threads=3)).search("kettle").hits


def test_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAOGOU_MODEL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path / "daogou" == load_settings().model_cache
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert user_cache() == tmp_path / "home" / ".cache" / "daogou"
    monkeypatch.setenv("DAOGOU_MODEL_CACHE", "")
    assert load_settings().model_cache is None
