"""Examples for the OpenAPI document; a test holds them to the schemas."""

from __future__ import annotations

from typing import Any, Final

PRODUCT: Final[dict[str, Any]] = {
    "id": "KX-204/red",
    "title": "Trailwind 3 running shoes, women, red",
    "brand": "Trailwind",
    "color": "red",
    "category": ["Sports", "Running", "Shoes"],
    "price": 79.9,
    "currency": "EUR",
    "rating": 4.4,
    "rating_count": 231,
    "in_stock": True,
    "group_id": "KX-204",
    "attributes": {"size": ["37", "38", "39"], "weight_g": 212},
}

SEARCH_RESPONSE: Final[dict[str, Any]] = {
    "query": "red running shoes",
    "query_id": "7f1d3f0f1c8a4f8ab3a1d8f6b5a0c2e4",
    "snapshot_id": "20261124T081502Z-3fa9c1",
    "stage": "reranked",
    "degraded": False,
    "fits": 0.9712,
    "nothing_fits": False,
    "candidates": 327,
    "total": 41,
    "total_is_least": False,
    "facets": [
        {
            "field": "brand",
            "values": [{"count": 12, "value": "Nike", "low": None, "high": None}],
            "more": 7,
        }
    ],
    "k": 1,
    "offset": 0,
    "timings": {
        "lexical": 0.9,
        "encode": 3.4,
        "dense": 0.6,
        "fused": 0.4,
        "reranked": 61.2,
        "fetch": 0.3,
    },
    "did_you_mean": None,
    "corrected": False,
    "read": "red running shoes",
    "understood": [
        {
            "field": "color",
            "words": "red",
            "span": [0, 3],
            "value": "red",
            "negated": False,
            "confidence": 0.62,
            "applied": False,
        }
    ],
    "shelves": [{"category": "Sports > Running > Shoes", "best": 34, "products": 212}],
    "related": ["red running shoes women"],
    "relaxations": [],
    "hits": [
        {
            "rank": 1,
            "score": 0.934712,
            "product": PRODUCT,
            "stages": {
                "lexical": {"rank": 3, "score": 11.40217},
                "dense": {"rank": 1, "score": 0.71283},
                "fused": {"rank": 2, "score": 0.871204},
                "reranked": {"rank": 1, "score": 0.934712},
            },
            "probabilities": {
                "irrelevant": 0.0102,
                "complement": 0.0131,
                "substitute": 0.0466,
                "exact": 0.9301,
            },
        }
    ],
}
