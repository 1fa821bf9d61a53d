"""Answers kept for searches that are asked again: the busiest queries of a shop are few."""

from __future__ import annotations

import uuid
from collections.abc import Hashable
from dataclasses import replace
from threading import Lock

from cachetools import LRUCache

from engine.types import SearchResult


class AnswerCache:
    """The answers last used, over one snapshot. Safe across threads."""

    def __init__(self, hits: int) -> None:
        """Keep answers with at most so many hits together; 0 keeps none."""
        self._answers: LRUCache[Hashable, SearchResult] = LRUCache(hits, getsizeof=_size)
        self._lock = Lock()

    def get(self, key: Hashable, original: str) -> SearchResult | None:
        """The answer kept under the key, as one to `original`, with an id of its own."""
        with self._lock:
            known = self._answers.get(key)
        if known is None:
            return None
        query = replace(known.query, original=original)
        return replace(known, query=query, query_id=uuid.uuid4().hex, timings={"cached": 0.0})

    def put(self, key: Hashable, answer: SearchResult) -> None:
        """Keep the answer, unless it is degraded or larger than all that may be kept."""
        size = _size(answer)
        if not answer.degraded and size <= self._answers.maxsize:
            with self._lock:
                self._answers[key] = answer


def _size(answer: SearchResult) -> int:
    return len(answer.hits) + 1
