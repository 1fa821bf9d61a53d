"""Texts are cut and read as the model learnt to read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import ModelError
from engine.models.encoder import SHIPPED_ENCODER
from engine.models.folder import TOKENIZER_FILE
from engine.models.tokenizer import load_tokenizer

QUERY = "electric kettle"
LONG = "stainless steel kettle with a gooseneck spout " * 9


def test_of_a_pair_the_longer_text_is_cut() -> None:
    found = load_tokenizer(SHIPPED_ENCODER, 32).encode(QUERY, LONG)
    assert len(found) == 32
    assert found.tokens[1:3] == ["electric", "kettle"]


def test_markers_that_are_typed_are_words() -> None:
    found = load_tokenizer(SHIPPED_ENCODER, 32).encode("[SEP] kettle [CLS] kettle")
    assert found.tokens.count("[SEP]") == found.tokens.count("[CLS]") == 1


def test_the_same_is_loaded_once(tmp_path: Path) -> None:
    first = load_tokenizer(SHIPPED_ENCODER, 32)
    (tmp_path / TOKENIZER_FILE).write_bytes((SHIPPED_ENCODER / TOKENIZER_FILE).read_bytes())
    assert load_tokenizer(tmp_path, 32) is first
    assert load_tokenizer(SHIPPED_ENCODER, 48) is not first
    assert len(first.encode(LONG)) == 32


def test_what_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / TOKENIZER_FILE).write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="is not a tokenizer"):
        load_tokenizer(tmp_path, 32)
