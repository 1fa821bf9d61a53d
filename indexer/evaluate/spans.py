"""What the span tagger is worth, on queries whose spans people labelled.

A span counts where its boundaries and its type are the labelled ones (Tjong Kim Sang and De Meulder
2003). F1 over all spans of all queries, and by type.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.guide.chain import OUTSIDE, runs
from engine.guide.spans import SpanTagger
from indexer.evaluate.statistics import SAMPLES, Interval
from indexer.train.spans import Labelled

OURS = "daogou"
PEER = "most frequent label of a word"
_SEED = 20_030_531
_BINS = 10

Spans = set[tuple[int, int, str]]
"""Of one query: first word, word after the last, type."""


@dataclass(frozen=True, slots=True)
class Found:
    """One way of tagging."""

    f1: Interval
    precision: float
    recall: float
    types: Mapping[str, Interval]
    """F1 by type, of types that occur."""


@dataclass(frozen=True, slots=True)
class SpansEvaluation:
    """By way of tagging."""

    found: Mapping[str, Found]
    ahead: Interval
    """Our F1 less the peer's."""
    spans: Mapping[str, int]
    """Labelled, by type."""
    calibration: float
    """Mean gap of a span's confidence and how often such are right, over ten equal bins (ECE)."""
    queries: int


def evaluate_spans(
    queries: Sequence[Labelled], tagger: SpanTagger, learnt_from: Sequence[Labelled] | None = None
) -> SpansEvaluation:
    """The tagger as it is, beside a peer that learns from `learnt_from`.

    Without `learnt_from` the peer learns from half of the queries and tags the other, both ways.
    """
    if learnt_from is not None:
        peer = most_frequent(learnt_from)
        theirs = [peer(one.words) for one in queries]
    else:
        halves = [most_frequent(queries[1::2]), most_frequent(queries[::2])]
        theirs = [halves[n % 2](one.words) for n, one in enumerate(queries)]
    sure = [
        {(first, last, kind): chance for first, last, kind, chance in tagger.tag_words(one.words)}
        for one in queries
    ]
    return compare(queries, [set(one) for one in sure], theirs, calibration(queries, sure))


def most_frequent(queries: Sequence[Labelled]) -> Callable[[Sequence[str]], Spans]:
    """A peer: the label that a word has most often, an unknown one that of most words.

    An inside that follows nothing of its type begins a span.
    """
    seen: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for one in queries:
        for word, label in zip(one.words, one.labels, strict=True):
            seen[word.casefold()][label] += 1
    every = sum(seen.values(), Counter[str]())
    usual = every.most_common(1)[0][0] if every else OUTSIDE
    best = {word: counts.most_common(1)[0][0] for word, counts in seen.items()}

    def tag(words: Sequence[str]) -> Spans:
        labels: list[str] = []
        for word in words:
            here = best.get(word.casefold(), usual)
            before = labels[-1] if labels else OUTSIDE
            follows = before != OUTSIDE and before[2:] == here[2:]
            labels.append(f"B-{here[2:]}" if here[0] == "I" and not follows else here)
        return set(runs(labels))

    return tag


def compare(
    queries: Sequence[Labelled],
    ours: Sequence[Spans],
    theirs: Sequence[Spans],
    calibrated: float,
) -> SpansEvaluation:
    """The figures of two ways of tagging the same queries."""
    types = sorted({kind for one in queries for _, _, kind in one.spans})
    counts = {OURS: _counts(queries, ours, types), PEER: _counts(queries, theirs, types)}
    drawn = np.random.default_rng(_SEED).integers(len(queries), size=(SAMPLES // 10, len(queries)))
    found = {name: _summed_up(one, types, drawn) for name, one in counts.items()}
    mine, other = (one.sum(axis=2) for one in (counts[OURS], counts[PEER]))
    apart = _f1(mine[drawn].sum(axis=1)) - _f1(other[drawn].sum(axis=1))
    low, high = np.percentile(apart, [2.5, 97.5])
    gap = float(_f1(mine.sum(axis=0)) - _f1(other.sum(axis=0)))
    return SpansEvaluation(
        found=found,
        ahead=Interval(gap, float(low), float(high), len(queries)),
        spans=Counter(kind for one in queries for _, _, kind in one.spans),
        calibration=calibrated,
        queries=len(queries),
    )


def _counts(
    queries: Sequence[Labelled], found: Sequence[Spans], types: Sequence[str]
) -> NDArray[np.int64]:
    """By query: spans found rightly, found, and labelled, by type; the last column is others.

    Shape (queries, 3, types + 1).
    """
    place = {kind: number for number, kind in enumerate(types)}
    counts = np.zeros((len(queries), 3, len(types) + 1), dtype=np.int64)
    for row, (one, said) in enumerate(zip(queries, found, strict=True)):
        truth = one.spans
        for column, spans in enumerate((truth & said, said, truth)):
            for _, _, kind in spans:
                counts[row, column, place.get(kind, -1)] += 1
    return counts


def _f1(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of counts (…, 3): twice the right ones by those found and those labelled."""
    found: NDArray[np.float64] = 2 * counts[..., 0] / np.maximum(counts[..., 1:].sum(axis=-1), 1)
    return found


def _summed_up(counts: NDArray[np.int64], types: Sequence[str], drawn: NDArray[np.int64]) -> Found:
    """The figures of one way; intervals over queries drawn again (samples, queries)."""

    def interval(one: NDArray[np.int64]) -> Interval:
        low, high = np.percentile(_f1(one[drawn].sum(axis=1)), [2.5, 97.5])
        return Interval(float(_f1(one.sum(axis=0))), float(low), float(high), len(one))

    right, said, truth = counts.sum(axis=(0, 2)).tolist()
    return Found(
        f1=interval(counts.sum(axis=2)),
        precision=right / max(said, 1),
        recall=right / max(truth, 1),
        types={kind: interval(counts[:, :, number]) for number, kind in enumerate(types)},
    )


def calibration(
    queries: Sequence[Labelled], sure: Sequence[Mapping[tuple[int, int, str], float]]
) -> float:
    """Expected calibration error of the spans found, by how sure each is (Naeini et al. 2015)."""
    said = np.array([chance for one in sure for chance in one.values()])
    if not len(said):
        return 0.0
    right = [span in one.spans for one, found in zip(queries, sure, strict=True) for span in found]
    bins = np.minimum((said * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, said - np.array(right, dtype=float), minlength=_BINS)
    return float(np.abs(gaps).sum() / len(said))
