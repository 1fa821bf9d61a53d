"""Whether the engine knows when the catalog has nothing: the "nothing fits" cut-off.

`tests/benchmarks/unanswerable.tsv` holds 200 queries, written for this in the manner of shoppers,
that neither the ESCI nor the Icecat catalog can answer, not even by a substitute; some three in
eight name a product type missing from a department that the catalogs have. They are in random
order, so those with odd and those with even numbers are alike: one half may fit a cut-off and
the other test it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import EvaluationError
from engine.types import Stage
from indexer.evaluate.search import Identified
from indexer.evaluate.seen import seen_by_model
from indexer.evaluate.statistics import SAMPLES, Interval, bootstrap

_SEED = 19_450_612
_BLOCK = 500  # bootstrap samples at a time
_BATCH = 64  # queries asked at a time


class Fitting(Protocol):
    """What is read of a `SearchResult`."""

    @property
    def fits(self) -> float | None:
        """How likely the catalog has something that fits; None without a cut-off."""

    @property
    def nothing_fits(self) -> bool:
        """Whether the shopper is told that nothing fits."""


class FittingSearch(Protocol):
    """What is needed of `engine.search.SearchEngine`."""

    @property
    def snapshot(self) -> Identified:
        """The snapshot searched."""

    @property
    def stages(self) -> Sequence[Stage]:
        """The stages this snapshot offers."""

    def search_many(self, texts: Sequence[str], *, stage: Stage | None = None) -> Sequence[Fitting]:
        """One answer a text."""


@dataclass(frozen=True, slots=True)
class CutOffReport:
    """How well the cut-off tells queries with an answer from those without."""

    snapshot_id: str
    auroc: Interval
    """Its `queries` counts both kinds; both are resampled."""
    answerable_refused: Interval
    unanswerable_refused: Interval
    refused: Mapping[str, float]
    """Answerable queries told that nothing fits → their `fits`."""
    answered: Mapping[str, float]
    """Unanswerable queries that were answered → their `fits`."""
    seen: Mapping[str, tuple[str, ...]]
    """Model → queries it was trained on."""


def auroc(scores_answerable: ArrayLike, scores_unanswerable: ArrayLike) -> float:
    """How often an answerable query scores above an unanswerable one; a tie counts half.

    The area under the ROC curve, as the statistic of Mann and Whitney (1947).

    Raises:
        EvaluationError: one of the two is empty.
    """
    return float(_wins(scores_answerable, scores_unanswerable).mean())


def auroc_interval(
    scores_answerable: ArrayLike, scores_unanswerable: ArrayLike, *, samples: int = SAMPLES
) -> Interval:
    """`auroc` with its 95% bootstrap interval: either kind of query is drawn anew by itself."""
    wins = _wins(scores_answerable, scores_unanswerable)  # (answerable, unanswerable)
    random = np.random.default_rng(_SEED)
    drawn: list[NDArray[np.float64]] = []
    for start in range(0, samples, _BLOCK):
        size = min(_BLOCK, samples - start)
        rows, columns = (random.multinomial(n, np.full(n, 1 / n), size=size) for n in wins.shape)
        drawn.append(((rows @ wins) * columns).sum(axis=1) / wins.size)  # (size,)
    low, high = np.percentile(np.concatenate(drawn), [2.5, 97.5])
    return Interval(float(wins.mean()), float(low), float(high), sum(wins.shape))


def refused(scores: ArrayLike, threshold: float) -> NDArray[np.bool_]:
    """Which queries are told that nothing fits: those scored below the threshold; shape kept."""
    below: NDArray[np.bool_] = np.asarray(scores, dtype=np.float64) < threshold
    return below


def evaluate_cutoff(
    engine: FittingSearch,
    answerable: Mapping[str, str],
    unanswerable: Mapping[str, str],
    *,
    on_progress: Callable[[int], None] = lambda _queries: None,
) -> CutOffReport:
    """Ask every query, reranked, and measure what the engine says of itself.

    Args:
        engine: what is measured.
        answerable: query id → text of queries that the catalog has something for.
        unanswerable: the same of queries that it has nothing for.
        on_progress: called after each batch with the queries just answered.

    Raises:
        EvaluationError: there is no query of a kind, an id is of both kinds, or the snapshot has
            no reranker or no cut-off.
    """
    if both := sorted(answerable.keys() & unanswerable.keys()):
        raise EvaluationError(
            f"query id {both[0]!r} is in both files. Number the queries of one of them otherwise"
        )
    if Stage.RERANKED not in engine.stages:
        raise EvaluationError(_without_cutoff(engine, "no reranker"))
    every = {**answerable, **unanswerable}
    found = _asked(engine, every, on_progress)
    with_answer, without = ([found[one] for one in ids] for ids in (answerable, unanswerable))
    return CutOffReport(
        engine.snapshot.id,
        auroc_interval([fits for fits, _ in with_answer], [fits for fits, _ in without]),
        bootstrap([float(nothing) for _, nothing in with_answer]),
        bootstrap([float(nothing) for _, nothing in without]),
        {one: found[one][0] for one in answerable if found[one][1]},
        {one: found[one][0] for one in unanswerable if not found[one][1]},
        seen_by_model(engine.snapshot.folder, every),
    )


def _asked(
    engine: FittingSearch, queries: Mapping[str, str], on_progress: Callable[[int], None]
) -> dict[str, tuple[float, bool]]:
    """Query id → (fits, nothing fits)."""
    ids = list(queries)
    found: dict[str, tuple[float, bool]] = {}
    for start in range(0, len(ids), _BATCH):
        batch = ids[start : start + _BATCH]
        results = engine.search_many([queries[one] for one in batch], stage=Stage.RERANKED)
        for query_id, result in zip(batch, results, strict=True):
            if result.fits is None:
                raise EvaluationError(_without_cutoff(engine, "a ranking without a cut-off"))
            found[query_id] = (float(result.fits), bool(result.nothing_fits))
        on_progress(len(batch))
    return found


def _without_cutoff(engine: FittingSearch, what: str) -> str:
    return (
        f"snapshot {engine.snapshot.id} has {what}: it never says that nothing fits. "
        "Train one with `daogou train ranking` and publish it with `daogou publish --ranking DIR`"
    )


def _wins(answerable: ArrayLike, unanswerable: ArrayLike) -> NDArray[np.float64]:
    """1 where the answerable query scores higher, 0.5 where both score the same: (a, u)."""
    high = np.asarray(answerable, dtype=np.float64)[:, None]
    low = np.asarray(unanswerable, dtype=np.float64)[None, :]
    if not high.size or not low.size:
        raise EvaluationError(
            "a cut-off is measured on queries of both kinds. Give some that the catalog answers "
            "with --queries and some that it cannot with --unanswerable"
        )
    wins: NDArray[np.float64] = (high > low) + 0.5 * (high == low)
    return wins
