"""From a shopper's words to candidates: keyword and vector search, and their fusion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.answer import Answer
from engine.arrays import places_in, union
from engine.asked import QueryVectors
from engine.beside import Beside
from engine.clock import Clock
from engine.rank import CandidateRanker
from engine.retrieval.matching import KEYWORD_SHARE, MOST, Matcher
from engine.settings import Settings
from engine.snapshot import Snapshot
from engine.types import Collected, Ranking, Rows, RowSet, Scores, Stage

_SMALL = 20_000
"""Products of a catalog of which all that have a word are collected, everything in turn."""
_COLLECTED = 200
"""Products that are collected of a larger one: looking at more takes long, and few matter."""


class CandidateFinder:
    """Finds what a snapshot has for queries. Safe to use from many threads."""

    def __init__(
        self,
        snapshot: Snapshot,
        settings: Settings,
        ranker: CandidateRanker,
        vectors: QueryVectors,
        matcher: Matcher,
    ) -> None:
        """Prepare.

        Args:
            snapshot: is searched.
            settings: how many candidates either search brings.
            ranker: fuses them.
            vectors: of the queries.
            matcher: says of which queries it has yet to look for what matches.
        """
        self._snapshot = snapshot
        self._settings = settings
        self._ranker = ranker
        self._vectors = vectors
        self._matcher = matcher
        self._small = len(snapshot) <= _SMALL
        self._beside = Beside(worthwhile=not self._small)

    def retrieve(
        self,
        answers: Sequence[Answer],
        stage: Stage,
        allowed: RowSet | None,
        clock: Clock,
        *,
        counted: bool = False,
    ) -> None:
        """Fill in the rankings of the retrieval stages, as far as `stage` needs them.

        In a large catalog words are looked up while vectors are made and neighbours are found.
        What matches is collected with the best, where it is to be `counted`.
        """
        for answer in answers:
            exact = np.array(answer.query.exact_rows, dtype=np.int64)
            answer.leaders = exact if allowed is None else exact[allowed.mask[exact]]
        if stage is Stage.DENSE:
            self._find_nearest(answers, allowed, clock)
            return
        fused = stage is not Stage.LEXICAL
        if len(answers) == 1 and fused:
            self._vectors.begin(answers[0].query.text)  # it runs while keywords are searched
        counted = counted and fused
        with clock.measure(Stage.LEXICAL):
            finding = self._beside.begin(
                lambda: [self._keywords(answer, allowed, counted=counted) for answer in answers]
            )
        if fused:
            self._look_words_up(answers)  # while the encoder works
            self._find_nearest(answers, allowed, clock)
        with clock.measure(Stage.LEXICAL):
            near = [self._score_near(answer) for answer in answers] if fused else []
            found = finding()
        for answer, collected in zip(answers, found, strict=True):
            answer.rankings[Stage.LEXICAL] = collected.best
        if fused:
            with clock.measure(Stage.FUSED):
                for answer, collected, scored in zip(answers, found, near, strict=True):
                    self._fuse(answer, collected, scored)

    def _find_nearest(
        self, answers: Sequence[Answer], allowed: RowSet | None, clock: Clock
    ) -> None:
        """Fill in the dense rankings."""
        with clock.measure("encode"):
            vectors = self._vectors.of([answer.query.text for answer in answers])
        with clock.measure(Stage.DENSE):
            near = self._snapshot.dense.search(
                vectors, self._settings.dense_depth, allowed, then_above=True
            )
        for answer, vector, ranking in zip(answers, vectors, near, strict=True):
            answer.vector = vector
            answer.rankings[Stage.DENSE] = ranking

    def score(
        self,
        answers: Sequence[Answer],
        stage: Stage,
        candidates: Sequence[Rows],
        allowed: RowSet | None,
        clock: Clock,
    ) -> None:
        """Fill in the rankings of given candidates: every one of them, nothing besides.

        Fusion measures each against what is retrieved from the catalog, as in a search, whatever
        else is given.
        """
        if stage is Stage.LEXICAL:
            self._score(answers, stage, candidates, clock)
        elif stage is Stage.DENSE:
            with clock.measure("encode"):
                vectors = self._vectors.of([answer.query.text for answer in answers])
            for answer, vector in zip(answers, vectors, strict=True):
                answer.vector = vector
            self._score(answers, stage, candidates, clock)
        else:
            self.retrieve(answers, Stage.FUSED, allowed, clock)
            with clock.measure(Stage.FUSED):
                for answer, rows in zip(answers, candidates, strict=True):
                    self._ranker.rank_given(answer, rows)
        for answer, rows in zip(answers, candidates, strict=True):
            answer.leaders = _asked_for(answer, rows)

    def _score(
        self, answers: Sequence[Answer], stage: Stage, candidates: Sequence[Rows], clock: Clock
    ) -> None:
        """The ranking of one retriever, over given candidates."""
        with clock.measure(stage):
            for answer, rows in zip(answers, candidates, strict=True):
                if answer.vector is None:
                    scores = self._snapshot.lexical.score(answer.query.text, rows)
                else:
                    scores = self._snapshot.dense.score(answer.vector, rows)
                answer.rankings[stage] = Ranking.sort(rows, scores, self._snapshot.id_rank)

    def rows(self, ids: Sequence[str], allowed: RowSet | None) -> Rows:
        """The rows of given candidates: each once, without those a filter excludes."""
        found = [row for row in self._snapshot.products.rows_of(ids) if row is not None]
        rows = np.unique(np.array(found, dtype=np.int64))
        return rows if allowed is None else rows[allowed.mask[rows]]

    def _keywords(self, answer: Answer, allowed: RowSet | None, *, counted: bool) -> Collected:
        """Keyword search, which collects what matches beside the best where that is counted.

        Of a small catalog all that has a word is collected: it takes less than looking up later
        what vector search alone has brought.
        """
        text, depth, size = answer.query.text, self._settings.lexical_depth, len(self._snapshot)
        if counted and not self._matcher.knows(text):
            most, share = (size, 0.0) if self._small else (MOST + 1, KEYWORD_SHARE)
            collected = self._snapshot.lexical.search_and_collect(
                text, depth, allowed, most=most, share=share
            )
            answer.matching = collected.products
            return collected
        limit = size if self._small else max(_COLLECTED, depth)
        (products,) = self._snapshot.lexical.search([text], limit, allowed)
        return Collected(products.top(depth), products)

    def _score_near(self, answer: Answer) -> Scores:
        """The keyword scores of what vector search found, in its order.

        Of a small catalog none: keyword search meets all that have a word.
        """
        if self._small:
            return np.empty(0, dtype=np.float32)
        return self._snapshot.lexical.score(answer.query.text, answer.rankings[Stage.DENSE].rows)

    def _look_words_up(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            answer.words = self._ranker.word_scores(answer.query.text)

    def _fuse(self, answer: Answer, collected: Collected, near: Scores) -> None:
        """Rank what either retriever found by both their scores; `near` as from `_score_near`."""
        if answer.vector is None:
            raise ValueError("this answer has no vector")
        lexical, dense = answer.rankings[Stage.LEXICAL], answer.rankings[Stage.DENSE]
        rows = union(lexical.rows, dense.rows)
        keyword = np.zeros(len(rows), dtype=np.float32)
        products, best = collected.products, collected.best
        for found, scores in (
            (products.rows, products.scores),
            (best.rows, best.scores),
            (dense.rows[: len(near)], near),
        ):
            places, there = places_in(rows, found)
            keyword[places[there]] = scores[there]
        self._ranker.fuse(answer, rows, keyword, self._snapshot.dense.score(answer.vector, rows))


def _asked_for(answer: Answer, rows: Rows) -> Rows:
    """Which of the rows were asked for by their id, in the order of the query's."""
    exact = np.array(answer.query.exact_rows, dtype=np.int64)
    return exact[np.isin(exact, rows)]
