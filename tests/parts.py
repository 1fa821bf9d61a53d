"""Parts of a snapshot, made of products alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.retrieval.facet_builder import FacetBuilder, offer_values, text_values
from engine.retrieval.facet_columns import OFFERS, TEXTS
from engine.retrieval.facets import Facets
from engine.types import Product


def facets_of(folder: Path, products: Sequence[Product]) -> Facets:
    """Their columns, written to the folder and opened."""
    texts, offers = FacetBuilder(folder / TEXTS), FacetBuilder(folder / OFFERS)
    for row, product in enumerate(products):
        texts.add(row, text_values(product))
        offers.add(row, offer_values(product.to_dict()))
    texts.finish()
    offers.finish()
    return Facets(folder, len(products))
