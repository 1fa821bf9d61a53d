"""What each stage of a search is worth on judged queries: the evaluation itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from engine.errors import EvaluationError, ProductNotFoundError
from engine.types import Filter, Product, SearchResult, Stage
from indexer.evaluate.judgments import JudgedQueries
from indexer.evaluate.metrics import FULL_CATALOG, JUDGED_ONLY, Metric, PerQuery, Run, per_query
from indexer.evaluate.seen import seen_by_model
from indexer.evaluate.statistics import Interval, bootstrap, holm, randomisation_test

DEPTH = 1_000
"""Places ranked of the full catalog."""

_EQUAL = 1e-9  # sums of the same gains in another order differ by less
_BATCH = 64  # queries searched at a time; their hits hold whole products


class Identified(Protocol):
    """A snapshot, as far as an evaluation names it."""

    @property
    def id(self) -> str:
        """Name of the snapshot."""

    @property
    def folder(self) -> Path:
        """Where it lies: its models list their training queries there."""


class StagedSearch(Protocol):
    """What an evaluation needs of `engine.search.SearchEngine`."""

    @property
    def snapshot(self) -> Identified:
        """The snapshot searched."""

    @property
    def stages(self) -> Sequence[Stage]:
        """The stages this snapshot offers, in the order of the pipeline."""

    def search_many(
        self,
        texts: Sequence[str],
        *,
        k: int = 10,
        offset: int = 0,
        filters: Filter | None = None,
        stage: Stage | None = None,
        candidates: Sequence[Sequence[str]] | None = None,
    ) -> list[SearchResult]:
        """One answer a text; with `candidates`, those products ranked and none besides."""

    def product(self, product_id: str) -> Product:
        """The product; raises ProductNotFoundError."""


@dataclass(frozen=True, slots=True)
class StageFigures:
    """What one stage did."""

    run: Run
    values: Mapping[str, PerQuery]
    """Metric name → query id → value; a metric no query has a value for is absent."""
    intervals: Mapping[str, Interval]
    ms_per_query: float
    """In batches, without fetching the products: no page is a thousand products long."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The primary metric of two stages, query by query."""

    metric: str
    stage: Stage
    against: Stage
    difference: Interval
    """Of `stage` minus `against`."""
    p: float
    p_holm: float
    """Corrected for the comparisons made here."""
    gained: int
    lost: int


@dataclass(frozen=True, slots=True)
class SearchEvaluation:
    """Every figure of one evaluation, and what was left out of it."""

    snapshot_id: str
    protocol: str
    judged: JudgedQueries
    metrics: tuple[Metric, ...]
    stages: Mapping[Stage, StageFigures]
    comparisons: tuple[Comparison, ...]
    left_out: Mapping[str, int]
    """Metric name → evaluated queries it is undefined for."""
    missing_products: int
    """Judged products that the catalog lacks; they stay in the ideal."""
    seen: Mapping[str, tuple[str, ...]]
    """Model → evaluated queries it was trained on; only models with any."""

    @property
    def primary(self) -> Metric:
        """The metric that comparisons are made on."""
        return self.metrics[0]


def evaluate_stages(
    engine: StagedSearch,
    judged: JudgedQueries,
    *,
    stages: Sequence[Stage] = (),
    judged_only: bool = False,
    on_progress: Callable[[Stage, int], None] = lambda _stage, _queries: None,
) -> SearchEvaluation:
    """Search every judged query by each stage and measure the rankings by METRICS.md.

    Args:
        engine: what is measured.
        judged: what to ask and what is relevant.
        stages: which stages, in this order; none: all that the snapshot offers.
        judged_only: rank only the judged products of each query (ESCI's task 1).
        on_progress: called after each batch with the stage and the queries just answered.

    Raises:
        EvaluationError: no query can be evaluated, a stage is not offered, or the engine did not
            answer as asked.
    """
    if not judged.ids:
        raise EvaluationError(
            "no query has both a text and a judgment. Check that both files use the same query ids"
        )
    metrics = JUDGED_ONLY if judged_only else FULL_CATALOG
    qrels = {query_id: judged.qrels[query_id] for query_id in judged.ids}
    missing = missing_products(engine, qrels)
    present = {query_id: sorted(grades.keys() - missing) for query_id, grades in qrels.items()}
    figures: dict[Stage, StageFigures] = {}
    for stage in _offered(engine, stages):
        candidates = present if judged_only else None
        figures[stage] = _measure(
            engine, judged, stage, metrics=metrics, candidates=candidates, on_progress=on_progress
        )
    return SearchEvaluation(
        engine.snapshot.id,
        "judged only" if judged_only else "full catalog",
        judged,
        metrics,
        figures,
        _compare(metrics[0].name, figures),
        {m.name: sum(not m.defined_for(grades) for grades in qrels.values()) for m in metrics},
        len(missing),
        seen_by_model(engine.snapshot.folder, {one: judged.texts[one] for one in judged.ids}),
    )


