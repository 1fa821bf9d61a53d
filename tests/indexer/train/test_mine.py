from __future__ import annotations

from pathlib import Path

import pytest

from engine.listing import View
from engine.search import SearchEngine
from engine.text import passage
from engine.types import Product, Stage
from indexer.build import index_catalog
from indexer.train.lists import Candidate, Origin, QueryList
from indexer.train.mine import (
    BELOW_LAST,
    MINED_DEPTH,
    exclude,
    hard_negatives,
    held_out,
    pseudo_queries,
    strangers,
    teach,
)
from tests.shop import PRODUCTS, write_catalog

_COLORS = ("red", "blue", "green", "black", "white", "brown")
_KINDS = ("Kettle", "Teapot", "Travel Mug", "Tent", "Leather Belt", "Garden Hose", "Desk Lamp")
GRID = tuple(
    Product(
        id=f"{kind.split()[-1].lower()}-{color}",
        title=f"Loomwell {color.title()} {kind}",
        brand="Loomwell",
        color=color,
        category=("Home", f"{kind}s"),
        sku=f"LW-{kind.split()[-1]}-{color}",
    )
    for kind in _KINDS
    for color in _COLORS
)
BY_ID = {product.id: product for product in GRID}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> SearchEngine:
    """An engine over 42 products: enough for a ranking to be drawn from."""
    folder = tmp_path_factory.mktemp("grid")
    index_catalog(write_catalog(folder / "catalog.jsonl", GRID), folder / "store")
    return SearchEngine.open(folder / "store")


def judged(query: str, **grades: float) -> QueryList:
    """A list over the grid, `kettle_red=3` for the product `kettle-red`."""
    candidates = tuple(
        Candidate(name, passage(BY_ID[name]), Origin.JUDGED, "qrels.txt", grade)
        for name, grade in ((key.replace("_", "-"), grade) for key, grade in grades.items())
    )
    return QueryList(query, "grid", candidates)


class TestHeldOut:
    def test_spellings_of_a_held_out_query_are_excluded(self) -> None:
        lists = [judged(query) for query in ("Red  Kettle", "red kettles", "ＲED kettle")]
        left = exclude(lists, held_out(["red kettle "]))
        assert [entry.query for entry in left] == ["red kettles"]


class TestPseudoQueries:
    def test_are_short_lower_case_and_different(self) -> None:
        found = pseudo_queries(PRODUCTS, 60, 1)
        assert len(found) == len(set(found)) == 60
        assert all(query == " ".join(query.split()).lower() for query in found)
        assert all(2 <= len(query) <= 70 for query in found)

    def test_are_made_of_what_one_product_is_called(self) -> None:
        def said(product: Product) -> str:
            flags = " ".join(name for name, value in product.attributes.items() if value is True)
            return f"{passage(product)} {product.brand} {product.color} {flags}".lower()

        for query in pseudo_queries(PRODUCTS, 200, 3):
            assert any(
                all(word in said(product) for word in query.split()) for product in PRODUCTS
            ), query

    @pytest.mark.parametrize(
        "wanted",
        ["emberly kettles", "red kettles", "wireless headphones", "noise cancelling headphones"],
    )
    def test_every_shape_comes_up(self, wanted: str) -> None:
        assert wanted in pseudo_queries(PRODUCTS, 10_000, 2)

    def test_values_of_attributes_are_joined_with_the_category(self) -> None:
        product = Product(
            "x", "Thing", category=("Home", "Lamps"),
            attributes={"material": ["oiled oak", "brass"], "watts": 60, "code": "7-41",
                        "note": "a text far too long to be typed into any search box"},
        )  # fmt: skip
        found = set(pseudo_queries([product], 100, 1))
        assert {"oiled oak lamps", "brass lamps"} <= found
        assert not any("60" in query or "7-41" in query or "text" in query for query in found)

    def test_titles_are_enough(self) -> None:
        bare = [Product(product.id, product.title) for product in PRODUCTS]
        found = pseudo_queries(bare, 1_000, 1)
        assert len(found) > len(bare)
        assert "真空保温杯 500ml" in found

    def test_function_words_do_not_stand_at_an_end(self) -> None:
        product = Product("x", "Case for the Phone with a Ring")
        found = [query.split() for query in pseudo_queries([product], 100, 1)]
        ends = {word for words in found for word in (words[0], words[-1])}
        assert not ends & {"for", "the", "with", "a"}

    def test_the_seed_decides(self) -> None:
        assert pseudo_queries(PRODUCTS, 30, 1) == pseudo_queries(PRODUCTS, 30, 1)
        assert pseudo_queries(PRODUCTS, 30, 1) != pseudo_queries(PRODUCTS, 30, 2)

    def test_held_out_queries_are_never_made(self) -> None:
        every = pseudo_queries(PRODUCTS, 10_000, 1)
        without = held_out(query.upper() for query in every[::2])
        left = pseudo_queries(PRODUCTS, 10_000, 1, without=without)
        assert left
        assert not set(left) & set(every[::2])

    def test_nothing_to_make_queries_of(self) -> None:
        assert pseudo_queries([], 10, 1) == []
        assert pseudo_queries([Product("x", "!!!")], 10, 1) == []
        assert pseudo_queries(PRODUCTS, 0, 1) == []


