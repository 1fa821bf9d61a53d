"""The pipeline: a shopper's words in, a page of products out.

    words → understand → keyword and vector search → fusion → reranking, final ranking → page

The API, the command line, the evaluation and the benchmarks all call `SearchEngine.search_many`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

from engine.answer import Answer, Probabilities
from engine.asked import QueryVectors
from engine.cache import AnswerCache
from engine.candidates import CandidateFinder
from engine.clock import Clock
from engine.errors import OutOfTimeError, ProductNotFoundError
from engine.listing import AS_RANKED, Lister, Listing, View
from engine.manifest import read_manifest
from engine.rank import CandidateRanker, QueryFeatures
from engine.retrieval.filters import allowed_rows
from engine.retrieval.matching import Matcher
from engine.settings import Settings, load_settings
from engine.snapshot import Snapshot
from engine.store import SnapshotStore
from engine.types import (
    Filter,
    Hit,
    Mode,
    Product,
    Query,
    RowSet,
    SearchResult,
    Stage,
)
from engine.understand import clean, understand

_BEST = 50  # products of an answer that say where it lies


class SearchEngine:
    """Searches one snapshot. Safe to use from many threads."""

    def __init__(self, snapshot: Snapshot, settings: Settings) -> None:
        self.snapshot = snapshot
        self.settings = settings
        self.ranker = CandidateRanker(snapshot, settings)
        keep = settings.cache > 0
        self._matcher = Matcher(
            snapshot.lexical, snapshot.dense, depth=settings.dense_depth, keep=keep
        )
        self._lister = Lister(snapshot.facets, snapshot.id_rank, snapshot.products.fetch)
        self._cache = AnswerCache(settings.cache)
        self._vectors = QueryVectors(lambda: snapshot.encoder, keep=keep)
        self._finder = CandidateFinder(
            snapshot, settings, self.ranker, self._vectors, self._matcher
        )

    @classmethod
    def open(
        cls, store: Path, settings: Settings | None = None, *, beside: Snapshot | None = None
    ) -> Self:
        """An engine over the store's current snapshot, warm: its first search is as fast as any.

        Args:
            store: folder of the snapshots.
            settings: those of the environment if left out.
            beside: an open snapshot whose models are used as they are where they are the same.

        Raises:
            SettingsError: an environment variable has a value that cannot be used.
            SnapshotError: nothing published, or the snapshot is damaged.
            ModelError: a model does not fit the snapshot.
        """
        settings = settings or load_settings()
        folder = SnapshotStore(store).current()
        snapshot = Snapshot(
            folder, read_manifest(folder), threads=settings.threads, kept=settings.model_cache
        )
        if beside is not None:
            snapshot.share_models(beside)
        with ThreadPoolExecutor() as threads:  # compiling, reading and checking run side by side
            checking = threads.submit(snapshot.check)
            opening: list[Future[object]] = [threads.submit(lambda: snapshot.encoder)]
            if settings.rerank:
                opening.append(threads.submit(lambda: snapshot.reranker))
            checking.result()  # what is damaged is told as that, whatever else fails of it
            engine = cls(snapshot, settings)
            opening += [threads.submit(part) for part in engine._slow_parts()]
            for opened in opening:
                opened.result()
        engine.ranker.warm_up()
        engine._finder.retrieve([Answer(Query("warm up", "warm up"))], Stage.FUSED, None, Clock(1))
        return engine

    def _slow_parts(self) -> list[Callable[[], object]]:
        """What the first search needs beside models and takes long to open, each alone."""
        return []

    def newer(self) -> Self | None:
        """An engine over what the store serves now, warm; None where that is this snapshot.

        Raises:
            SnapshotError, ModelError: as `open`.
        """
        store = self.snapshot.folder.parent.parent
        if SnapshotStore(store).current_id() == self.snapshot.id:
            return None
        return type(self).open(store, self.settings, beside=self.snapshot)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages this snapshot offers, in order."""
        has_reranker = "reranker" in self.snapshot.manifest.models
        return tuple(stage for stage in Stage if stage is not Stage.RERANKED or has_reranker)

    @property
    def default_stage(self) -> Stage:
        """The stage whose ranking is returned when none is asked for."""
        reranks = self.settings.rerank and Stage.RERANKED in self.stages
        return Stage.RERANKED if reranks else Stage.FUSED

    def choose(self, stage: Stage | None, mode: Mode | None) -> tuple[Stage, int]:
        """The stage that is asked for, and how many products it reranks.

        A stage that is named goes before the mode's own. Neither asks for what the snapshot lacks.
        """
        depth = self.settings.rerank_depth if mode is None else mode.depth
        if stage is None and mode is not None:
            reranks = depth > 0 and Stage.RERANKED in self.stages
            stage = Stage.RERANKED if reranks else Stage.FUSED
        return stage or self.default_stage, depth or self.settings.rerank_depth

    def product(self, product_id: str) -> Product:
        """The product with this id.

        Raises:
            ProductNotFoundError: the snapshot has none.
        """
        return self.snapshot.products.fetch([self._row(product_id)])[0]

    def _row(self, product_id: str) -> int:
        (row,) = self.snapshot.products.rows_of([product_id])
        if row is None:
            raise ProductNotFoundError(
                f"no product has the id {product_id!r}. Ids are compared letter by letter, case "
                "too: search for it by its words"
            )
        return row

    def search(
        self,
        text: str,
        *,
        k: int = 10,
        offset: int = 0,
        filters: Filter | None = None,
        stage: Stage | None = None,
        mode: Mode | None = None,
        view: View = AS_RANKED,
        deadline: float | None = None,
    ) -> SearchResult:
        """The `k` best products for a shopper's words, after skipping `offset`.

        What matches the words is listed (`engine.retrieval.matching`): ranked, or as `view` says.
        A single stage's ranking (`lexical`, `dense`) is listed whole, and `view` does not count.

        Which stage ranks, and how deep, is as `choose` says of `stage` and `mode`.

        With a `deadline` (`time.monotonic`), reranking is left out where it would end later: the
        answer is then the fused ranking, marked as degraded.

        Raises:
            QueryError: empty or too long.
            FilterError: unknown field or ill-typed value.
            StageUnavailableError: reranking was asked for and the snapshot has no reranker.
        """
        stage, depth = self.choose(stage, mode)
        key = (clean(text), k, offset, filters, stage, depth, view)
        too_long = len(text) > self.settings.max_query_chars  # though it may be cleaned to less
        known = None if too_long else self._cache.get(key, text)
        if known is not None:
            return known
        (found,) = self.search_many(
            [text],
            k=k,
            offset=offset,
            filters=filters,
            stage=stage,
            mode=mode,
            view=view,
            deadline=deadline,
        )
        self._cache.put(key, found)
        return found

    def expect(self, text: str) -> None:
        """Begin to encode what is likely to be searched for next."""
        if len(text) <= self.settings.max_query_chars and (words := clean(text)):
            self._vectors.begin(words)

    def search_many(
        self,
        texts: Sequence[str],
        *,
        k: int = 10,
        offset: int = 0,
        filters: Filter | None = None,
        stage: Stage | None = None,
        mode: Mode | None = None,
        view: View = AS_RANKED,
        candidates: Sequence[Sequence[str]] | None = None,
        deadline: float | None = None,
    ) -> list[SearchResult]:
        """`search` for many queries at once: the same answers, sooner, and none of them kept.

        With `candidates`, the product ids to rank for each query: all of them are ranked, by the
        same stages, and nothing besides; fusion measures them against what is retrieved from the
        catalog, as in a search. Ids the snapshot lacks are left out, and `view` does not count.

        Raises:
            ValueError: `k` or `offset` is negative.
            QueryError, FilterError, StageUnavailableError: as `search`.
        """
        if k < 0 or offset < 0:
            raise ValueError(f"k and offset count products: {k} and {offset} are negative")
        if not texts:
            return []
        stage, depth = self.choose(stage, mode)
        clock = Clock(len(texts))
        with clock.measure("understand"):
            answers = list(map(self._understood, texts))
            allowed = None if filters is None else allowed_rows(filters, self.snapshot.facets)
        if candidates is None:
            self._finder.retrieve(answers, stage, allowed, clock, counted=not view.ranked)
        else:
            given = [self._finder.rows(ids, allowed) for ids in candidates]
            self._finder.score(answers, stage, given, allowed, clock)
        asked = stage
        if stage is Stage.RERANKED:
            try:
                with clock.measure(Stage.RERANKED):
                    self.ranker.rerank(
                        answers, None if candidates is not None else depth, deadline=deadline
                    )
            except OutOfTimeError:
                stage = Stage.FUSED
        if candidates is None:  # whether given candidates fit is another question
            self.ranker.cut_off(answers, stage)
        with clock.measure("list"):
            listings = [
                self._list(answer, stage, allowed, view, given=candidates is not None)
                for answer in answers
            ]
        with clock.measure("fetch"):
            pages = [
                answer.page(listing.ranking, k, offset, self.snapshot.products)
                for answer, listing in zip(answers, listings, strict=True)
            ]
        timings = clock.milliseconds()
        return [
            self._result(answer, listing, hits, stage, timings, degraded=stage is not asked)
            for answer, listing, hits in zip(answers, listings, pages, strict=True)
        ]

    def _understood(self, text: str) -> Answer:
        """The beginning of an answer to a shopper's words.

        Raises:
            QueryError: empty or too long.
        """
        limit = self.settings.max_query_chars
        return Answer(understand(text, self.snapshot.products, max_chars=limit))

    def _result(
        self,
        answer: Answer,
        listing: Listing,
        hits: tuple[Hit, ...],
        stage: Stage,
        timings: Mapping[str, float],
        *,
        degraded: bool,
    ) -> SearchResult:
        """An answer as it is given, once it is listed and its page fetched."""
        return SearchResult(
            query=answer.query,
            query_id=uuid.uuid4().hex,
            snapshot_id=self.snapshot.id,
            stage=stage,
            hits=hits,
            candidates=len(answer.ranking(stage)),
            timings=timings,
            degraded=degraded,
            fits=answer.fits,
            nothing_fits=answer.nothing_fits,
            total=listing.total,
            total_is_least=listing.total_is_least,
            facets=listing.facets,
            best=tuple(listing.ranking.rows[:_BEST].tolist()),
        )

    def answer(
        self,
        text: str,
        *,
        filters: Filter | None = None,
        stage: Stage | None = None,
        mode: Mode | None = None,
    ) -> Answer:
        """A query's candidates as `search` ranks them: what an explanation measures against.

        Reranked only where the stage ranks by what the reranker says.

        Raises:
            QueryError, FilterError, StageUnavailableError: as `search`.
        """
        stage, depth = self.choose(stage, mode)
        answer = self._understood(text)
        allowed = None if filters is None else allowed_rows(filters, self.snapshot.facets)
        self._finder.retrieve([answer], Stage.FUSED, allowed, Clock(1))
        if self.ranker.reads_classes(stage):
            self.ranker.rerank([answer], depth)
        return answer

    def features(
        self,
        text: str,
        candidates: Sequence[str] | None = None,
        *,
        beside: Sequence[str] = (),
        stage: Stage | None = None,
        known: Mapping[str, Probabilities] | None = None,
    ) -> QueryFeatures:
        """What the final ranking reads of a query's candidates: for training, by this very code.

        Args:
            text: the shopper's words.
            candidates: product ids to rank, as in `search_many`; None searches the catalog.
            beside: product ids that are no candidates, measured on the same scales: those of what
                is retrieved from the catalog.
            stage: the stage to be ranked: reranked (its head) or fused (all candidates); the last
                that the snapshot offers if left out.
            known: class probabilities by product id that stand for the reranker's.

        Raises:
            QueryError: empty or too long.
            StageUnavailableError: the reranked stage of a snapshot without reranker.
        """
        stage = stage or self.stages[-1]
        answer = self._understood(text)
        if candidates is None:
            self._finder.retrieve([answer], Stage.FUSED, None, Clock(1))
        else:
            given = [self._finder.rows(candidates, None)]
            self._finder.score([answer], Stage.FUSED, given, None, Clock(1))
        everything = candidates is not None
        others = self._finder.rows(beside, None)
        return self.ranker.features(answer, stage, others, known or {}, everything=everything)

    def _list(
        self, answer: Answer, stage: Stage, allowed: RowSet | None, view: View, *, given: bool
    ) -> Listing:
        """What is to be listed of an answer: all of a stage's own ranking or given candidates."""
        ranking = answer.ranking(stage)
        whole = given or view.ranked or stage in {Stage.LEXICAL, Stage.DENSE}
        if whole or answer.vector is None:
            return Listing(ranking)
        nearest = answer.rankings[Stage.DENSE] if allowed is None else None
        matches = self._matcher.of(answer.query.text, answer.vector, answer.matching, nearest)
        if allowed is not None:
            found = answer.rankings
            matches = matches.widened(found[Stage.LEXICAL], found[Stage.DENSE])
        return self._lister.list(ranking, answer.leaders, matches, allowed, view)
