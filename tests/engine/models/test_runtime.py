"""Batching and errors of the inference session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Encoding

from engine.errors import ModelError
from engine.models.encoder import SHIPPED_ENCODER
from engine.models.runtime import BATCH_TOKENS, LENGTH_STEP, Session, make_batches
from engine.models.tokenizer import load_tokenizer

MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def sequences(*lengths: int) -> list[Encoding]:
    """Encodings of that many tokens."""
    tokenizer = load_tokenizer(SHIPPED_ENCODER, 512)
    return tokenizer.encode_batch(["kettle " * (length - 2) for length in lengths])


def test_batches_cover_every_sequence_once_and_pad_little() -> None:
    given = sequences(*range(3, 300))
    places: list[int] = []
    for batch in make_batches(given, MODEL_INPUTS):
        ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
        assert ids.shape == mask.shape
        assert ids.size <= BATCH_TOKENS
        assert ids.shape[1] % LENGTH_STEP == 0
        assert ids.shape[1] - mask.sum(axis=1).max() < LENGTH_STEP
        for place, row, seen in zip(batch.places, ids, mask, strict=True):
            assert row[seen == 1].tolist() == given[place].ids
            assert row[seen == 0].sum() == 0
        places += batch.places.tolist()
    assert sorted(places) == list(range(len(given)))


def test_a_sequence_longer_than_a_batch_goes_alone() -> None:
    tokenizer = load_tokenizer(SHIPPED_ENCODER, 2 * BATCH_TOKENS)
    given = tokenizer.encode_batch(["kettle " * (BATCH_TOKENS + 10), "mug"])
    assert [batch.places.tolist() for batch in make_batches(given, MODEL_INPUTS)] == [[0], [1]]


def test_few_sequences_are_parted_evenly_among_those_who_may_run_them() -> None:
    def sizes(given: list[Encoding], shares: int) -> list[int]:
        return [len(one.places) for one in make_batches(given, MODEL_INPUTS, shares=shares)]

    nine = sequences(*[100] * 9)
    assert [sizes(nine, shares) for shares in (1, 2, 3)] == [[9], [5, 4], [3, 3, 3]]
    assert sizes(sequences(3, 4, 5), 4) == [3]
    many = sequences(*[120] * 64)
    assert sizes(many, 1) == sizes(many, 2) == [16] * 4


def test_outputs_come_back_in_the_order_given() -> None:
    session = Session(SHIPPED_ENCODER, max_length=512, threads=2)
    given = sequences(9, 3, 200, 5, 120)
    together = session.run(given)
    alone = np.concatenate([session.run([sequence]) for sequence in given])
    assert together.shape == (5, session.width)
    np.testing.assert_array_equal((together @ alone.T).argmax(axis=1), range(5))


def test_a_sequence_that_is_too_long_is_refused_and_breaks_nothing() -> None:
    session = Session(SHIPPED_ENCODER, max_length=128, threads=1)
    too_long = load_tokenizer(SHIPPED_ENCODER, 2_000).encode_batch(["kettle " * 1_500])
    with pytest.raises(ModelError, match="tokens, the model reads 128"):
        session.run(too_long)
    assert np.isfinite(session.run(sequences(5))).all()


@pytest.mark.parametrize("graph", ["", "not a graph", "<net>"])
def test_an_unreadable_graph_is_refused_with_the_cure(tmp_path: Path, graph: str) -> None:
    (tmp_path / "model.xml").write_text(graph)
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"model\.xml cannot be loaded.*daogou export"):
        Session(tmp_path, max_length=128)


def test_an_unreadable_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="not a tokenizer"):
        load_tokenizer(tmp_path, 32)
