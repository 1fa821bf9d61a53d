from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from indexer.evaluate.statistics import bootstrap, holm, randomisation_test


def test_the_interval_of_many_normal_values_is_the_textbook_one() -> None:
    values = np.random.default_rng(1).normal(0.7, 0.2, size=400)
    found = bootstrap(values)
    half = 1.96 * values.std(ddof=1) / np.sqrt(400)
    assert found.mean == pytest.approx(values.mean())
    assert found.queries == 400
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_the_bootstrap_of_two_values_has_three_outcomes() -> None:
    found = bootstrap([0.0, 1.0])  # means 0, ½, 1 with chances ¼, ½, ¼
    assert (found.low, found.mean, found.high) == (0.0, 0.5, 1.0)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(2)
    covered = 0
    for trial in range(300):
        found = bootstrap(random.uniform(size=60), samples=500, seed=trial)
        covered += found.low <= 0.5 <= found.high
    assert 0.90 <= covered / 300 <= 0.98


def test_the_same_values_give_the_same_interval() -> None:
    values = np.linspace(0, 1, 37)
    assert bootstrap(values) == bootstrap(values)
    assert bootstrap([0.25]) == bootstrap([0.25, 0.25]).__class__(0.25, 0.25, 0.25, 1)


def test_the_randomisation_test_agrees_with_all_sign_flips() -> None:
    differences = [0.3, 0.12, -0.05, 0.2, -0.11, 0.07, 0.4, -0.02]
    observed = abs(sum(differences))
    flips = [
        abs(sum(sign * difference for sign, difference in zip(signs, differences, strict=True)))
        for signs in product((-1, 1), repeat=len(differences))
    ]
    exact = sum(flip >= observed - 1e-12 for flip in flips) / len(flips)
    assert randomisation_test(differences) == pytest.approx(exact, abs=0.01)


def test_no_difference_is_no_evidence_and_p_is_never_zero() -> None:
    assert randomisation_test([0.0] * 20) == 1.0
    assert randomisation_test([0.1, -0.1]) == 1.0
    assert randomisation_test([0.1] * 200) == 1 / 10_001


def test_equal_differences_all_count_as_extreme() -> None:
    # Of the 16 sign flips of four equal differences two are as extreme as the observed one.
    assert randomisation_test([0.1] * 4) == pytest.approx(2 / 16, abs=0.01)


def test_under_the_null_p_is_small_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    found = [
        randomisation_test(random.normal(size=40), samples=400, seed=trial) for trial in range(400)
    ]
    assert 0.02 <= np.mean(np.array(found) <= 0.05) <= 0.08


def test_holm_by_hand() -> None:
    # Ascending: 0.005·4, 0.01·3, max(0.03·2, …), max(0.04·1, 0.06).
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04]
    assert holm([]) == []
