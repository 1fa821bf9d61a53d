"""The tokens kept of passages come back as they were, as far as int8 tells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import SnapshotDamagedError
from engine.models.tokens import PASSAGE_TOKENS, pack, quantise
from engine.retrieval.passages import PassageBuilder, Passages, segment_files

WIDTH = 8


def tokens(lengths: list[int]) -> list[np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    chance = np.random.default_rng(len(lengths))
    return [chance.normal(size=(n, WIDTH)).astype(np.float32) * (n + 1) for n in lengths]


def kept(folder: Path, lengths: list[int]) -> Passages:
    first = PassageBuilder(folder)
    first.add(map(quantise, tokens(lengths)[:2]))
    first.finish()
    shared = Passages(folder, WIDTH).places(slice(None))
    second = PassageBuilder(folder, segment=1)
    second.take(shared)
    second.add(map(quantise, tokens(lengths)[2:]))
    second.finish()
    return Passages(folder, WIDTH)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.data())
def test_any_rows_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], data: st.DataObject
) -> None:
    passages = kept(tmp_path_factory.mktemp("kept") / "passages", lengths)
    assert len(passages) == len(lengths)
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=8))
    hidden, mask = passages.take(np.array(rows))
    assert hidden.shape == (*mask.shape, WIDTH)
    assert mask.shape[1] == PASSAGE_TOKENS
    for place, row in enumerate(rows):
        expected = tokens(lengths)[row]
        assert mask[place].sum() == len(expected)
        assert not mask[place, len(expected) :].any()
        assert not hidden[place, len(expected) :].any()
        given_back = hidden[place, : len(expected)]
        largest = np.abs(expected).max(axis=1, initial=0.0, keepdims=True)
        room = largest * (1 / 254 + 1e-6) + 1e-6  # half a step, and float32's own rounding
        assert (np.abs(given_back - expected) <= room).all()


def test_what_is_packed_is_what_would_be_kept(tmp_path: Path) -> None:
    lengths = [3, 17, 1]
    passages = kept(tmp_path / "passages", lengths).take(np.arange(3))
    packed = pack(tokens(lengths))
    np.testing.assert_array_equal(packed.hidden, passages.hidden)
    np.testing.assert_array_equal(packed.mask, passages.mask)


def test_zeros_stay_zeros() -> None:
    quantised, scales = quantise(np.zeros((2, WIDTH), dtype=np.float32))
    assert not quantised.any()
    assert (scales > 0).all()


def test_a_file_that_was_cut_is_named(tmp_path: Path) -> None:
    kept(tmp_path / "passages", [3, 4])
    path = tmp_path / "passages" / segment_files(0)[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SnapshotDamagedError, match="55 bytes for 7 tokens of 8 numbers"):
        Passages(tmp_path / "passages", WIDTH)
    path.unlink()
    with pytest.raises(SnapshotDamagedError, match=path.name):
        Passages(tmp_path / "passages", WIDTH)


def test_a_file_that_is_cut_while_it_is_open_is_named(tmp_path: Path) -> None:
    passages = kept(tmp_path / "passages", [3, 4, 2])
    path = tmp_path / "passages" / segment_files(0)[0]
    path.write_bytes(path.read_bytes()[:-1])
    assert passages.take(np.array([0, 2])).mask.sum() == 5  # what is there is read
    with pytest.raises(SnapshotDamagedError, match=f"{path.name} was cut short"):
        passages.take(np.array([1]))
