"""A small shop behind the API's seam: real products, filters and query rules, a toy ranking."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import numpy as np

from engine.errors import ModelError, ProductNotFoundError, StageUnavailableError
from engine.guide.consult import (
    Checked,
    Consultation,
    Evidence,
    ProductAnswer,
    Suggestion,
    compare,
)
from engine.guide.explain import Explanation, Named, Part
from engine.guide.history import Event
from engine.guide.navigate import Navigated, Navigation
from engine.guide.needs import read_needs
from engine.guide.pieces import pieces_of
from engine.guide.reasons import Reason
from engine.guide.recommend import Recommendation
from engine.listing import AS_RANKED, View
from engine.products import ProductStore, ProductStoreBuilder
from engine.retrieval.counts import count
from engine.retrieval.filters import allowed_rows
from engine.retrieval.shelves import Shelf
from engine.retrieval.suggestions import Completion, Kind
from engine.types import Filter, Hit, Mode, Product, Relevance, SearchResult, Stage, StageScore
from engine.understand import understand
from tests.parts import facets_of

PRODUCTS = (
    Product(
        "S-1",
        "Red running shoes",
        description="Light and quick.",
        brand="Nike",
        category=("Sports", "Running", "Shoes"),
        price=79.5,
        currency="EUR",
        rating=4.4,
        rating_count=231,
        in_stock=True,
        created_at="2026-03-04T12:30:00+01:00",
        url="https://shop.example/s-1",
        attributes={"size": ["38", "39"], "weight_g": 212, "vegan": True},
    ),
    Product("S-2", "Blue running shoes", brand="Puma", price=49.0, created_at="2026-02"),
    Product("a/b c#?%é🙂", "Odd shelf <script>alert(1)</script>", brand='"><img src=x>'),
    Product("K-1", "Kettle 1.7 l", brand="Öko", category=("Kitchen", "Kettles"), price=30.0),
)


WHY = Explanation(
    score=1.0,
    features={"lexical": Part(-0.5, 1.0)},
    named=(Named("shoes", 0.9, "shoes", literally=True),),
    missing=("purple",),
    kept=0.9,
    lost=0.8,
)

ODD_QUERIES = (
    "🙂" * 1000,
    "👩‍👩‍👧‍👦 🇪🇺 ❤️",
    "سماعات رأس لاسلكية",
    "אוזניות \u202e drow\u202c",
    "红色 跑步鞋",
    "a\x00b\x07\x1b[31m\x7f",
    "\ufeff\u200bshoes\ufffe",
    "Z̸̢͝a̵̡͠l̷̨͝g̵̢͠o̷̡͝" * 30,
    "'; DROP TABLE product; --",
    '" OR 1=1 --',
    "<script>alert(1)</script>",
    "{{7*7}} ${7*7} %n%s %00",
    "../../etc/passwd",
    'title:shoes AND (brand:* OR "',
    "shoes~2^9 +a -b [a TO z] /x/",
    "-" * 1000,
    "\\" * 1000,
)
"""What shoppers, scripts and attackers type that is no plain English."""


class FakeSnapshot:
    """What the API reads of a snapshot."""

    def __init__(self, products: ProductStore) -> None:
        self.id = "snapshot-1"
        self.created_at = datetime.now(UTC) - timedelta(hours=1)
        self._products = products

    def __len__(self) -> int:
        return len(self._products)


class FakeEngine:
    """Ranks by shared words; "crash" crashes, "slow" takes half a second, "late" is degraded.

    Nothing fits "junk", though something is found for it where another word is asked for too.
    """

    def __init__(self, folder: Path, *, max_chars: int = 1_000) -> None:
        builder = ProductStoreBuilder(folder)
        for product in PRODUCTS:
            builder.add(product)
        builder.finish()
        self._products = ProductStore(folder)
        self._facets = facets_of(folder, PRODUCTS)
        self._max_chars = max_chars
        self.snapshot = FakeSnapshot(self._products)

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
        query = understand(text, self._products, max_chars=self._max_chars)
        if stage is None and mode is not None and mode.depth:
            stage = Stage.RERANKED
        if stage is Stage.RERANKED and "reranked" not in query.text:
            raise StageUnavailableError("snapshot-1 has no reranker. Index with --reranker DIR")
        if query.text == "crash":
            raise RuntimeError("the secret of /etc/daogou")
        if query.text == "lost":
            raise ModelError("/srv/store/snapshots/1/models/reranker is not a model folder")
        if query.text == "slow":
            time.sleep(0.5)
        words = set(query.text.casefold().split())
        scores = [len(words & set(product.title.casefold().split())) for product in PRODUCTS]
        allowed = None if filters is None else allowed_rows(filters, self._facets)
        ranked = sorted(
            (
                row
                for row, score in enumerate(scores)
                if score and (allowed is None or allowed.mask[row])
            ),
            key=lambda row: (-scores[row], PRODUCTS[row].id),
        )
        rows = np.array(ranked, dtype=np.int64)
        found = self._products.fetch(ranked[offset : offset + k])
        odds = dict.fromkeys(Relevance, 0.25) if stage is Stage.RERANKED else None
        hits = tuple(
            Hit(
                product,
                rank,
                float(scores[PRODUCTS.index(product)]),
                {Stage.LEXICAL: StageScore(rank, float(scores[PRODUCTS.index(product)]))},
                odds,
            )
            for rank, product in enumerate(found, start=offset + 1)
        )
        return SearchResult(
            query,
            "query-1",
            self.snapshot.id,
            stage or Stage.FUSED,
            hits,
            len(ranked),
            {"lexical": 1.25, "fused": 0.5},
            degraded=query.text == "late",
            fits=0.01234567 if "junk" in words else None,
            nothing_fits="junk" in words,
            total=len(ranked),
            facets=tuple(
                count(self._facets, name, np.sort(rows), np.sort(rows)) for name in view.facets
            ),
        )

    def newer(self) -> Self | None:
        return None

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
        typed = text == "shoos" and read
        result = self.search(
            "shoes" if typed else text, k=k, offset=offset, filters=filters, stage=stage,
            mode=mode, view=view, deadline=deadline,
        )  # fmt: skip
        return Navigated(
            result,
            Navigation("shoes", corrected=True) if typed else Navigation(),
            (WHY,) * len(result.hits) if explain else (),
        )

    def suggest(self, typed: str, *, k: int = 8) -> list[Completion]:
        if typed == "old":
            raise StageUnavailableError("snapshot-1 has no suggestions. Index the catalog again")
        titles = [one.title for one in PRODUCTS if one.title.lower().startswith(typed.lower())]
        return [Completion(title, Kind.PHRASE, 1) for title in titles[:k]]

    def categories(self, under: str = "", *, k: int = 100) -> list[Shelf]:
        if under:
            return [Shelf(1, (under, "Kettles"), 1, 0)]
        return [Shelf(0, ("Kitchen",), 1, 1)][:k]

    def recommend(
        self,
        events: Sequence[Event],
        *,
        k: int = 10,
        filters: Filter | None = None,
        explain: bool = False,
    ) -> list[Recommendation]:
        allowed = None if filters is None else allowed_rows(filters, self._facets)
        known = {product.id: product for product in PRODUCTS}
        cause = next((known[one.product_id] for one in events if one.product_id in known), None)
        wanted = [
            product
            for row, product in enumerate(PRODUCTS)
            if product is not cause and (allowed is None or allowed.mask[row])
        ]
        reason = Reason.POPULAR if cause is None else Reason.ALIKE
        return [
            Recommendation(product, rank, 1.0 / rank, reason, cause)
            for rank, product in enumerate(wanted[:k], start=1)
        ]

    def similar(
        self, product_id: str, *, k: int = 10, filters: Filter | None = None
    ) -> list[Product]:
        self.product(product_id)
        return [product for product in PRODUCTS if product.id != product_id][:k]

    def complements(
        self, product_id: str, *, k: int = 10, filters: Filter | None = None
    ) -> list[Product]:
        self.product(product_id)
        raise StageUnavailableError("snapshot-1 knows no purchases. Publish with --behaviour DIR")

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
        query = understand(question, self._products, max_chars=1_000)
        if products:
            named = [self.product(one) for one in products]
            answers = tuple(
                ProductAnswer(
                    product,
                    answered=bool(product.description),
                    probability=0.75 if product.description else 0.25,
                    evidence=(Evidence(pieces_of(product)[-1], 0.75),),
                )
                for product in named
            )
            comparison = compare(named) if len(named) > 1 else None
            return Consultation(self.snapshot.id, query.text, answers, comparison=comparison)
        needs = read_needs([*before, query.text], self._facets)
        found = self.search(needs.text, k=k, filters=needs.to_filter() or filters)
        suggestions = tuple(
            Suggestion(hit.product, hit.rank, (Checked("quiet", met=None),)) for hit in found.hits
        )
        return Consultation(self.snapshot.id, query.text, needs=needs, suggestions=suggestions)

    def product(self, product_id: str) -> Product:
        (row,) = self._products.rows_of([product_id])
        if row is None:
            raise ProductNotFoundError(f"no product has the id {product_id!r}. Search for it")
        return self._products.fetch([row])[0]