def _offered(engine: StagedSearch, wanted: Sequence[Stage]) -> Sequence[Stage]:
    """The stages to measure, each once."""
    for stage in wanted:
        if stage not in engine.stages:
            raise EvaluationError(
                f"snapshot {engine.snapshot.id} has no {stage} stage. "
                f"Choose from --stages {','.join(engine.stages)}"
            )
    return list(dict.fromkeys(wanted)) or engine.stages


def missing_products(
    engine: StagedSearch, qrels: Mapping[str, Mapping[str, int]]
) -> frozenset[str]:
    """The judged product ids that the catalog lacks."""

    def lacks(product_id: str) -> bool:
        try:
            engine.product(product_id)
        except ProductNotFoundError:
            return True
        return False

    return frozenset(
        filter(lacks, {product_id for grades in qrels.values() for product_id in grades})
    )


def _measure(
    engine: StagedSearch,
    judged: JudgedQueries,
    stage: Stage,
    *,
    metrics: Sequence[Metric],
    candidates: Mapping[str, Sequence[str]] | None,
    on_progress: Callable[[Stage, int], None],
) -> StageFigures:
    """Run one stage over every query and measure what came."""
    run: dict[str, list[str]] = {}
    milliseconds = 0.0
    for start in range(0, len(judged.ids), _BATCH):
        ids = judged.ids[start : start + _BATCH]
        for query_id, result in _answers(engine, judged, stage, ids, candidates):
            run[query_id] = [hit.product.id for hit in result.hits]
            milliseconds += sum(ms for step, ms in result.timings.items() if step != "fetch")
        on_progress(stage, len(ids))
    values = per_query(metrics, run, {query_id: judged.qrels[query_id] for query_id in judged.ids})
    kept = {name: found for name, found in values.items() if found}
    intervals = {name: bootstrap(list(found.values())) for name, found in kept.items()}
    return StageFigures(run, kept, intervals, milliseconds / len(run))


def _answers(
    engine: StagedSearch,
    judged: JudgedQueries,
    stage: Stage,
    ids: Sequence[str],
    candidates: Mapping[str, Sequence[str]] | None,
) -> Iterator[tuple[str, SearchResult]]:
    """The stage's answer to some of the queries, each checked to be what was asked for.

    Raises:
        EvaluationError: the engine left the stage out, or ranked other products than it was given.
    """
    given = None if candidates is None else [candidates[query_id] for query_id in ids]
    depth = DEPTH if given is None else max(1, *map(len, given))
    texts = [judged.texts[query_id] for query_id in ids]
    results = engine.search_many(texts, k=depth, stage=stage, candidates=given)
    for query_id, result in zip(ids, results, strict=True):
        if result.stage != stage or result.degraded:
            raise EvaluationError(
                f"query {query_id!r} was answered by the {result.stage} stage, not {stage}: "
                "the engine left stages out to save time. Evaluate without a deadline"
            )
        ranked = sorted(hit.product.id for hit in result.hits)
        if candidates is not None and ranked != candidates[query_id]:
            raise EvaluationError(
                f"query {query_id!r}: the {stage} stage ranked {len(ranked)} products, not exactly "
                f"the {len(candidates[query_id])} judged ones. Report this as a bug"
            )
        yield query_id, result


def _compare(metric: str, figures: Mapping[Stage, StageFigures]) -> tuple[Comparison, ...]:
    """Each stage against the one before it, and the fused stage against every other."""
    values = {
        stage: found.values[metric] for stage, found in figures.items() if metric in found.values
    }
    pairs = list(dict.fromkeys(_pairs(list(values))))
    differences = [
        [values[stage][query_id] - values[against][query_id] for query_id in values[stage]]
        for stage, against in pairs
    ]
    p_values = [randomisation_test(difference) for difference in differences]
    return tuple(
        Comparison(
            metric,
            stage,
            against,
            bootstrap(difference),
            p,
            p_holm,
            gained=sum(value > _EQUAL for value in difference),
            lost=sum(value < -_EQUAL for value in difference),
        )
        for (stage, against), difference, p, p_holm in zip(
            pairs, differences, p_values, holm(p_values), strict=True
        )
    )


def _pairs(stages: Sequence[Stage]) -> Iterator[tuple[Stage, Stage]]:
    """(stage, against): the later stage first."""
    for before, after in pairwise(stages):
        yield after, before
    if Stage.FUSED in stages:
        at = stages.index(Stage.FUSED)
        yield from ((Stage.FUSED, stage) for stage in stages[:at])
        yield from ((stage, Stage.FUSED) for stage in stages[at + 1 :])
