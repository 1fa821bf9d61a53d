"""The shopping guide: a search engine that also recommends and advises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import Self

import numpy as np

from engine.errors import QueryError
from engine.guide.consult import MOST_PRODUCTS, Consultant, Consultation, compare
from engine.guide.explain import MOST_EXPLAINED, Explainer, Explanation
from engine.guide.history import Event
from engine.guide.navigate import Navigated, Navigator
from engine.guide.needs import Needs
from engine.guide.recommend import Recommendation, Recommender
from engine.listing import AS_RANKED, View
from engine.retrieval.filters import allowed_rows
from engine.retrieval.shelves import Shelf
from engine.retrieval.suggestions import Completion
from engine.search import SearchEngine
from engine.types import Filter, Mode, Product, Rows, RowSet, SearchResult, Stage
from engine.understand import understand

MOST_TURNS = 20
"""Turns of a consultation that are read."""
_CONSIDERED = 3  # products looked at for each one suggested
_TRIED = 6  # constraints that are given up one by one, those read last: each takes a search


class ShoppingGuide(SearchEngine):
    """All that a snapshot can do for a shopper. Safe to use from many threads."""

    def _slow_parts(self) -> list[Callable[[], object]]:
        """Those of a search, and what reads queries."""
        return [*super()._slow_parts(), self._open_navigator]

    def _open_navigator(self) -> None:
        self.navigator.warm_up()

    def newer(self) -> Self | None:
        """As `SearchEngine.newer`: ready for all that this one was asked for."""
        fresh = super().newer()
        if fresh is not None:
            if "recommender" in vars(self):
                _ = fresh.recommender
            if "consultant" in vars(self):
                fresh.consultant.share_encoder(self.consultant)
        return fresh

    @cached_property
    def recommender(self) -> Recommender:
        """Recommends from the snapshot."""
        return Recommender(self.snapshot)

    def recommend(
        self,
        events: Sequence[Event],
        *,
        k: int = 10,
        filters: Filter | None = None,
        now: datetime | None = None,
        explain: bool = False,
    ) -> list[Recommendation]:
        """The `k` products that suit best what one shopper did: see `Recommender.recommend`.

        Raises:
            QueryError: the history is too long, or an event means nothing.
            FilterError: unknown field or ill-typed value.
        """
        if explain:
            _check_explained(k)
        found = self.recommender.recommend(
            events, k=k, allowed=self._allowed(filters), now=now, explain=explain
        )
        return [self._with_likeness(one) for one in found] if explain else found

    def _with_likeness(self, one: Recommendation) -> Recommendation:
        """The same with the words in which it is like what it is recommended because of."""
        if one.because is None:
            return one
        own, other = self._row(one.product.id), self._row(one.because.id)
        return replace(one, explanation=self.explainer.explain_likeness(own, other))

    @cached_property
    def navigator(self) -> Navigator:
        """Reads and spells queries by the snapshot."""
        settings = self.settings
        return Navigator(self.snapshot, settings.max_query_chars, keep=settings.cache > 0)

    def navigate(
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
        read: bool = True,
        explain: bool = False,
    ) -> Navigated:
        """`search` for the words as they are understood, and what goes with the page.

        Without `read` it is for the words as typed, and no statement is looked for. With `explain`
        each hit is explained, however long that takes.

        Raises:
            QueryError, FilterError, StageUnavailableError: as `search`.
        """
        if explain:
            _check_explained(k)
        conditions: dict[str, Filter | None] = {}

        def search(words: str, condition: Filter | None) -> SearchResult:
            found = self.search(
                words,
                k=k,
                offset=offset,
                filters=condition,
                stage=stage,
                mode=mode,
                view=view,
                deadline=deadline,
            )
            conditions[found.query_id] = condition
            return found

        if stage is not Stage.LEXICAL:
            self.expect(text)  # it is encoded while it is read
        found = self.navigator.find(text, filters, search, read=read)
        if not explain:
            return found
        result = found.result
        explanations = self.explain(
            result.query.text,
            [hit.product.id for hit in result.hits],
            filters=conditions[result.query_id],
            stage=result.stage,
            mode=mode,
        )
        return replace(found, explanations=tuple(explanations))

    @cached_property
    def explainer(self) -> Explainer:
        """Says why a product got its score."""
        return Explainer(self.snapshot, self.ranker, lambda: self.consultant.encoder)

    def explain(
        self,
        text: str,
        products: Sequence[str],
        *,
        filters: Filter | None = None,
        stage: Stage | None = None,
        mode: Mode | None = None,
    ) -> list[Explanation]:
        """Why each of these products is ranked as it is for these words.

        Args:
            text: what was searched for.
            products: ids of products, among the results or not; at most `MOST_EXPLAINED`.
            filters: those of the search: its other candidates set the scale.
            stage: whose ranking is explained.
            mode: that of the search.

        Raises:
            QueryError: empty or too long, or too many products.
            FilterError, StageUnavailableError: as `search`.
            ProductNotFoundError: the snapshot has no product of an id.
        """
        _check_explained(len(products))
        stage, _ = self.choose(stage, mode)
        rows = np.array([self._row(one) for one in products], dtype=np.int64)
        answer = self.answer(text, filters=filters, stage=stage, mode=mode)
        return self.explainer.explain(answer, stage, rows)

    def suggest(self, typed: str, *, k: int = 8) -> list[Completion]:
        """The `k` likeliest ways to go on from what was typed."""
        return self.navigator.suggest(typed, k)

    def categories(self, under: str = "", *, k: int = 100) -> list[Shelf]:
        """The `k` shelves right below one that hold most products; the top ones of ""."""
        return self.snapshot.shelves.below(under, k)

    @cached_property
    def consultant(self) -> Consultant:
        """Answers from the snapshot's texts."""
        settings = self.settings
        return Consultant(self.snapshot, threads=settings.threads, kept=settings.model_cache)

    def ask(
        self,
        question: str,
        *,
        before: Sequence[str] = (),
        products: Sequence[str] = (),
        k: int = 3,
        filters: Filter | None = None,
        explain: bool = False,
    ) -> Consultation:
        """An answer in the catalog's own words.

        About the products named, where some are: what the catalog says of each, and how they
        differ. Else advice: the `k` products that meet best what was stated.

        Args:
            question: what the shopper asks now.
            before: the turns before, oldest first: what they state still holds.
            products: ids of the products that the question is about.
            k: suggestions, where no product is named.
            filters: they hold beside what the shopper states.
            explain: say why the first statement on each product named, or each suggestion, comes
                first.

        Raises:
            QueryError: the question is empty or too long, or there are too many turns or products.
            FilterError: unknown field or ill-typed value.
            ProductNotFoundError: the snapshot has no product of a named id.
        """
        if len(before) > MOST_TURNS or len(products) > MOST_PRODUCTS:
            raise QueryError(
                f"{len(before)} turns and {len(products)} products: "
                f"at most {MOST_TURNS} and {MOST_PRODUCTS} are read. Send the last ones",
                part="before" if len(before) > MOST_TURNS else "products",
            )
        before = [self._read(turn, "before") for turn in before]
        question = self._read(question, "question")
        if products:
            named = [self.product(one) for one in dict.fromkeys(products)]
            answers = tuple(
                self.consultant.answer(question, product, explain=explain) for product in named
            )
            comparison = compare(named) if len(named) > 1 else None
            return Consultation(self.snapshot.id, question, answers, comparison=comparison)
        return self._advise(question, before, k, filters, explain=explain)

    def _advise(
        self,
        question: str,
        before: Sequence[str],
        k: int,
        filters: Filter | None,
        *,
        explain: bool,
    ) -> Consultation:
        """Products for what the turns state."""
        consultant = self.consultant
        needs, given_up = consultant.relaxed(consultant.needs([*before, question]), filters)
        text = needs.text[: self.settings.max_query_chars] or question

        def search(stated: Needs) -> SearchResult:
            both = stated.to_filter(filters)
            return self.search(text, k=_CONSIDERED * k, filters=both, view=View(collapse=True))

        found = search(needs)
        while not found.hits and needs.constraints:  # all hold together, but of other products
            if earlier := needs.constraints[:-_TRIED]:
                needs, given_up = needs.without(earlier), (*given_up, *earlier)
                found = search(needs)
                continue
            rests = [(one, needs.without([one])) for one in needs.constraints]
            tried = [(one, rest, search(rest)) for one, rest in rests]
            one, needs, found = max(tried, key=lambda each: each[2].count)
            given_up = (*given_up, one)
        suggestions = consultant.suggest(needs, given_up, [hit.product for hit in found.hits], k)
        products = [one.product for one in suggestions]
        if explain:
            whys = self.explain(
                text,
                [product.id for product in products[:MOST_EXPLAINED]],
                filters=needs.to_filter(filters),
            )
            suggestions = tuple(
                replace(one, explanation=why) for one, why in zip(suggestions, whys, strict=False)
            )
        return Consultation(
            self.snapshot.id,
            question,
            needs=needs,
            given_up=given_up,
            suggestions=suggestions,
            nothing_fits=found.nothing_fits,
            comparison=compare(products) if len(products) > 1 else None,
        )

    def similar(
        self, product_id: str, *, k: int = 10, filters: Filter | None = None
    ) -> list[Product]:
        """The products most like one by their descriptions, its variants left out.

        Raises:
            ProductNotFoundError: the snapshot has none of this id.
            FilterError: unknown field or ill-typed value.
        """
        row = self._row(product_id)
        return self._fetch(self.recommender.similar(row, k, self._allowed(filters)))

    def complements(
        self, product_id: str, *, k: int = 10, filters: Filter | None = None
    ) -> list[Product]:
        """The products bought together with one, most often first; none where it was never bought.

        Raises:
            ProductNotFoundError: the snapshot has none of this id.
            StageUnavailableError: the snapshot holds no behaviour model.
            FilterError: unknown field or ill-typed value.
        """
        row = self._row(product_id)
        return self._fetch(self.recommender.complements(row, k, self._allowed(filters)))

    def _allowed(self, filters: Filter | None) -> RowSet | None:
        return None if filters is None else allowed_rows(filters, self.snapshot.facets)

    def _read(self, turn: str, part: str) -> str:
        """What was said, cleaned."""
        limit = self.settings.max_query_chars
        return understand(turn, self.snapshot.products, max_chars=limit, part=part).text

    def _fetch(self, rows: Rows) -> list[Product]:
        return self.snapshot.products.fetch(np.asarray(rows, dtype=np.int64))


def _check_explained(products: int) -> None:
    """Refuse what would take too long."""
    if products > MOST_EXPLAINED:
        raise QueryError(
            f"{products} products are too many to explain: at most {MOST_EXPLAINED} at once. "
            f"Ask for pages of k={MOST_EXPLAINED}",
            part="k",
        )
