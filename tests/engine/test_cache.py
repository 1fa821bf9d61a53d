"""Answers kept for repeated searches."""

from __future__ import annotations

from dataclasses import replace

from engine.cache import AnswerCache
from engine.types import Hit, Product, Query, SearchResult, Stage


def answer(text: str, hits: int) -> SearchResult:
    found = tuple(Hit(Product(str(place), "title"), place, 1.0) for place in range(1, hits + 1))
    return SearchResult(Query(text, text), "first", "snapshot", Stage.FUSED, found, hits)


def test_a_kept_answer_is_an_answer_of_its_own() -> None:
    cache = AnswerCache(100)
    given = replace(answer("mug", 3), timings={"lexical": 1.0})
    assert cache.get("mug", "mug") is None
    cache.put("mug", given)
    again, third = cache.get("mug", " mug\t"), cache.get("mug", "mug")
    assert again is not None
    assert third is not None
    assert again.hits == given.hits
    assert (again.query.text, again.query.original) == ("mug", " mug\t")
    assert again.timings == {"cached": 0.0}
    assert len({given.query_id, again.query_id, third.query_id}) == 3


def test_what_is_kept_is_bounded_by_its_hits() -> None:
    cache = AnswerCache(10)
    cache.put("a", answer("a", 4))
    cache.put("b", answer("b", 4))
    assert cache.get("a", "a") is not None  # used last
    cache.put("c", answer("c", 4))
    assert [cache.get(key, key) is None for key in "abc"] == [False, True, False]
    cache.put("large", answer("large", 50))
    assert cache.get("large", "large") is None
    assert cache.get("a", "a") is not None


def test_degraded_answers_are_not_kept_and_nothing_is_where_nothing_may_be() -> None:
    cache = AnswerCache(10)
    cache.put("a", replace(answer("a", 1), degraded=True))
    assert cache.get("a", "a") is None
    none = AnswerCache(0)
    none.put("a", answer("a", 0))
    assert none.get("a", "a") is None
