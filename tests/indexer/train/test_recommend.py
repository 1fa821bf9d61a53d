"""From the demo's purchases to recommendations: trained, published, asked."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from engine.errors import (
    EvaluationError,
    ModelError,
    ProductNotFoundError,
    QueryError,
    SettingsError,
    SnapshotError,
    StageUnavailableError,
    TrainingError,
)
from engine.guide.behaviour import open_behaviour
from engine.guide.guide import ShoppingGuide
from engine.guide.history import Deed, Event
from engine.guide.reasons import Reason
from engine.retrieval.filters import allowed_rows, parse_filters
from engine.settings import Settings
from engine.text import passage
from engine.types import RowSet, Vectors
from indexer.build import IndexOptions, index_catalog
from indexer.evaluate import recommend as measured
from indexer.evaluate.recommend import OURS, evaluate_recommend
from indexer.evaluate.recommend_report import to_json
from indexer.publish import publish
from indexer.purchases import read_purchases
from indexer.train.behaviour import sum_up
from indexer.train.recommend import train_recommend
from tests.shop import write_catalog

DEMO = Path(__file__).parents[3] / "catalogs" / "demo"
PURCHASES = DEMO / "purchases.csv"
SINCE = "2026-06-15"
NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def store(demo_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recommend")
    shutil.copytree(demo_store, folder / "store")
    header, *lines = PURCHASES.read_text(encoding="utf-8").splitlines()
    late = [line for line in lines if line.split(",")[3] >= SINCE]  # enough, and soon trained on
    (folder / "late.csv").write_text("\n".join([header, *late]), encoding="utf-8")
    train_recommend(folder / "store", folder / "late.csv", folder / "behaviour", threads=1)
    publish(folder / "store", behaviour=folder / "behaviour")
    return folder / "store"


@pytest.fixture(scope="module")
def guide(store: Path) -> ShoppingGuide:
    return ShoppingGuide.open(store, Settings())


def bought(guide: ShoppingGuide, *ids: str, days: float = 20) -> list[Event]:
    return [Event(one, at=NOW - timedelta(days=days), order_id="o") for one in ids]


def some_ids(guide: ShoppingGuide, count: int) -> Sequence[str]:
    stored = guide.recommender.stored
    assert stored is not None
    best = stored.model.best_sold(len(stored.model.ids))
    return [stored.model.ids[item] for item in best if stored.row_of[item] >= 0][:count]


def test_who_is_new_is_shown_what_sells(guide: ShoppingGuide) -> None:
    found = guide.recommend([], k=10, now=NOW)
    sold = {product_id: place for place, product_id in enumerate(some_ids(guide, 300))}
    popular = [one for one in found if one.reason is Reason.POPULAR]
    assert len(popular) >= 9
    assert np.mean([sold.get(one.product.id, 999) for one in popular]) < 100


def test_what_others_bought_with_it_is_the_reason(guide: ShoppingGuide) -> None:
    mine = some_ids(guide, 2)
    found = guide.recommend(bought(guide, *mine), k=20, now=NOW)
    together = [one for one in found if one.reason is Reason.BOUGHT_TOGETHER]
    assert together
    assert all(one.because is not None and one.because.id in mine for one in together)
    assert [one.rank for one in found] == list(range(1, 21))


def test_one_in_ten_is_new(guide: ShoppingGuide) -> None:
    found = guide.recommend(bought(guide, *some_ids(guide, 3)), k=20, now=NOW)
    stored = guide.recommender.stored
    assert stored is not None
    new = [one.rank for one in found if one.product.id not in stored.model.items]
    assert new == [10, 20]
    assert {one.reason for one in found if one.rank in new} == {Reason.NEW}


def test_recommendations_are_explained(guide: ShoppingGuide) -> None:
    mine = bought(guide, *some_ids(guide, 3))
    plain = guide.recommend(mine, k=5, now=NOW)
    found = guide.recommend(mine, k=5, now=NOW, explain=True)
    assert [one.product.id for one in found] == [one.product.id for one in plain]
    assert {len(one.features) for one in plain} == {0}
    for one in found:
        assert sum(part.adds for part in one.features.values()) == pytest.approx(one.score)
        assert "base" in one.features
        if one.because is not None:
            assert one.explanation is not None
            words = passage(one.product).casefold()
            assert all(named.word.casefold() in words for named in one.explanation.named)
    with pytest.raises(QueryError, match="at most 10"):
        guide.recommend(mine, k=11, now=NOW, explain=True)


def test_a_short_list_and_a_narrow_filter(guide: ShoppingGuide) -> None:
    mine = bought(guide, *some_ids(guide, 3))
    (best,) = guide.recommend(mine, k=1, now=NOW)
    assert best.reason is not Reason.NEW
    narrow = parse_filters(["price<=4"])
    allowed = allowed_rows(narrow, guide.snapshot.facets).rows
    wanted = {product.id for product in guide.snapshot.products.fetch(allowed)}
    found = guide.recommend(mine, k=50, now=NOW, filters=narrow)
    assert len({one.product.id for one in found}) == len(found) <= 50
    assert found
    assert {one.product.id for one in found} <= wanted


def test_what_is_unwanted_just_bought_or_durable_is_left_out(guide: ShoppingGuide) -> None:
    stored = guide.recommender.stored
    assert stored is not None
    repeat = stored.model.number("repeat")
    durable = stored.model.ids[int(np.argmin(repeat))]
    first, second, third = some_ids(guide, 3)
    events = [
        *bought(guide, durable),
        *bought(guide, first, days=0.1),
        *bought(guide, second),
        Event(second, Deed.RETURN, at=NOW - timedelta(days=3)),
        Event(third, Deed.DISMISSAL, at=NOW - timedelta(days=3)),
    ]
    shown = {one.product.id for one in guide.recommend(events, k=100, now=NOW)}
    assert repeat.min() < stored.model.info.durable
    assert not shown & {durable, first, second, third}


def test_what_was_taken_up_again_is_wanted_again(guide: ShoppingGuide) -> None:
    one, other = some_ids(guide, 2)
    returned = [*bought(guide, one, other, days=40), *bought(guide, other, days=39)]
    returned += [Event(one, Deed.RETURN, at=NOW - timedelta(days=30))]
    again = [*returned, *bought(guide, one, days=20)]

    def shown(events: Sequence[Event]) -> set[str]:
        return {one.product.id for one in guide.recommend(events, k=100, now=NOW)}

    assert one not in shown(returned)
    assert one in shown(again)


def test_nothing_speaks_for_itself(guide: ShoppingGuide) -> None:
    clicked = some_ids(guide, 3)
    events = [Event(one, Deed.CLICK, at=NOW - timedelta(days=1)) for one in clicked]
    found = guide.recommend(events, k=100, now=NOW)
    assert set(clicked) & {one.product.id for one in found}
    assert all(one.because is None or one.because.id != one.product.id for one in found)
    assert all(one.reason is not Reason.AGAIN for one in found)


def test_the_oldest_of_times_is_no_trouble(guide: ShoppingGuide) -> None:
    long_ago = [Event(some_ids(guide, 1)[0], at=datetime(1, 1, 1, tzinfo=UTC))]
    assert len(guide.recommend(long_ago, k=5, now=NOW)) == 5


def test_filters_and_stock_hold(guide: ShoppingGuide) -> None:
    mine = bought(guide, *some_ids(guide, 3))
    found = guide.recommend(mine, k=30, now=NOW, filters=parse_filters(["price<=15"]))
    assert found
    assert all(one.product.price is not None and one.product.price <= 15 for one in found)
    sold_out = guide.search("mug", k=1, filters=parse_filters(["in_stock=false"])).hits
    everything = guide.recommend(mine, k=100, now=NOW)
    assert sold_out
    assert all(one.product.in_stock is not False for one in everything)


def test_unknown_products_are_passed_over(guide: ShoppingGuide) -> None:
    assert guide.recommend([Event("no such thing")], k=3, now=NOW) == guide.recommend(
        [], k=3, now=NOW
    )


def test_products_go_together(guide: ShoppingGuide) -> None:
    (one,) = some_ids(guide, 1)
    similar, complements = guide.similar(one, k=5), guide.complements(one, k=5)
    assert len(similar) == 5
    assert complements
    own = guide.product(one)
    assert own.category[0] in {product.category[0] for product in similar}
    for product in (*similar, *complements):
        assert product.id != one
        assert product.group_id != own.group_id or not own.group_id
    with pytest.raises(ProductNotFoundError):
        guide.similar("no such thing")


def test_the_next_index_run_keeps_it(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store, tmp_path / "store")
    before = ShoppingGuide.open(tmp_path / "store", Settings())
    lines = (DEMO / "products.jsonl").read_text(encoding="utf-8").splitlines()
    shorter = tmp_path / "products.jsonl"
    shorter.write_text("\n".join(lines[5:]), encoding="utf-8")
    index_catalog(shorter, tmp_path / "store", IndexOptions(threads=2))
    after = ShoppingGuide.open(tmp_path / "store", Settings())
    assert after.snapshot.id != before.snapshot.id
    assert after.recommend(bought(after, *some_ids(after, 2)), k=5, now=NOW)
    assert after.recommender.stored is not None


def test_a_damaged_one_is_left_out_and_that_is_said(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store, tmp_path / "store")
    before = ShoppingGuide.open(tmp_path / "store", Settings()).snapshot
    with (before.folder / "behaviour" / "numbers.npy").open("r+b") as file:
        file.seek(200)
        file.write(b"\xff")
    report = index_catalog(DEMO / "products.jsonl", tmp_path / "store", IndexOptions(threads=2))
    assert report.lost == ("behaviour",)
    after = ShoppingGuide.open(tmp_path / "store", Settings())
    assert after.recommender.stored is None
    assert after.recommend([], k=3)


def test_one_of_another_daogou_is_refused(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store.parent / "behaviour", tmp_path / "behaviour")
    path = tmp_path / "behaviour" / "behaviour.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"trend"', '"moon"'), "utf-8")
    with pytest.raises(ModelError, match="other features"):
        publish(store, behaviour=tmp_path / "behaviour")


def test_without_purchases_texts_speak(shop_store: Path) -> None:
    guide = ShoppingGuide.open(shop_store, Settings())
    found = guide.recommend([Event("h1")], k=3, now=NOW)
    assert found[0].product.id == "h2"
    assert found[0].because is not None
    assert "h1" not in {one.product.id for one in found}
    assert guide.recommend([], k=1)[0].product.id == "k1"  # rated most
    with pytest.raises(StageUnavailableError, match="daogou train recommend"):
        guide.complements("k1")


def test_records_of_another_shop_are_refused(tmp_path: Path, shop_store: Path) -> None:
    with pytest.raises(TrainingError, match="same ids"):
        train_recommend(shop_store, PURCHASES, tmp_path / "out")
    write_catalog(tmp_path / "catalog.jsonl")
    few = tmp_path / "few.csv"
    few.write_text(
        "user_id,order_id,product_id,timestamp\nu,o,k1,2026-01-01\nu,p,k2,2026-09-01\n",
        encoding="utf-8",
    )
    with pytest.raises(TrainingError, match="too few"):
        train_recommend(shop_store, few, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_else_is_refused_before_any_work(
    store: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"holds 'notes\.txt'"):
        train_recommend(tmp_path / "none", PURCHASES, tmp_path)
    former = shutil.copytree(store.parent / "behaviour", tmp_path / "former")
    with pytest.raises(SnapshotError, match="none"):  # what it read next
        train_recommend(tmp_path / "none", PURCHASES, former)


def test_a_model_says_what_it_is(store: Path) -> None:
    guide = ShoppingGuide.open(store, Settings())
    behaviour = open_behaviour(guide.snapshot.folder / "behaviour")
    assert behaviour.info.items == len(behaviour.ids) == len(behaviour.popularity)
    text = "".join(
        path.read_text(encoding="utf-8", errors="replace")
        for path in (guide.snapshot.folder / "behaviour").iterdir()
    )
    records = read_purchases(store.parent / "late.csv")
    assert set(records["item"]) == set(behaviour.ids)
    assert not [name for name in set(records["user"]) | set(records["order"]) if name in text]


def test_an_evaluation_beats_what_sells(store: Path) -> None:
    records = read_purchases(PURCHASES)
    records = records[records["at"] >= np.datetime64(SINCE)]
    snapshot = ShoppingGuide.open(store, Settings()).snapshot

    def texts_of(ids: Sequence[str]) -> Vectors:
        rows = snapshot.products.rows_of(ids)
        found: Vectors = snapshot.vectors[np.array(rows, dtype=np.int64)].astype(np.float32)
        return found

    cut = records["at"].max() - np.timedelta64(30, "D")
    train, test = records[records["at"] < cut], records[records["at"] >= cut]
    found = to_json(evaluate_recommend(train, test, texts_of, threads=1))
    assert (
        found["methods"][OURS]["ndcg@20"]["mean"]
        > found["methods"]["popularity"]["ndcg@20"]["mean"]
    )
    assert 0 < found["methods"][OURS]["coverage"] <= 1
    assert set(found["ratios"]) == set(found["methods"]) - {OURS}
    with pytest.raises(EvaluationError, match="Split the records by time"):
        evaluate_recommend(test, train, texts_of)


def test_orders_numbered_for_each_shopper_are_not_taken_for_one(tmp_path: Path) -> None:
    rows = [f"u{who},{order},p{who}{order},2026-01-0{order}" for who in "abcd" for order in (1, 2)]
    table = tmp_path / "orders.csv"
    table.write_text("user_id,order_id,product_id,timestamp\n" + "\n".join(rows) + "\n", "utf-8")
    behaviour = sum_up(read_purchases(table), until=pd.Timestamp("2026-02-01"), name="orders")
    assert behaviour.info.orders == 8
    assert (behaviour.by_basket.items < 0).all()  # nothing was bought with anything


def test_orders_numbered_for_each_shopper_are_counted_for_the_peer_of_new_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"u{who},1,kettle,2026-01-01,red kettle" for who in "abcd"]
    rows += ["ua,1,kettle,2026-01-01,red kettle", "ua,2,mug,2026-01-02,mug"]
    header = "user_id,order_id,product_id,timestamp,title"
    for name, lines in (("train", rows), ("test", ["ua,3,new,2026-03-01,red mug"])):
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *lines]), "utf-8")
    train, test = (read_purchases(tmp_path / f"{name}.csv") for name in ("train", "test"))
    counted: list[list[float]] = []

    def peer(fresh: Sequence[str], titles: Sequence[str], sold: NDArray[np.float64]) -> Vectors:
        counted.append(sold.tolist())
        return np.zeros(len(fresh), np.float32)

    monkeypatch.setattr(measured, "fresh_by_bm25", peer)
    behaviour = sum_up(train, until=pd.Timestamp("2026-02-01"), name="orders")
    vectors: Vectors = np.eye(2, dtype=np.float32)

    def texts_of(ids: Sequence[str]) -> Vectors:
        return vectors[: len(ids)]

    found = measured._fresh(train, test, behaviour, vectors, texts_of)
    assert found is not None
    assert counted == [[4.0, 1.0]]


@pytest.mark.parametrize("looked_at", [None, 1])
def test_under_a_filter_there_are_as_many_as_the_shelf_has(
    guide: ShoppingGuide, monkeypatch: pytest.MonkeyPatch, looked_at: int | None
) -> None:
    """What sells is looked for under the filter, not filtered afterwards; and explained."""
    if looked_at:  # where each product has many variants, so few are not enough
        monkeypatch.setattr("engine.guide.recommend._HEAD", looked_at)
        monkeypatch.setattr("engine.guide.recommend._FRESH_POOL", looked_at)
    groups: dict[str, set[str]] = defaultdict(set)
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, product in enumerate(guide.snapshot.products):
        rows_of[product.brand].append(row)
        if product.in_stock is not False:
            groups[product.brand].add(product.group_id or product.id)
    brands = [brand for brand, known in groups.items() if len(known) >= 10]
    assert len(brands) > 5
    for brand in brands:
        allowed = RowSet.of(np.array(rows_of[brand]), len(guide.snapshot))
        for events in ([], bought(guide, *some_ids(guide, 1))):
            found = guide.recommender.recommend(events, k=9, allowed=allowed, now=NOW, explain=True)
            assert len(found) == 9
            assert {one.product.brand for one in found} == {brand}


def test_among_new_products_alone_there_is_nothing_to_explain(guide: ShoppingGuide) -> None:
    stored = guide.recommender.stored
    assert stored is not None
    new = RowSet.of(np.flatnonzero(stored.item_of < 0)[:20], len(guide.snapshot))
    found = guide.recommender.recommend([], k=3, allowed=new, now=NOW, explain=True)
    assert len(found) == 3
    assert {one.reason for one in found} == {Reason.NEW}
    assert not any(one.features for one in found)
