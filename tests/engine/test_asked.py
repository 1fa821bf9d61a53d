"""Vectors of queries, begun early and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from engine.asked import QueryVectors
from engine.types import Vectors
from tests.fakes import FakeEncoder


class EagerFake(FakeEncoder):
    """Counts what it is asked for; begins what it is told to begin."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded: list[str] = []
        self.begun: list[str] = []
        self.fails = False

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        self.encoded += texts
        return super().encode_queries(texts)

    def begin_query(self, text: str) -> Callable[[], Vectors]:
        self.begun.append(text)

        def finish() -> Vectors:
            if self.fails:
                raise MemoryError
            return FakeEncoder.encode_queries(self, [text])

        return finish


def test_a_vector_is_encoded_once_however_often_it_is_asked_for() -> None:
    encoder = EagerFake()
    vectors = QueryVectors(lambda: encoder, keep=True)
    first, again = vectors.of(["red mug"]), vectors.of(["red mug"])
    np.testing.assert_array_equal(first, FakeEncoder().encode_queries(["red mug"]))
    np.testing.assert_array_equal(first, again)
    assert encoder.encoded == ["red mug"]


def test_what_was_begun_is_not_encoded_again() -> None:
    encoder = EagerFake()
    vectors = QueryVectors(lambda: encoder, keep=True)
    for _ in range(2):
        vectors.begin("red mug")
        np.testing.assert_array_equal(
            vectors.of(["red mug"]), FakeEncoder().encode_queries(["red mug"])
        )
    assert (encoder.begun, encoder.encoded) == (["red mug"], [])


def test_an_encoder_that_cannot_begin_is_asked_when_it_is_needed() -> None:
    encoder = FakeEncoder()
    vectors = QueryVectors(lambda: encoder, keep=True)
    vectors.begin("red mug")
    np.testing.assert_array_equal(vectors.of(["red mug"]), encoder.encode_queries(["red mug"]))


def test_many_at_once_are_neither_looked_up_nor_kept() -> None:
    encoder = EagerFake()
    vectors = QueryVectors(lambda: encoder, keep=True)
    vectors.of(["a", "b"])
    vectors.of(["a"])
    assert encoder.encoded == ["a", "b", "a"]
    assert vectors.of([]).shape == (0, encoder.dim)


def test_what_is_kept_is_bounded_and_long_texts_are_not() -> None:
    encoder = EagerFake()
    vectors = QueryVectors(lambda: encoder, keep=True)
    for number in range(2_001):
        vectors.of([f"query {number}"])
    vectors.of(["query 2000"])
    vectors.of(["query 0"])
    long = "word " * 300
    vectors.begin(long)
    vectors.of([long])
    vectors.of([long])
    assert encoder.begun == []
    assert encoder.encoded[2_001:] == ["query 0", long, long]


def test_nothing_is_kept_where_that_is_not_wanted() -> None:
    encoder = EagerFake()
    vectors = QueryVectors(lambda: encoder, keep=False)
    vectors.begin("red mug")
    for _ in range(3):
        vectors.of(["red mug"])
    assert encoder.begun == ["red mug"]
    assert encoder.encoded == ["red mug", "red mug"]
    vectors.begin("a red mug under $5")  # what is searched for then is "a red mug"
    vectors.of(["a red mug"])
    vectors.of(["a red mug under $5"])
    assert encoder.encoded[2:] == ["a red mug", "a red mug under $5"]


def test_a_failure_is_not_kept() -> None:
    encoder = EagerFake()
    vectors = QueryVectors(lambda: encoder, keep=True)
    encoder.fails = True
    vectors.begin("red mug")
    with pytest.raises(MemoryError):
        vectors.of(["red mug"])
    assert vectors.of(["red mug"]).shape == (1, encoder.dim)
