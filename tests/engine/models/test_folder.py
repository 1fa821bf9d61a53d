"""A model folder that is not whole is refused, with the file named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from engine.errors import ModelError
from engine.models.encoder import SHIPPED_ENCODER, load_encoder
from engine.models.folder import (
    INFO_FILE,
    WEIGHTS_FILE,
    fingerprint_of,
    read_model_info,
    verify_model,
)
from engine.models.reranker import load_reranker


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped encoder, to damage."""
    return Path(shutil.copytree(SHIPPED_ENCODER, tmp_path / "encoder"))


def edit_info(folder: Path, **changes: object) -> None:
    path = folder / INFO_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a model folder"):
        load_encoder(tmp_path / "nowhere")


def test_a_file_in_the_folder_s_place_is_refused() -> None:
    with pytest.raises(ModelError, match="is not a model folder"):
        load_encoder(SHIPPED_ENCODER / INFO_FILE)


def test_an_encoder_is_no_reranker() -> None:
    with pytest.raises(ModelError, match="kind 'encoder', not 'reranker'"):
        load_reranker(SHIPPED_ENCODER)


@pytest.mark.parametrize("name", ["tokenizer.json", "model.xml", WEIGHTS_FILE])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=rf"{name} is missing.*daogou export"):
        load_encoder(folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "model.xml", WEIGHTS_FILE])
def test_a_truncated_file_is_named(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1])
    with pytest.raises(ModelError, match=f"{name} has"):
        load_encoder(folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "model.xml", WEIGHTS_FILE])
def test_a_flipped_byte_is_found(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"{name} was altered"):
        verify_model(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"kind": "encoder"}', '{"kind": "other"}'])
def test_a_damaged_description_is_refused(folder: Path, content: str) -> None:
    (folder / INFO_FILE).write_text(content)
    with pytest.raises(ModelError, match=r"model\.json is damaged"):
        load_encoder(folder)


def test_an_edited_description_is_refused(folder: Path) -> None:
    edit_info(folder, query_prefix="query: ")
    with pytest.raises(ModelError, match="was edited"):
        load_encoder(folder)


def test_a_model_for_other_passages_is_refused(folder: Path) -> None:
    info = read_model_info(folder, kind="encoder").model_copy(
        update={"passage_template": "passage/0"}
    )
    edit_info(folder, passage_template="passage/0", fingerprint=fingerprint_of(info))
    with pytest.raises(ModelError, match="'passage/0', this daogou writes"):
        load_encoder(folder)


def test_precision_is_not_identity_but_all_that_moves_a_vector_is() -> None:
    info = read_model_info(SHIPPED_ENCODER, kind="encoder")
    assert fingerprint_of(info.model_copy(update={"precision": "fp32"})) == info.fingerprint
    for change in (
        {"max_length": 64},
        {"pooling": "cls"},
        {"weights": "0"},
        {"passage_prefix": "p"},
    ):
        assert fingerprint_of(info.model_copy(update=change)) != info.fingerprint
