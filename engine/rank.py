"""From candidates to a ranking: fusion, the reranker, the learned final ranking, the cut-off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.analysis import STOPWORDS, analyze, count_terms
from engine.answer import Answer, Probabilities
from engine.errors import OutOfTimeError, StageUnavailableError
from engine.pace import Pace
from engine.protocols import PassageReranker, Reranker
from engine.retrieval.features import (
    FUSION,
    Column,
    Signals,
    compute_features,
    compute_statistics,
    make_pool,
)
from engine.retrieval.ranking import Ranker, reads_reranker
from engine.settings import Settings
from engine.snapshot import Snapshot
from engine.text import passage
from engine.types import Query, Ranking, Rows, Scores, Stage

_MOST_WORDS = 64  # looked up for the cut-off; keyword search reads no more either
_KNOWN_WORDS = 50_000  # whose best score is kept: about 5 MB


class QueryFeatures(NamedTuple):
    """What the final ranking reads of one query."""

    rows: Rows
    """The candidates, best fused first, then those measured beside them; shape (n,)."""
    values: Mapping[str, Column]
    """By feature, shape (n,) each."""
    statistics: Mapping[str, float]
    head: int
    """How many are candidates; the others come after them."""


class CandidateRanker:
    """Ranks the candidates of a snapshot's searches. Safe to use from many threads."""

    def __init__(self, snapshot: Snapshot, settings: Settings) -> None:
        self._snapshot = snapshot
        self._settings = settings
        self._columns: dict[str, Column] = {}
        self._words: dict[str, float] = {}
        self._pace = Pace()
        self._opening = Lock()
        self._measures = (self.numbers, self._likeness, snapshot.shelves.likeness)

    def warm_up(self) -> None:
        """Load now what the first search would have to.

        Raises:
            ModelError: a model is damaged or does not fit the snapshot.
        """
        if self._snapshot.ranking is not None:
            self._snapshot.ranking.load()
        if self._settings.rerank and self._snapshot.reranker is not None:
            rows = np.arange(min(self._settings.rerank_depth, len(self._snapshot)))
            answer = Answer(Query("warm up", "warm up"))
            self._classify([answer], [rows])  # kernels are made on first use
            with self._pace.learning(len(rows)):
                self._classify([answer], [rows])

    def fuse(self, answer: Answer, rows: Rows, keyword: Scores, cosine: Scores) -> None:
        """Rank these candidates, ascending rows, by both their scores; all of shape (n,)."""
        answer.pool = self.pooled(answer.query.text, rows, keyword, cosine, answer.words)
        answer.rankings[Stage.FUSED] = self._fused(answer.pool)

    def rank_given(self, answer: Answer, rows: Rows) -> None:
        """Rank these rows, (n,), instead of what was retrieved for a fused answer.

        They are measured against that, which stays the answer's pool.
        """
        signals = self._signals(answer, rows)
        answer.rankings[Stage.LEXICAL] = self._sort(rows, signals.keyword)
        answer.rankings[Stage.DENSE] = self._sort(rows, signals.cosine)
        answer.rankings[Stage.FUSED] = self._fused(signals)

    def _fused(self, signals: Signals) -> Ranking:
        """The ranking of the fused stage."""
        ranker = self._ranker(Stage.FUSED)
        if ranker is None:
            scores = compute_features(signals, ("fused",))["fused"]
        else:
            scores = ranker.score(compute_features(signals, ranker.features))
        return self._sort(signals.rows, scores)

    def pooled(
        self, text: str, rows: Rows, keyword: Scores, cosine: Scores, words: Scores | None = None
    ) -> Signals:
        """Candidates with both their scores, (n,) each, as a query's pool."""
        terms = count_terms(text)
        pool = make_pool(rows, keyword, cosine, self._snapshot.id_rank, terms=terms, words=words)
        refused = self._snapshot.lexical.refused(text, rows)
        return Signals(rows, keyword, cosine, pool, *self._measures, refused=refused)

    def rerank(
        self, answers: Sequence[Answer], depth: int | None, *, deadline: float | None = None
    ) -> None:
        """Order the first `depth` of each fused ranking anew, or all; the rest follows as it was.

        Raises:
            OutOfTimeError: that is not likely to be done by the deadline (`time.monotonic`). The
                answers are as they were.
            StageUnavailableError: the snapshot has no reranker.
        """
        with self._opening:  # the first to ask loads it; that is not to be learnt from
            self._reranker()
        heads = [answer.rankings[Stage.FUSED].rows[:depth] for answer in answers]
        pairs = sum(map(len, heads))
        if not self._pace.allows(pairs, deadline):
            raise OutOfTimeError(f"reranking {pairs} products needs longer than is left")
        signals = [self._signals(answer, head) for answer, head in zip(answers, heads, strict=True)]
        with self._pace.learning(pairs):
            classes = self._classify(answers, heads)
        for answer, own, probabilities in zip(answers, signals, classes, strict=True):
            answer.head = own.reranked(probabilities, head=len(own.rows))
            answer.probabilities = dict(zip(own.rows.tolist(), probabilities, strict=True))
            answer.rankings[Stage.RERANKED] = self._lead(answer.rankings[Stage.FUSED], answer.head)

    def _lead(self, fused: Ranking, head: Signals) -> Ranking:
        """The head by its final scores, then the rest of the fused ranking below it."""
        ranker = self._ranker(Stage.RERANKED)
        if ranker is None:
            scores = compute_features(head, ("gain",))["gain"]
        else:
            scores = ranker.score(compute_features(head, ranker.features))
        reranked = self._sort(head.rows, scores)
        rest = fused.rows[len(reranked) :]
        floor = min(0.0, float(scores.min())) if len(scores) else 0.0
        below = np.float32(floor) - np.arange(1, len(rest) + 1, dtype=np.float32)
        return Ranking(
            np.concatenate([reranked.rows, rest]), np.concatenate([reranked.scores, below])
        )

    def signals(self, answer: Answer, stage: Stage, rows: Rows) -> Signals:
        """What a stage reads of these rows, whether they are candidates of the answer or not."""
        signals = self._signals(answer, rows)
        if not self.reads_classes(stage):
            return signals
        (classes,) = self._classify([answer], [rows])
        odds = None if answer.head is None else answer.head.odds
        return replace(signals, probabilities=classes, reference=odds)

    def parts(
        self, stage: Stage, signals: Signals
    ) -> tuple[Mapping[str, Column], Mapping[str, Column]]:
        """The features a stage ranks candidates by, and what each adds to the score, (n,) each.

        Together the second are the score.
        """
        ranker = self._ranker(stage)
        if ranker is not None:
            features = compute_features(signals, ranker.features)
            return features, ranker.parts(features)
        if stage is Stage.FUSED:
            features = compute_features(signals, FUSION)
            return features, {name: each * features[name] for name, each in FUSION.items()}
        if stage is Stage.RERANKED:
            features = compute_features(signals, ("gain",))
        elif stage is Stage.LEXICAL:
            features = {"keyword": signals.keyword}
        else:
            features = {"cosine": signals.cosine}
        return features, features

    def reads_classes(self, stage: Stage) -> bool:
        """Whether a stage ranks by the reranker's class probabilities."""
        ranker = self._ranker(stage)
        return stage is Stage.RERANKED and (ranker is None or reads_reranker(ranker.model))

    def cut_off(self, answers: Sequence[Answer], stage: Stage) -> None:
        """Say of each answer whether anything fits, where a cut-off was fitted for the stage."""
        ranker = self._ranker(stage)
        if ranker is None or ranker.model.cutoff is None:
            return
        for answer in answers:
            signals = answer.head if stage is Stage.RERANKED else answer.pool
            if len(answer.leaders):
                answer.fits = 1.0  # asked for by id, and there
            elif signals is None or not len(signals.rows):
                answer.fits = 0.0
            else:
                answer.fits = ranker.fits(compute_statistics(signals, ranker.statistics))
            answer.nothing_fits = ranker.nothing_fits(answer.fits)

    def features(
        self,
        answer: Answer,
        stage: Stage,
        beside: Rows,
        known: Mapping[str, Probabilities],
        *,
        everything: bool,
    ) -> QueryFeatures:
        """Features of what `stage` has to rank for a fused answer: see `SearchEngine.features`."""
        whole = everything or stage is not Stage.RERANKED
        depth = None if whole else self._settings.rerank_depth
        head = answer.rankings[Stage.FUSED].rows[:depth]
        others = beside[~np.isin(beside, head)]
        signals = self._signals(answer, np.concatenate([head, others]))
        signals = signals.asked(self._scores_of_words(answer.query.text))
        if stage is Stage.RERANKED:
            classes = self._classify_unknown(answer, signals.rows, known)
            signals = signals.reranked(classes, head=len(head))
        return QueryFeatures(
            signals.rows, compute_features(signals), compute_statistics(signals), len(head)
        )

    def _signals(self, answer: Answer, rows: Rows) -> Signals:
        """What retrieval says of these rows; those outside the pool are scored like it."""
        pool = answer.pool
        if pool is None or answer.vector is None:
            raise ValueError("this answer was not fused")
        keyword = np.zeros(len(rows), dtype=np.float32)
        cosine = np.zeros(len(rows), dtype=np.float32)
        inside = np.isin(rows, pool.rows)
        places = np.searchsorted(pool.rows, rows[inside])
        keyword[inside], cosine[inside] = pool.keyword[places], pool.cosine[places]
        text = answer.query.text
        if not inside.all():
            others = rows[~inside]
            keyword[~inside] = self._snapshot.lexical.score(text, others)
            cosine[~inside] = self._snapshot.dense.score(answer.vector, others)
        refused = self._snapshot.lexical.refused(text, rows)
        return Signals(rows, keyword, cosine, pool.pool, *self._measures, refused=refused)

    def _classify(
        self, answers: Sequence[Answer], wanted: Sequence[Rows]
    ) -> list[NDArray[np.float32]]:
        """Class probabilities of each query's rows, (rows, 4) each."""
        reranker = self._reranker()
        queries = [answer.query.text for answer in answers]
        if isinstance(reranker, PassageReranker):
            kept = self._snapshot.passages
            return [
                reranker.classify_read(query, kept.take(rows))
                for query, rows in zip(queries, wanted, strict=True)
            ]
        products = self._snapshot.products.fetch(np.concatenate(wanted))
        sizes = [len(rows) for rows in wanted]
        texts = [query for query, size in zip(queries, sizes, strict=True) for _ in range(size)]
        found = reranker.classify(texts, [passage(product) for product in products])
        return np.split(found, np.cumsum(sizes)[:-1])

    def _classify_unknown(
        self, answer: Answer, rows: Rows, known: Mapping[str, Probabilities]
    ) -> NDArray[np.float32]:
        """The same for one query, shape (rows, 4); products with `known` ones are not asked for."""
        ids = [product.id for product in self._snapshot.products.fetch(rows)]
        asked = np.array([one not in known for one in ids], dtype=np.bool_)
        probabilities = np.zeros((len(rows), 4), dtype=np.float32)
        if asked.any():
            (probabilities[asked],) = self._classify([answer], [rows[asked]])
        for place in np.flatnonzero(~asked):
            probabilities[place] = known[ids[place]]
        return probabilities

    def word_scores(self, text: str) -> Scores:
        """For each content word the best keyword score it has alone, (words,), 0 without a match.

        Empty where no cut-off reads them.
        """
        return self._scores_of_words(text) if self._reads_words else np.empty(0, dtype=np.float32)

    def _scores_of_words(self, text: str) -> Scores:
        """The same, read or not."""
        words = [
            word
            for word in dict.fromkeys(text.split())
            if any(term not in STOPWORDS for term in analyze(word))
        ]
        words = words[:_MOST_WORDS]
        known = self._words  # another thread may put an empty one in its place
        unknown = [word for word in words if word not in known]
        known.update((word, self._snapshot.lexical.best_score(word)) for word in unknown)
        if len(known) > _KNOWN_WORDS:
            self._words = {}
        return np.array([known[word] for word in words], dtype=np.float32)

    @cached_property
    def _reads_words(self) -> bool:
        """Whether a cut-off asks how well the catalog knows the query's words."""
        ranking = self._snapshot.ranking
        return ranking is not None and any(
            name.startswith("words_")
            for ranker in ranking.rankers.values()
            for name in ranker.statistics
        )

    def _ranker(self, stage: Stage) -> Ranker | None:
        """The learned ranking of a stage, where the snapshot has one."""
        ranking = self._snapshot.ranking
        return None if ranking is None else ranking.rankers.get(stage)

    def numbers(self, name: str) -> Column:
        """A numeric field of every product, laid out when first asked for and then kept."""
        if name not in self._columns:
            self._columns[name] = self._snapshot.facets.numbers(name)
        return self._columns[name]

    def _likeness(self, rows: Rows, among: Rows) -> Scores:
        """Mean cosine of each row to those `among`, itself left out; (rows,)."""
        if not len(among):
            return np.zeros(len(rows), dtype=np.float32)
        total = self._snapshot.vectors[among].astype(np.float32).sum(axis=0)
        inside = np.isin(rows, among)
        others = np.maximum(len(among) - inside, 1).astype(np.float32)
        summed = self._snapshot.dense.score(total, rows) - inside.astype(np.float32)
        mean: Scores = summed / others
        return mean

    def _sort(self, rows: Rows, scores: Scores) -> Ranking:
        return Ranking.sort(rows, scores, self._snapshot.id_rank)

    def _reranker(self) -> Reranker | PassageReranker:
        reranker = self._snapshot.reranker
        if reranker is None:
            raise StageUnavailableError(
                f"snapshot {self._snapshot.id} has no reranker. "
                "Index with one: daogou index CATALOG --store STORE --reranker DIR"
            )
        return reranker
