from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import EvaluationError
from engine.types import Relevance
from indexer.evaluate.calibration import (
    accuracy,
    base_rate_log_loss,
    confusion,
    expected_calibration_error,
    log_loss,
    macro_f1,
    reliability,
)
from indexer.evaluate.calibration_report import report
from indexer.evaluate.reliability_figure import draw_reliability

_SURE = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.2, 0.6], [0.25, 0.25, 0.25, 0.25]])


def _drawn(pairs: int, seed: int = 5) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities, and grades drawn by exactly these."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet([1.0, 0.5, 1.0, 2.0], size=pairs)
    draws = random.random((pairs, 1))
    return probabilities, (probabilities.cumsum(axis=1) < draws).sum(axis=1).clip(0, 3)


def test_calibration_error_is_that_of_the_bins_one_by_one() -> None:
    probabilities, grades = _drawn(150)  # 15 bins of 10 pairs each
    for relevance, found in expected_calibration_error(probabilities, grades).items():
        order = np.argsort(probabilities[:, relevance])
        bins = order.reshape(15, 10)
        gaps = [
            abs(probabilities[rows, relevance].mean() - (grades[rows] == relevance).mean())
            for rows in bins
        ]
        assert found == pytest.approx(np.mean(gaps))


def test_what_is_calibrated_has_little_error_and_what_boasts_has_much() -> None:
    probabilities, grades = _drawn(30_000)
    assert max(expected_calibration_error(probabilities, grades).values()) < 0.015
    boasting = probabilities**3 / (probabilities**3).sum(axis=1, keepdims=True)
    assert max(expected_calibration_error(boasting, grades).values()) > 0.08


def test_equal_probabilities_do_not_depend_on_the_order_of_the_input() -> None:
    probabilities, grades = _drawn(331)
    coarse = np.round(probabilities, 1)
    shuffled = np.random.default_rng(3).permutation(len(grades))
    once = expected_calibration_error(coarse, grades)
    again = expected_calibration_error(coarse[shuffled], grades[shuffled])
    assert once == pytest.approx(again, abs=1e-12)
    # All alike: the same share of every grade in every bin.
    flat = np.full((40, 4), 0.25)
    grades = np.repeat([3, 0], 20)
    bins = reliability(flat, grades, Relevance.EXACT)
    assert bins.observed == pytest.approx(np.full(15, 0.5))
    assert bins.count == pytest.approx(np.full(15, 40 / 15))
    error = expected_calibration_error(flat, grades)
    assert error[Relevance.EXACT] == pytest.approx(0.25)


def test_weights_count_a_pair_as_often() -> None:
    probabilities, grades = _drawn(60)
    weights = np.random.default_rng(1).integers(0, 4, 60)
    many = np.repeat(probabilities, weights, axis=0), np.repeat(grades, weights)
    assert expected_calibration_error(probabilities, grades, weights=weights) == pytest.approx(
        expected_calibration_error(*many)
    )
    assert log_loss(probabilities, grades, weights=weights) == pytest.approx(log_loss(*many))
    assert macro_f1(probabilities, grades, weights=weights) == pytest.approx(macro_f1(*many))


def test_log_loss_is_the_mean_and_a_false_certainty_costs_a_finite_amount() -> None:
    expected = -(math.log(0.7) + math.log(0.2) + math.log(0.25)) / 3
    assert log_loss(_SURE, [0, 2, 3]) == pytest.approx(expected)
    assert 30 < log_loss([[1.0, 0.0, 0.0, 0.0]], [3]) < 40


def test_base_rates_come_from_training_where_given() -> None:
    assert base_rate_log_loss([0, 0, 3, 3]) == pytest.approx(math.log(2))
    found = base_rate_log_loss([0, 3], training=[0, 0, 0, 3])
    assert found == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2)


def test_classes_are_counted_as_given_and_as_predicted() -> None:
    crossed = confusion(_SURE, [0, 2, 3])
    assert crossed.tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]]
    assert accuracy(_SURE, [0, 2, 3]) == pytest.approx(1 / 3)
    # F1: irrelevant 2/3, substitute 0, exact 0; complement is neither given nor predicted.
    assert macro_f1(_SURE, [0, 2, 3]) == pytest.approx(2 / 9)


def test_a_report_draws_whole_queries() -> None:
    probabilities, grades = _drawn(200)
    queries = [f"q{number // 10}" for number in range(200)]
    found = report(probabilities, grades, queries, samples=300)
    assert (found.pairs, found.queries) == (200, 20)
    assert found.log_loss.mean == pytest.approx(log_loss(probabilities, grades))
    gain = found.base_rate_log_loss.mean - found.log_loss.mean
    assert found.log_loss_gain.mean == pytest.approx(gain)
    assert found.log_loss.low < found.log_loss.mean < found.log_loss.high
    for error in found.calibration_error.values():
        assert 0 <= error.low <= error.mean <= error.high
    assert found.confusion.sum() == 200
    # One query alone: every sample is that query.
    alone = report(probabilities, grades, ["q"] * 200, samples=50)
    assert alone.accuracy.low == alone.accuracy.high == pytest.approx(alone.accuracy.mean)
    assert report(probabilities, grades, queries, samples=300).accuracy == found.accuracy


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(EvaluationError, match="no judged pair"):
        log_loss(np.empty((0, 4)), [])
    with pytest.raises(EvaluationError, match=r"shape \(3, 4\), not \(2, 4\)"):
        accuracy(_SURE, [0, 1])
    with pytest.raises(EvaluationError, match="from 0 to 4, not from 0 to 3"):
        accuracy(_SURE, [0, 1, 4])
    with pytest.raises(EvaluationError, match="2 query ids are given for 3 pairs"):
        report(_SURE, [0, 1, 2], ["a", "b"])


def test_the_diagram_names_classes_and_errors(tmp_path: Path) -> None:
    probabilities, grades = _drawn(90)
    found = report(probabilities, grades, ["q"] * 90, samples=20)
    draw_reliability(found, tmp_path / "figure.svg")
    svg = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    for relevance in Relevance:
        assert relevance.name.capitalize() in svg
        assert f"calibration error {found.calibration_error[relevance].mean:.3f}" in svg
    with pytest.raises(EvaluationError, match="--figure"):
        draw_reliability(found, tmp_path / "no" / "figure.png")