class TestTeach:
    def test_a_list_holds_head_tail_and_an_outsider(self, engine: SearchEngine) -> None:
        (entry,) = teach(engine, "grid", ["Red  kettle"], size=8, depth=30, seed=1)
        ranked = engine.search("Red kettle", k=30, stage=Stage.FUSED, view=View(ranked=True)).hits
        places = {hit.product.id: hit.rank for hit in ranked}
        scores = {hit.product.id: hit.score for hit in ranked}
        *drawn, outsider = entry.candidates
        assert (entry.query, entry.catalog, entry.classes) == ("Red kettle", "grid", False)
        assert [places[candidate.product_id] <= 8 for candidate in drawn] == [True] * 4 + [
            False
        ] * 3
        for candidate in drawn:
            assert candidate.teacher == scores[candidate.product_id]
            assert candidate.passage == passage(BY_ID[candidate.product_id])
        assert outsider.product_id not in places
        assert outsider.teacher == ranked[-1].score - BELOW_LAST
        assert [candidate.source for candidate in entry.candidates] == ["fused"] * 7 + ["random"]
        assert {candidate.origin for candidate in entry.candidates} == {Origin.TEACHER}
        assert all(candidate.grade is None for candidate in entry.candidates)

    def test_without_a_product_outside_the_list_is_shorter(self, engine: SearchEngine) -> None:
        (entry,) = teach(engine, "grid", ["red kettle"], depth=100, seed=1)
        assert [candidate.source for candidate in entry.candidates] == ["fused"] * 7

    def test_a_list_does_not_depend_on_the_others(self, engine: SearchEngine) -> None:
        queries = [f"{color} kettle" for color in _COLORS]
        together = teach(engine, "grid", queries, depth=30, seed=1)
        assert together == [teach(engine, "grid", [q], depth=30, seed=1)[0] for q in queries]
        assert together != teach(engine, "grid", queries, depth=30, seed=2)

    def test_more_queries_than_a_batch_each_once(self, engine: SearchEngine) -> None:
        queries = [f"{color} {kind}" for kind in _KINDS for color in _COLORS] * 2
        queries += [f"loomwell {query}" for query in queries]
        lists = teach(engine, "grid", [*queries, "RED KETTLE"], depth=30, seed=1)
        assert [entry.query for entry in lists] == list(dict.fromkeys(queries))

    @pytest.mark.parametrize("query", ["", " \u200b ", "x" * 5_000, "LW-Kettle-red", "Blue Tent"])
    def test_what_is_not_asked(self, engine: SearchEngine, query: str) -> None:
        assert teach(engine, "grid", [query], seed=1, without=held_out(["blue tent"])) == []

    def test_short_rankings_teach_nothing(self, shop_store: Path) -> None:
        assert teach(SearchEngine.open(shop_store), "shop", ["kettle"], seed=1) == []


