"""The figures of a search, one line each, computed by ir-measures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import ir_measures

from engine.types import Relevance

Run = Mapping[str, Sequence[str]]
"""Query id → product ids, the best first."""

PerQuery = dict[str, float]
"""Query id → value of one metric."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure: what ir-measures computes, and which queries it is defined for."""

    name: str
    measure: ir_measures.Measure
    least_grade: int
    """A query with no judgment of at least this grade is left out: its value is undefined."""

    def defined_for(self, grades: Mapping[str, int]) -> bool:
        """Whether a query with these judgments has a value."""
        return any(grade >= self.least_grade for grade in grades.values())


_EXACT = int(Relevance.EXACT)

FULL_CATALOG = (
    # ir-measures' nDCG: linear gain (the grade), log2 discount, ideal over the whole qrels.
    Metric("nDCG@10", ir_measures.nDCG @ 10, 1),
    # Unjudged products are removed from the ranking first (Sakai 2007).
    Metric("condensed nDCG@10", ir_measures.nDCG(judged_only=True) @ 10, 1),
    Metric("P@10", ir_measures.P(rel=_EXACT) @ 10, _EXACT),
    Metric("RR", ir_measures.RR(rel=_EXACT), _EXACT),
    Metric("R@100", ir_measures.R(rel=_EXACT) @ 100, _EXACT),
    Metric("Judged@10", ir_measures.Judged @ 10, 0),
)
"""Every product of the catalog is ranked; the first metric is the primary one."""

# ESCI's gains 1, 0.1, 0.01, 0 in whole numbers: the quotient is the same.
_ESCI_GAINS = {3: 100, 2: 10, 1: 1, 0: 0}

JUDGED_ONLY = (Metric("judged nDCG", ir_measures.nDCG(gains=_ESCI_GAINS), 1),)
"""Only the judged products of each query are ranked, without a cut-off (ESCI's task 1)."""


def per_query(
    metrics: Iterable[Metric], run: Run, qrels: Mapping[str, Mapping[str, int]]
) -> dict[str, PerQuery]:
    """Metric name → query id → value, for the queries for which the metric is defined.

    A query of the qrels that the run lacks, or answers with nothing, counts 0.
    """
    # ir-measures breaks ties in its own way: with minus the rank as score there are none.
    scores = {
        query_id: {product_id: -float(rank) for rank, product_id in enumerate(ranking, start=1)}
        for query_id, ranking in run.items()
        if ranking
    }
    judged = {query_id: dict(grades) for query_id, grades in qrels.items()}
    values: dict[str, PerQuery] = {}
    for metric in metrics:
        # One at a time: beside a measure with gains of its own, ir-measures 0.4.3 computes plain
        # nDCG with those gains too, depending on the order in which a set gives the measures.
        found = ir_measures.iter_calc([metric.measure], judged, scores)
        values[metric.name] = {
            value.query_id: float(value.value)
            for value in found
            if metric.defined_for(qrels[value.query_id])
        }
    return values
