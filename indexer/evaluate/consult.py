"""What finding answers is worth, on questions with judged evidence.

P@1 and nDCG@5 over the questions that some piece answers in full; answerable-or-not F1 over all.
Cross-validated: the head is trained on the other folds; questions on one product, in the same words
or with the same pieces are never on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import ModelError
from engine.guide.evidence import EvidenceInfo, EvidenceRanker, Read
from engine.protocols import Encoder
from indexer.evaluate.statistics import Interval, bootstrap, randomisation_test
from indexer.train.evidence import Across, Question, check_enough, f1, folds, train_evidence

OURS = "daogou"
_DEPTH = 5

Score = Callable[[Read], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Ranked:
    """One way of ranking, on the answerable questions of one set."""

    p_at_1: Interval
    ndcg_at_5: Interval


@dataclass(frozen=True, slots=True)
class ConsultEvaluation:
    """By set of questions and way of ranking."""

    ranked: Mapping[str, Mapping[str, Ranked]]
    """No way of ranking where no question of the set can be answered."""
    against: Mapping[str, float]
    """Two-sided p of our P@1 against the better peer, by set that was ranked."""
    f1: Mapping[str, float]
    """Of what was called answerable, by set."""
    f1_not: Mapping[str, float]
    """Of what was called not answerable, by set."""
    always: Mapping[str, float]
    """F1 of calling everything answerable."""
    questions: Mapping[str, tuple[int, int]]
    """All, and answerable, by set."""


def cross_validate(
    questions: Sequence[Question],
    reads: Sequence[Read],
    *,
    encoder: str,
    count: int = 5,
    seed: int = 0,
    across: Across | None = None,
    untuned: Sequence[NDArray[np.float32]] | None = None,
    on_progress: Callable[[int], None] = lambda _done: None,
) -> ConsultEvaluation:
    """Every question ranked, and judged answerable, by a head that saw nothing of its group.

    Args:
        questions: judged.
        reads: what the encoder makes of them.
        encoder: its fingerprint.
        count: of folds.
        seed: of the folds and of the trainings.
        across: adapts a reranker in each fold, where there is one.
        untuned: the cosines of another encoder, a peer, by question.
        on_progress: told how many questions were ranked.

    Raises:
        TrainingError: a fold would leave too few questions to learn from.
    """
    parts = list(folds(questions, count, seed))
    for inside, _ in parts:
        check_enough([questions[place] for place in inside], seed, across=across is not None)
    ours: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(questions)
    said = np.zeros(len(questions), dtype=np.bool_)
    for inside, outside in parts:
        trained = train_evidence(
            [questions[place] for place in inside], [reads[place] for place in inside],
            name="fold", encoder=encoder, across=across, seed=seed,
        )  # fmt: skip
        ranker, held = trained.ranker(), [reads[place] for place in outside]
        if across is not None:
            held = across.read(trained.adapters, [questions[place] for place in outside], held)
        for place, read in zip(outside.tolist(), held, strict=True):
            ours[place] = ranker.rank(read)
            said[place] = ranker.says(ranker.answerable(read))
        on_progress(len(outside))
    return _summed_up(questions, _ways(ours, reads, untuned), said)


def check_fits(info: EvidenceInfo, encoder: str, reranker: str) -> None:
    """Make sure that a ranker reads what it was fitted on.

    Args:
        info: what the ranker says of itself.
        encoder: fingerprint of the one that reads.
        reranker: fingerprint of the one beside it; empty where there is none.

    Raises:
        ModelError: it was fitted on another encoder, or adapts another reranker.
    """
    if info.encoder != encoder:
        raise ModelError(
            f"{info.name!r} was fitted on another encoder: name that one with --encoder"
        )
    if info.reranker and info.reranker != reranker:
        raise ModelError(f"{info.name!r} adapts another reranker: name that one with --reranker")


def measure(
    questions: Sequence[Question],
    reads: Sequence[Read],
    ranker: EvidenceRanker,
    *,
    untuned: Sequence[NDArray[np.float32]] | None = None,
) -> ConsultEvaluation:
    """The figures of a ranker as it is: in sample, where it was trained on these questions."""
    ours = [ranker.rank(read) for read in reads]
    said = np.array([ranker.says(ranker.answerable(read)) for read in reads])
    return _summed_up(questions, _ways(ours, reads, untuned), said)


def untuned_cosines(questions: Sequence[Question], encoder: Encoder) -> list[NDArray[np.float32]]:
    """The cosine of each question with its pieces, by another encoder."""
    texts = sorted({text for one in questions for text in (one.text, *one.pieces)})
    place = {text: number for number, text in enumerate(texts)}
    vectors = encoder.encode_passages(texts)
    return [
        vectors[[place[piece] for piece in one.pieces]] @ vectors[place[one.text]]
        for one in questions
    ]


def _ways(
    ours: Sequence[NDArray[np.float32]],
    reads: Sequence[Read],
    untuned: Sequence[NDArray[np.float32]] | None,
) -> dict[str, Sequence[NDArray[np.float32]]]:
    """The scores by way of ranking."""
    ways: dict[str, Sequence[NDArray[np.float32]]] = {
        OURS: ours,
        "BM25": [read.column("bm25") for read in reads],
        "cosine": [read.column("cosine") for read in reads],
    }
    if untuned is not None:
        ways["cosine, untuned encoder"] = untuned
    return ways


def _summed_up(
    questions: Sequence[Question],
    ways: Mapping[str, Sequence[NDArray[np.float32]]],
    said: NDArray[np.bool_],
) -> ConsultEvaluation:
    """Figures by set."""
    ranked: dict[str, dict[str, Ranked]] = {}
    against, f1s, f1s_not, always, counts = {}, {}, {}, {}, {}
    for kind in sorted({one.kind for one in questions}):
        mine = [place for place, one in enumerate(questions) if one.kind == kind]
        truth = np.array([questions[place].answerable for place in mine])
        counts[kind] = len(mine), int(truth.sum())
        f1s[kind] = f1(said[mine], truth)
        f1s_not[kind] = f1(~said[mine], ~truth)
        always[kind] = f1(np.ones(len(mine), dtype=np.bool_), truth)
        asked = [place for place in mine if questions[place].answerable]
        if not asked:
            ranked[kind] = {}
            continue
        first = {
            name: np.array([_first(scores[n], questions[n].gains) for n in asked])
            for name, scores in ways.items()
        }
        ranked[kind] = {
            name: Ranked(
                bootstrap(first[name]),
                bootstrap([_ndcg(scores[n], questions[n].gains) for n in asked]),
            )
            for name, scores in ways.items()
        }
        peer = max((name for name in ways if name != OURS), key=lambda name: first[name].mean())
        against[kind] = randomisation_test(first[OURS] - first[peer])
    return ConsultEvaluation(ranked, against, f1s, f1s_not, always, counts)


def _first(scores: NDArray[np.float32], gains: NDArray[np.float32]) -> float:
    return float(gains[int(np.argmax(scores))] >= 1)


def _ndcg(scores: NDArray[np.float32], gains: NDArray[np.float32]) -> float:
    """Linear gains, discount log2(rank + 1), depth 5."""
    discount = 1 / np.log2(np.arange(min(_DEPTH, len(gains))) + 2)
    order = np.argsort(-scores, kind="stable")[: len(discount)]
    ideal = np.sort(gains)[::-1][: len(discount)]
    return float((gains[order] * discount).sum() / (ideal * discount).sum())
