"""What every `LexicalRetriever` must do, whatever stands behind it.

A test class inherits the contract and gives the fixture `build`: products in row order → retriever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pytest

from engine.protocols import LexicalRetriever
from engine.types import Collected, Product, Ranking, RowSet

Build = Callable[[Sequence[Product]], LexicalRetriever]

SHELF = [
    Product("p6", "Stainless steel frying pan, 12-inch", brand="Tramontina"),
    Product("p5", "Frying pan", description="A pan for frying. Not for the oven."),
    Product("p4", "Bluetooth headphones WH-1000XM4", brand="Sony", color="Black"),
    Product("p3", "Dog bowl", color="Red"),
    Product("p2", "Dog bowl", color="Red"),
    Product("p1", "Dog bowl", color="Red"),
]


def same(one: Ranking, other: Ranking) -> None:
    """The rankings are equal to the last bit."""
    np.testing.assert_array_equal(one.rows, other.rows)
    np.testing.assert_array_equal(one.scores, other.scores)


def assert_collected(
    index: LexicalRetriever,
    query: str,
    depth: int,
    allowed: RowSet | None,
    found: Collected,
    *,
    most: int,
    share: float,
) -> None:
    """What was found is what `search_and_collect` promises of it."""
    [everything] = index.search([query], 10_000)
    same(found.best, index.search([query], depth, allowed)[0])
    collected = found.products
    assert len(collected) <= most
    assert len(set(collected.rows.tolist())) == len(collected)
    np.testing.assert_array_equal(index.score(query, collected.rows), collected.scores)
    least = share * everything.scores[:1]
    good = int((everything.scores >= least).sum())
    assert collected.scores[:good].tolist() == everything.scores[:good][:most].tolist()


def reference(retriever: LexicalRetriever, query: str, size: int, allowed: RowSet) -> Ranking:
    """The whole ranking, minus the rows outside the set."""
    [whole] = retriever.search([query], size)
    kept = allowed.mask[whole.rows]
    return Ranking(whole.rows[kept], whole.scores[kept])


class LexicalContract:
    """The checks."""

    @pytest.fixture
    def shelf(self, build: Build) -> LexicalRetriever:
        return build(SHELF)

    @pytest.mark.parametrize(
        ("query", "row"),
        [("12in steel pan", 0), ("frying", 1), ("wh1000xm4", 2), ("SONY black headphone", 2)],
    )
    def test_the_product_asked_for_is_first(
        self, shelf: LexicalRetriever, query: str, row: int
    ) -> None:
        [ranking] = shelf.search([query], 3)
        assert ranking.rows[0] == row

    def test_ties_go_by_ascending_product_id_at_any_depth(self, shelf: LexicalRetriever) -> None:
        for depth, rows in [(1, [5]), (2, [5, 4]), (3, [5, 4, 3]), (9, [5, 4, 3])]:
            [ranking] = shelf.search(["dog bowl"], depth)
            assert ranking.rows.tolist() == rows

    def test_queries_are_answered_in_order_and_alone_as_together(
        self, shelf: LexicalRetriever
    ) -> None:
        queries = ["dog", "nothing of the sort", "pan"]
        together = shelf.search(queries, 5)
        assert [len(ranking) for ranking in together] == [3, 0, 2]
        for query, ranking in zip(queries, together, strict=True):
            same(shelf.search([query], 5)[0], ranking)

    def test_no_query_no_ranking(self, shelf: LexicalRetriever) -> None:
        assert shelf.search([], 5) == []

    @pytest.mark.parametrize("query", ["", "   ", "\x00", "😀", "\ud800", "unheardof", "!!"])
    def test_nothing_to_look_for_finds_nothing(self, shelf: LexicalRetriever, query: str) -> None:
        [ranking] = shelf.search([query], 5)
        assert len(ranking) == 0
        assert not shelf.finds(query)
        assert shelf.score(query, np.arange(3)).tolist() == [0, 0, 0]

    @pytest.mark.parametrize("query", ["dog bowl", "12in steel frying pan", "SONY", "unheardof"])
    def test_searching_and_collecting_at_once_finds_the_same(
        self, shelf: LexicalRetriever, query: str
    ) -> None:
        for passing in (None, [1, 3, 4], [5], []):
            allowed = None if passing is None else RowSet.of(np.array(passing, int), len(SHELF))
            for depth, most, share in product((0, 1, 9), (0, 1, 3, 9), (0.0, 0.5)):
                found = shelf.search_and_collect(query, depth, allowed, most=most, share=share)
                assert_collected(shelf, query, depth, allowed, found, most=most, share=share)

    @pytest.mark.parametrize("query", ["dog bowl", "12in pan", "SONY", "unheardof", ""])
    def test_the_best_score_and_the_best_products_are_those_of_search(
        self, shelf: LexicalRetriever, query: str
    ) -> None:
        [ranking] = shelf.search([query], 2)
        assert shelf.best_score(query) == (ranking.scores[0] if len(ranking) else 0)
        assert shelf.typical(query, 2).tolist() == ranking.rows.tolist()

    @pytest.mark.parametrize("query", ["pan", "no such pan", "bowl without oven", "SONY"])
    def test_what_is_searched_for_is_found(self, shelf: LexicalRetriever, query: str) -> None:
        assert len(shelf.search([query], 1)[0])
        assert shelf.finds(query)

    @pytest.mark.parametrize(
        "query", ["text:dog AND -bowl", 'dog" OR (row:*', "dog^9 \\", "+dog [a TO z]"]
    )
    def test_query_language_has_no_power(self, shelf: LexicalRetriever, query: str) -> None:
        [ranking] = shelf.search([query], 3)
        assert ranking.rows.tolist() == [5, 4, 3]

    def test_a_filter_takes_away_and_reorders_nothing(self, shelf: LexicalRetriever) -> None:
        allowed = RowSet.of(np.array([1, 3, 4]), len(SHELF))
        [dogs, pans] = shelf.search(["dog bowl", "steel pan"], 9, allowed)
        assert dogs.rows.tolist() == [4, 3]
        assert pans.rows.tolist() == [1]
        [none] = shelf.search(["dog"], 5, RowSet.of(np.array([0]), len(SHELF)))
        assert len(none) == 0
        [nowhere] = shelf.search(["dog"], 5, RowSet.of(np.array([], dtype=np.int64), len(SHELF)))
        assert len(nowhere) == 0

    def test_scores_are_those_of_search_in_the_order_asked(self, shelf: LexicalRetriever) -> None:
        query = "red frying pan steel"
        [ranking] = shelf.search([query], 9)
        expected = dict(zip(ranking.rows.tolist(), ranking.scores.tolist(), strict=True))
        rows = np.array([5, 2, 0, 1, 0])
        scores = shelf.score(query, rows)
        assert scores.dtype == np.float32
        assert scores.tolist() == [expected.get(row, 0.0) for row in rows.tolist()]
        assert shelf.score(query, np.array([], dtype=np.int64)).shape == (0,)

    def test_fingerprint_is_a_steady_hex_digest(self, build: Build) -> None:
        first, second = build(SHELF).fingerprint, build(SHELF[:1]).fingerprint
        assert first == second
        assert int(first, 16) >= 0
