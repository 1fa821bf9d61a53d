"""Pairs are read as the model learnt to read them."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer

from engine.models.encoder import SHIPPED_ENCODER
from engine.models.folder import TOKENIZER_FILE
from engine.models.tokenizer import PairTokenizer, load_tokenizer

QUERY = "electric kettle"
LONG = "stainless steel kettle with a gooseneck spout " * 9


def loaded() -> Tokenizer:
    return load_tokenizer(SHIPPED_ENCODER, 512)


def test_a_passage_of_its_own_length_is_read_the_same_beside_any_query() -> None:
    pairs = PairTokenizer(loaded(), 48, 32)
    queries = [QUERY, "kettle", QUERY * 9]
    found = pairs.encode(queries, [LONG] * 3)
    second = [[i for i, kind in zip(one.ids, one.type_ids, strict=True) if kind] for one in found]
    assert second[0] == second[1] == second[2] == pairs.encode_passages([LONG])[0].ids
    assert len(second[0]) == 32
    assert len(found[2]) == 48
    (first,) = pairs.encode_queries([QUERY])
    assert found[0].tokens == [*first.tokens, *pairs.encode_passages([LONG])[0].tokens]
    assert found[0].tokens[0] == found[0].tokens[len(first)] == "[CLS]"
    assert found[0].attention_mask == [1] * len(found[0])


def test_without_one_the_longer_text_is_cut() -> None:
    pairs = PairTokenizer(loaded(), 32)
    (found,) = pairs.encode([QUERY], [LONG])
    assert len(found) == 32
    assert found.tokens[1:3] == ["electric", "kettle"]
    with pytest.raises(ValueError, match="together"):
        pairs.encode_passages([LONG])


def test_markers_that_are_typed_are_words() -> None:
    pairs = PairTokenizer(Tokenizer.from_file(str(SHIPPED_ENCODER / TOKENIZER_FILE)), 48, 32)
    (found,) = pairs.encode(["[SEP] kettle"], ["[CLS] kettle"])
    assert found.tokens.count("[SEP]") == found.tokens.count("[CLS]") == 2
    assert pairs.encode([], []) == []


def test_two_sides_of_different_number_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        PairTokenizer(loaded(), 48, 32).encode([QUERY], [LONG, LONG])
