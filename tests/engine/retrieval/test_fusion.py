"""Fusion, by hand-computed cases and the properties it was chosen for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engine.retrieval.fusion import (
    DENSE_WEIGHT,
    HEAD,
    KNOWN,
    LEAST_COSINE,
    SATURATION,
    SHORT,
    SHORT_WEIGHT,
    UNKNOWN,
    dense_weight,
    from_best,
    fuse,
    saturated,
)
from engine.types import Scores


def scores(*values: float) -> Scores:
    return np.array(values, dtype=np.float32)


def test_distances_are_in_units_of_the_head() -> None:
    assert from_best(scores(2, 10, 6)).tolist() == [-1.0, 0.0, -0.5]
    long = np.arange(200, dtype=np.float32)
    assert from_best(long)[200 - HEAD] == pytest.approx(-1.0)
    assert from_best(long)[0] == pytest.approx(-199 / (HEAD - 1))


def test_junk_at_the_end_does_not_change_the_head() -> None:
    head = np.linspace(9, 5, HEAD, dtype=np.float32)
    with_junk = np.concatenate([head, np.full(5_000, 0.1, dtype=np.float32)])
    assert from_best(with_junk)[:HEAD].tolist() == from_best(head).tolist()


@pytest.mark.parametrize("flat", [scores(), scores(3), scores(0, 0, 0)])
def test_a_list_without_an_opinion_leaves_the_order_to_the_other(flat: Scores) -> None:
    assert from_best(flat).tolist() == [0.0] * len(flat)
    other = np.arange(len(flat), dtype=np.float32)
    assert np.argsort(fuse(flat, other)).tolist() == list(range(len(flat)))
    assert np.argsort(fuse(other, flat)).tolist() == list(range(len(flat)))


def test_scores_can_be_measured_on_another_list() -> None:
    assert from_best(scores(10, 14, 2), scores(2, 10, 6)).tolist() == [0.0, 0.5, -1.0]
    assert from_best(scores(1, 2), scores()).tolist() == [0.0, 0.0]
    assert from_best(scores(1, 2), scores(5)).tolist() == [0.0, 0.0]


def test_keyword_and_cosine_are_weighed() -> None:
    off = -1 / np.sqrt(1 + 1 / SATURATION**2)
    assert fuse(scores(4, 0), scores(0, 1)) == pytest.approx([-DENSE_WEIGHT, off])
    assert fuse(scores(4, 0), scores(0, 1), np.float32(2)) == pytest.approx([-2, off])


def test_what_little_a_short_list_differs_by_is_no_whole_unit() -> None:
    assert from_best(scores(0.57, 0.53)).tolist() == [0.0, -1.0]
    close = from_best(scores(0.57, 0.53), least=LEAST_COSINE)
    assert close == pytest.approx([0.0, -0.04 / LEAST_COSINE], rel=1e-3)
    long = np.linspace(0.6, 0.58, HEAD, dtype=np.float32)
    assert from_best(long, least=LEAST_COSINE)[-1] == pytest.approx(-1.0)
    # A filter left two products: the one that has the word is before the one a little nearer.
    keyword, cosine = scores(2.9, 1.8), scores(0.53, 0.57)
    assert np.argmax(fuse(keyword, cosine, dense_weight(1, cosine))) == 0


def test_keyword_distances_saturate() -> None:
    near, far = saturated(scores(-0.01, -1_000))
    assert near == pytest.approx(-0.01, rel=1e-4)
    assert far == pytest.approx(-SATURATION, rel=1e-4)
    distances = -np.sort(np.random.default_rng(0).exponential(2, 999).astype(np.float32))
    bent = saturated(distances)
    assert (np.diff(bent) <= 0).all()
    for place in (0, 1, 500, 998):  # alone and among others, to the last bit
        assert saturated(distances[place : place + 1])[0] == bent[place]


def test_the_encoder_decides_about_a_word_or_two_that_it_knows() -> None:
    known, unknown = scores(0.1, KNOWN), scores(UNKNOWN, 0.1)
    assert dense_weight(1, known) == dense_weight(SHORT, known) == SHORT_WEIGHT
    assert dense_weight(1, unknown) == DENSE_WEIGHT
    assert [float(dense_weight(1, scores(best))) for best in (0.4, 0.475, 0.55)] == pytest.approx(
        [0.6, 1.3, 2.0]
    )
    assert dense_weight(SHORT + 1, known) == DENSE_WEIGHT
    assert dense_weight(1, scores()) == DENSE_WEIGHT
    between = dense_weight(1, scores((KNOWN + UNKNOWN) / 2))
    assert between == pytest.approx((DENSE_WEIGHT + SHORT_WEIGHT) / 2)
    # Four products have the word; the encoder holds the fifth to be what was meant.
    keyword, cosine = scores(9, 8, 7, 6, 0), scores(0.4, 0.4, 0.4, 0.4, KNOWN)
    assert np.argmax(fuse(keyword, cosine)) == 0
    assert np.argmax(fuse(keyword, cosine, dense_weight(1, cosine))) == 4


same_length = st.integers(1, 120).flatmap(
    lambda size: st.tuples(
        *[arrays(np.float32, size, elements=st.floats(0, 50, width=32))] * 2,
    )
)


@given(same_length)
def test_what_both_prefer_ranks_higher_and_nothing_is_infinite(pair: tuple[Scores, Scores]) -> None:
    lexical, dense = pair
    fused = fuse(lexical, dense)
    assert np.isfinite(fused).all()
    best = int(np.argmax(fused))
    dominated = (lexical < lexical[best]) & (dense < dense[best])
    assert (fused[dominated] <= fused[best]).all()
    better = (lexical > lexical[best]) & (dense > dense[best])
    assert not (fused[better] < fused[best] - 1e-4).any()