class TestHardNegatives:
    def _mine(self, engine: SearchEngine, *lists: QueryList, seed: int = 1) -> list[QueryList]:
        return hard_negatives(engine, lists, seed=seed)

    def test_what_nobody_judged_is_added_with_its_stage(self, engine: SearchEngine) -> None:
        before = judged("red kettle", kettle_red=3, tent_red=0)
        (after,) = hard_negatives(engine, [before], per_query=6, seed=1)
        assert after.candidates[:2] == before.candidates
        added = after.candidates[2:]
        assert len({candidate.product_id for candidate in after.candidates}) == 8
        for candidate in added:
            assert (candidate.origin, candidate.grade) == (Origin.MINED, 0.0)
            assert (candidate.weight, candidate.teacher) == (0.3, None)
            assert candidate.passage == passage(BY_ID[candidate.product_id])
        assert {candidate.source for candidate in added} == {"lexical", "dense", "fused"}

    def test_each_comes_from_the_head_of_its_stage(self, engine: SearchEngine) -> None:
        (after,) = self._mine(engine, judged("red kettle", kettle_red=3))
        for candidate in after.candidates[1:]:
            stage = Stage(candidate.source)
            whole = View(ranked=True)  # what does not match is the best negative
            head = engine.search("red kettle", k=MINED_DEPTH, stage=stage, view=whole).hits
            assert candidate.product_id in {hit.product.id for hit in head}

    def test_a_stage_can_be_asked_alone(self, engine: SearchEngine) -> None:
        lists = [judged("red kettle", kettle_red=3)]
        (after,) = hard_negatives(engine, lists, stages=[Stage.LEXICAL], seed=1, weight=0.1)
        assert {(c.source, c.weight) for c in after.candidates[1:]} == {("lexical", 0.1)}

    def test_products_nearly_as_near_as_the_best_exact_are_spared(
        self, engine: SearchEngine
    ) -> None:
        names = list(BY_ID)
        (result,) = engine.search_many(["red kettle"], k=99, stage=Stage.DENSE, candidates=[names])
        cosines = {hit.product.id: hit.score for hit in result.hits}
        middle = sorted(names, key=cosines.__getitem__)[len(names) // 2]
        entry = judged("red kettle", **{middle.replace("-", "_"): 3})
        (after,) = hard_negatives(engine, [entry], per_query=99, seed=1)
        mined = {candidate.product_id for candidate in after.candidates[1:]}
        assert mined
        assert all(cosines[name] <= 0.95 * cosines[middle] for name in mined)

    def test_a_list_without_a_positive_here_stays_as_it_was(self, engine: SearchEngine) -> None:
        foreign = Candidate("elsewhere", "Red Kettle", Origin.JUDGED, "labels.csv", 3.0)
        lists = [
            judged("red kettle", kettle_red=1, kettle_blue=0),
            QueryList("red kettle", "grid", (foreign,)),
            QueryList("red kettle", "grid", ()),
        ]
        assert self._mine(engine, *lists) == lists

    def test_a_substitute_counts_where_nothing_is_exact(self, engine: SearchEngine) -> None:
        (after,) = self._mine(engine, judged("red kettle", kettle_blue=2))
        assert len(after.candidates) > 1

    def test_nothing_is_mined_twice_or_without_end(self, engine: SearchEngine) -> None:
        once = hard_negatives(engine, [judged("red kettle", kettle_red=3)], per_query=99, seed=1)
        assert hard_negatives(engine, once, per_query=99, seed=1) == once

    def test_the_seed_decides_and_the_others_do_not(self, engine: SearchEngine) -> None:
        lists = [judged(f"{color} kettle", kettle_red=3) for color in _COLORS]
        together = self._mine(engine, *lists)
        assert together == [self._mine(engine, entry)[0] for entry in lists]
        assert together != self._mine(engine, *lists, seed=2)

    def test_held_out_queries_are_left_out(self, engine: SearchEngine) -> None:
        lists = [judged("Red Kettle", kettle_red=3), judged("tent", tent_red=3)]
        (after,) = hard_negatives(engine, lists, seed=1, without=held_out(["red kettle"]))
        assert after.query == "tent"


def test_a_product_titled_like_a_judged_one_is_no_negative(tmp_path: Path) -> None:
    twin = Product("twin", "Garden  HOSE", description="Brass fittings, fifty feet, coiled.")
    others = (Product("hose", "Garden Hose"), Product("lamp", "Desk Lamp with Garden Motif"))
    index_catalog(write_catalog(tmp_path / "catalog.jsonl", (twin, *others)), tmp_path / "store")
    engine = SearchEngine.open(tmp_path / "store")
    exact = Candidate("hose", "Garden Hose", Origin.JUDGED, "qrels.txt", 3.0)
    lists = [QueryList("garden hose", "shop", (exact,))]
    (after,) = hard_negatives(engine, lists, seed=1)
    assert [candidate.product_id for candidate in after.candidates] == ["hose", "lamp"]


def test_strangers_are_negatives_of_the_same_catalog_some_hardly_described() -> None:
    def listed(query: str, catalog: str, *ids: str) -> QueryList:
        candidates = [
            Candidate(one, f"{one} a passage of some more words", Origin.JUDGED, "x", 3.0)
            for one in ids
        ]
        return QueryList(query, catalog, tuple(candidates))

    lists = [
        listed("q1", "shop", "a", "b"),
        listed("q2", "shop", *"cdefghij"),
        listed("q3", "other", "z", "y"),
        listed("q4", "shop", "alone"),
    ]
    found = strangers(lists, seed=1, count=6)
    assert found == strangers(lists, seed=1, count=6)
    for before, after in zip(lists, found, strict=True):
        kept = len(before.candidates)
        assert after.candidates[:kept] == before.candidates
        inside = {one.product_id for one in before.candidates}
        for one in after.candidates[kept:]:
            assert one.origin is Origin.MINED
            assert one.grade is None
            assert 0 < one.weight < 1
            assert one.product_id not in inside | (
                {"z", "y"} if before.catalog == "shop" else set()
            )
    lengths = {len(one.passage.split()) for one in found[0].candidates[2:]}
    assert min(lengths) <= 4
    assert max(lengths) == 7
    assert found[3] == lists[3]
    assert len(found[2].candidates) == 2  # its catalog has no other list
