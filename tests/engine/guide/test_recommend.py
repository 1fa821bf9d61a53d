"""Recommendations from texts alone: the demo shop knows no purchases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from engine.guide.guide import ShoppingGuide
from engine.guide.history import Deed, Event
from engine.guide.reasons import Reason
from engine.retrieval.filters import parse_filters
from engine.types import Product, RowSet
from indexer.build import IndexOptions, index_catalog
from tests.engine.lists import search_through_lists
from tests.shop import write_catalog

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def guide(demo_store: Path) -> ShoppingGuide:
    return ShoppingGuide.open(demo_store)


@pytest.fixture(scope="module")
def variants(guide: ShoppingGuide) -> list[Product]:
    """The first of twenty products that come in several variants."""
    first: dict[str, Product] = {}
    several: dict[str, Product] = {}
    for product in guide.snapshot.products:
        if product.group_id in first:
            several.setdefault(product.group_id, first[product.group_id])
        elif product.group_id:
            first[product.group_id] = product
    return list(several.values())[:20]


@pytest.mark.parametrize("deed", [Deed.PURCHASE, Deed.RETURN, Deed.DISMISSAL])
def test_no_variant_of_what_is_not_wanted_is_recommended(
    guide: ShoppingGuide, variants: list[Product], deed: Deed
) -> None:
    for product in variants:
        done = Event(product.id, deed, at=NOW - timedelta(days=7))
        for k in (1, 2, 3, 20):
            found = guide.recommend([done], k=k, now=NOW)
            assert len(found) == k
            assert product.group_id not in {one.product.group_id for one in found}


def test_many_variants_take_no_places_of_others(
    guide: ShoppingGuide, variants: list[Product], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.guide.recommend._HEAD", 1)  # of two products that are looked at
    for product in variants:
        (found,) = guide.recommend([Event(product.id, at=NOW - timedelta(days=7))], k=1, now=NOW)
        assert found.product.group_id != product.group_id


def test_of_shelves_full_of_variants_every_product_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.guide.recommend._HEAD", 1)
    sizes = [
        Product(id=f"{name}-{size}", title=f"{name}, size {size}", group_id=name)
        for name in ("walking shoe", "running shoe", "kettle")
        for size in range(80)
    ]
    write_catalog(tmp_path / "shoes.jsonl", sizes)
    options = IndexOptions(reranker=None, ranking=None)
    index_catalog(tmp_path / "shoes.jsonl", tmp_path / "store", options)
    shoes = ShoppingGuide.open(tmp_path / "store")
    found = [one.product.group_id for one in shoes.recommend([], k=3, now=NOW)]
    assert sorted(found) == ["kettle", "running shoe", "walking shoe"]
    done = Event("walking shoe-1", at=NOW)  # 80 running shoes are nearer than any kettle
    found = [one.product.group_id for one in shoes.recommend([done], k=3)]
    assert found == ["running shoe", "kettle"]
    found = [one.group_id for one in shoes.similar("walking shoe-1", k=3)]
    assert found == ["running shoe", "kettle"]


def test_what_is_like_a_product_is_in_stock_and_none_of_its_variants(
    guide: ShoppingGuide, variants: list[Product]
) -> None:
    for product in variants:
        found = guide.similar(product.id, k=10)
        assert len(found) == 10
        assert all(one.in_stock is not False for one in found)
        assert product.group_id not in {one.group_id for one in found}


def test_what_goes_with_a_product_is_one_variant_each_and_none_of_its_own(
    demo_store: Path, variants: list[Product]
) -> None:
    guide = ShoppingGuide.open(demo_store)
    every = np.arange(len(guide.snapshot))
    baskets = np.tile(every, (len(every), 1))  # everything is bought with everything
    behaviour = SimpleNamespace(by_basket=SimpleNamespace(items=baskets))
    stored = SimpleNamespace(item_of=every, row_of=every, model=behaviour)
    vars(guide.recommender)["stored"] = stored
    for product in variants:
        groups = [one.group_id for one in guide.complements(product.id, k=300)]
        assert product.group_id not in groups
        assert len(groups) == 300
        assert len(set(filter(None, groups))) == len(list(filter(None, groups)))


def test_of_a_large_catalog_a_far_shelf_is_recommended_as_of_a_small_one(
    demo_store: Path, guide: ShoppingGuide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.retrieval.ivf._FEW", 10)
    large = ShoppingGuide.open(demo_store)
    search_through_lists(large.snapshot, probes=8)
    shelves = sorted({product.category[0] for product in guide.snapshot.products})
    chosen = {shelf: parse_filters([f"category={shelf}"]) for shelf in shelves}
    shared = []
    for product in list(guide.snapshot.products)[::120]:
        done = Event(product.id, at=NOW - timedelta(days=7))
        for shelf, filters in chosen.items():
            right = guide.similar(product.id, k=10, filters=filters)
            found = large.similar(product.id, k=10, filters=filters)
            assert len(found) == len(right)
            assert all(shelf in one.category for one in found)
            shared += [one.id in {each.id for each in right} for one in found]
            mine = [one.product for one in large.recommend([done], filters=filters, now=NOW)]
            expected = guide.recommend([done], filters=filters, now=NOW)
            assert len(mine) == len(expected)
            assert all(shelf in one.category for one in mine)
            shared += [one.id in {each.product.id for each in expected} for one in mine]
    assert np.mean(shared) > 0.95


def test_what_may_be_recommended_is_found_once_for_each_filter(demo_store: Path) -> None:
    guide = ShoppingGuide.open(demo_store)
    index = search_through_lists(guide.snapshot)
    kitchen, cheap = (parse_filters([one]) for one in ("category=Kitchen", "price<=20"))
    first = next(product for product in guide.snapshot.products if product.group_id)
    for _ in range(2):
        for filters in (kitchen, cheap, None):
            assert first.id not in {one.id for one in guide.similar(first.id, filters=filters)}
    asked = [guide._allowed(filters) for filters in (kitchen, cheap, None)]
    sets = [guide.recommender._in_stock(one) for one in asked]
    assert [guide.recommender._in_stock(one) for one in asked] == sets
    assert {id(one.mask) for one in sets} >= set(index._allowed)
    again = guide.recommender._in_stock(RowSet(sets[0].mask.copy()))
    assert again.mask.tolist() == sets[0].mask.tolist()
    assert again is not sets[0]


def test_what_nobody_bought_or_rated_is_not_called_popular(shop_store: Path) -> None:
    found = ShoppingGuide.open(shop_store).recommend([], k=5, now=NOW)
    assert [one.reason for one in found] == [
        Reason.POPULAR if one.product.rating_count else Reason.OTHER for one in found
    ]
    assert Reason.OTHER in {one.reason for one in found}
