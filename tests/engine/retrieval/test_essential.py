from __future__ import annotations

import numpy as np
import pytest

from engine.retrieval.essential import bounds_of, costs, essential


def test_a_bound_is_more_than_the_term_can_add() -> None:
    """BM25 at endless repetition in the shortest text, for every frequency."""
    held = np.arange(1, 1_001)
    idf = np.log(1 + (1_000 - held + 0.5) / (held + 0.5))
    assert (bounds_of(held, 1_000) > idf * 2.2).all()


@pytest.mark.parametrize(
    ("held", "bounds", "least", "expected"),
    [
        ([10, 1_000], [9, 3], 3.1, 1),  # what has only the frequent one falls short
        ([10, 1_000], [9, 3], 3.0, 2),  # or reaches just so much
        ([10, 1_000], [9, 3], 0.0, 2),
        ([10, 1_000], [9, 3], 99.0, 1),  # one is gone through in any case
        ([10, 20, 1_000], [9, 8, 3], 11.5, 1),  # both others together fall short
        ([10, 20, 1_000], [9, 8, 3], 10.0, 2),
        ([400, 500], [4, 3], 3.5, 2),  # looking up 400 times takes longer than 500 more
        ([10, 600, 700, 800], [9, 3, 3, 3], 3.5, 4),
        ([7], [5], 9.0, 1),
    ],
)
def test_the_rarest_are_gone_through_as_far_as_they_must(
    held: list[int], bounds: list[float], least: float, expected: int
) -> None:
    assert essential(np.array(held), np.array(bounds, dtype=np.float64), least) == expected


def test_terms_left_out_are_looked_up_in_what_the_others_bring() -> None:
    assert costs(np.array([10, 20, 1_000])).tolist() == [10 * 5, 30 * 3, 1_030]
