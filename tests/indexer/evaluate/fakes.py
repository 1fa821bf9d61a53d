"""An engine whose rankings are written down beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from engine.errors import ProductNotFoundError
from engine.types import Filter, Hit, Product, Query, Relevance, SearchResult, Stage


@dataclass
class FakeEngine:
    """Ranks what it is told to; with candidates, those in its order and the others by id."""

    rankings: Mapping[Stage, Mapping[str, Sequence[str]]]
    """Stage → query text → product ids, the best first."""
    catalog: frozenset[str]
    answers_as: Stage | None = None
    """Claim to have answered by this stage."""
    depths: list[int] = field(default_factory=list)
    """The `k` of every call."""
    folder: Path = Path("no such snapshot")
    """Where the models say what they were trained on."""
    fits: Mapping[str, tuple[float, bool]] = field(default_factory=dict)
    """Query text → how likely something fits, and whether nothing does."""
    probabilities: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Product id → class probabilities."""

    @property
    def snapshot(self) -> SimpleNamespace:
        return SimpleNamespace(id="fake-1", folder=self.folder)

    @property
    def stages(self) -> tuple[Stage, ...]:
        return tuple(self.rankings)

    def product(self, product_id: str) -> Product:
        if product_id not in self.catalog:
            raise ProductNotFoundError(product_id)
        return Product(product_id, f"title of {product_id}")

    def search_many(
        self,
        texts: Sequence[str],
        *,
        k: int = 10,
        offset: int = 0,
        filters: Filter | None = None,
        stage: Stage | None = None,
        candidates: Sequence[Sequence[str]] | None = None,
    ) -> list[SearchResult]:
        stage = stage or self.stages[-1]
        self.depths.append(k)
        results = []
        for number, text in enumerate(texts):
            ranking = list(self.rankings[stage].get(text, ()))
            if candidates is not None:
                given = set(candidates[number])
                ranking = [one for one in ranking if one in given]
                ranking += sorted(given - set(ranking))
            results.append(self._result(text, stage, ranking[offset : offset + k]))
        return results

    def _result(self, text: str, stage: Stage, ranking: Sequence[str]) -> SearchResult:
        return SearchResult(
            query=Query(text, text),
            query_id="any",
            snapshot_id="fake-1",
            stage=self.answers_as or stage,
            hits=tuple(
                Hit(
                    self.product(product_id),
                    rank,
                    1 / rank,
                    probabilities=self._probabilities(product_id),
                )
                for rank, product_id in enumerate(ranking, start=1)
            ),
            candidates=len(ranking),
            timings={stage.value: 2.0, "fetch": 50.0},
            fits=self.fits[text][0] if text in self.fits else None,
            nothing_fits=text in self.fits and self.fits[text][1],
        )

    def _probabilities(self, product_id: str) -> dict[Relevance, float] | None:
        if product_id not in self.probabilities:
            return None
        return dict(zip(Relevance, self.probabilities[product_id], strict=True))
