"""Every judged pair with the class probabilities that the snapshot's reranker gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import EvaluationError
from engine.types import Relevance, Stage
from indexer.evaluate.judgments import JudgedQueries
from indexer.evaluate.search import StagedSearch, missing_products
from indexer.evaluate.seen import seen_by_model

_BATCH = 16  # queries at a time; each brings all of its judged products


@dataclass(frozen=True, slots=True)
class ClassifiedPairs:
    """Judged pairs, aligned, in the order of the queries."""

    snapshot_id: str
    judged: JudgedQueries
    queries: tuple[str, ...]
    """The query id of each pair, (n,)."""
    probabilities: NDArray[np.float64]
    """(n, 4), columns in the order of `Relevance`."""
    grades: NDArray[np.int64]
    """What people said, (n,)."""
    missing_products: int
    """Judged products that the catalog lacks: their pairs are not here."""
    seen: Mapping[str, tuple[str, ...]]
    """Model → evaluated queries it was trained on; only models with any."""


def classify_judged(
    engine: StagedSearch,
    judged: JudgedQueries,
    *,
    on_progress: Callable[[int], None] = lambda _queries: None,
) -> ClassifiedPairs:
    """Classify every judged product of every query, exactly as a search would.

    Raises:
        EvaluationError: the snapshot has no reranker, nothing is judged, or the engine did not
            classify what it was given.
    """
    if Stage.RERANKED not in engine.stages:
        raise EvaluationError(
            f"snapshot {engine.snapshot.id} has no reranker: nothing gives class probabilities. "
            "Index with one: daogou index CATALOG --store STORE --reranker DIR"
        )
    missing = missing_products(engine, {one: judged.qrels[one] for one in judged.ids})
    present = {one: sorted(judged.qrels[one].keys() - missing) for one in judged.ids}
    ids = [one for one in judged.ids if present[one]]
    if not ids:
        raise EvaluationError(
            "no judged product of any query is in the catalog. "
            "Check that queries, judgments and store belong together"
        )
    rows: list[tuple[str, list[float], int]] = []
    for start in range(0, len(ids), _BATCH):
        batch = {one: present[one] for one in ids[start : start + _BATCH]}
        rows += _classified(engine, judged, batch)
        on_progress(len(batch))
    return ClassifiedPairs(
        engine.snapshot.id,
        judged,
        tuple(query_id for query_id, _, _ in rows),
        np.array([probabilities for _, probabilities, _ in rows], dtype=np.float64),
        np.array([grade for _, _, grade in rows], dtype=np.int64),
        len(missing),
        seen_by_model(engine.snapshot.folder, {one: judged.texts[one] for one in ids}),
    )


def _classified(
    engine: StagedSearch, judged: JudgedQueries, candidates: Mapping[str, list[str]]
) -> list[tuple[str, list[float], int]]:
    """(query id, probabilities, grade) of each candidate of these queries."""
    rows: list[tuple[str, list[float], int]] = []
    results = engine.search_many(
        [judged.texts[one] for one in candidates],
        k=max(map(len, candidates.values())),
        stage=Stage.RERANKED,
        candidates=list(candidates.values()),
    )
    for (query_id, ids), result in zip(candidates.items(), results, strict=True):
        found = {hit.product.id: hit.probabilities for hit in result.hits}
        for product_id in ids:
            given = found.get(product_id)
            if given is None:
                raise EvaluationError(
                    f"query {query_id!r}: product {product_id!r} was not classified. "
                    "Report this as a bug"
                )
            probabilities = [given[relevance] for relevance in Relevance]
            rows.append((query_id, probabilities, judged.qrels[query_id][product_id]))
    return rows
