"""The shopping guide: a search engine that also recommends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property

import numpy as np

from engine.errors import ProductNotFoundError
from engine.guide.history import Event
from engine.guide.recommend import Recommendation, Recommender
from engine.retrieval.filters import allowed_rows
from engine.search import SearchEngine
from engine.types import Filter, Product, Rows, RowSet


class ShoppingGuide(SearchEngine):
    """All that a snapshot can do for a shopper. Safe to use from many threads."""

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
    ) -> list[Recommendation]:
        """The `k` products that suit best what one shopper did: see `Recommender.recommend`.

        Raises:
            QueryError: the history is too long, or an event means nothing.
            FilterError: unknown field or ill-typed value.
        """
        return self.recommender.recommend(events, k=k, allowed=self._allowed(filters), now=now)

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

    def _row(self, product_id: str) -> int:
        (row,) = self.snapshot.products.rows_of([product_id])
        if row is None:
            raise ProductNotFoundError(f"no product has the id {product_id!r}")
        return row

    def _fetch(self, rows: Rows) -> list[Product]:
        return self.snapshot.products.fetch(np.asarray(rows, dtype=np.int64))
