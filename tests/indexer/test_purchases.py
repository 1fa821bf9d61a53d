from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.errors import CatalogError
from engine.guide.history import Deed
from engine.guide.records import events_of
from indexer.purchases import read_purchases

OURS = """user_id,order_id,product_id,timestamp,quantity,price,event
u1,o1,p1,2026-01-02T10:00:00Z,2,5.0,purchase
u1,o1,p2,2026-01-02T10:00:00Z,1,3.0,purchase
u2,o2,p1,2026-01-01T10:00:00+02:00,1,5.0,purchase
u2,o3,p1,2026-01-05,1,5.0,return
,o4,p1,2026-01-05,1,5.0,purchase
"""
ONLINE_RETAIL = """InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
1,85123A,HEART HOLDER,6,2010-12-01 08:26:00,2.55,17850,UK
1,POST,POSTAGE,1,2010-12-01 08:26:00,18.0,17850,UK
C2,85123A,HEART HOLDER,-6,2010-12-02 08:26:00,2.55,17850,UK
3,22633,WARMER,6,2010-12-03 08:26:00,0.0,17850,UK
4,22633,WARMER,6,2010-12-03 08:26:00,1.85,,UK
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "purchases.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_purchases_are_read_oldest_first(tmp_path: Path) -> None:
    found = read_purchases(write(tmp_path, OURS))
    assert found["order"].tolist() == ["o2", "o1", "o1"]
    assert found["quantity"].tolist() == [1, 2, 1]
    assert str(found["at"].iloc[0]) == "2026-01-01 08:00:00"


@pytest.mark.parametrize("layout", ["auto", "online-retail"])
def test_online_retail_is_read_as_it_is(tmp_path: Path, layout: str) -> None:
    found = read_purchases(write(tmp_path, ONLINE_RETAIL), layout)
    assert found[["user", "item", "title"]].to_numpy().tolist() == [
        ["17850", "85123A", "HEART HOLDER"]
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "no column user_id, order_id, product_id, timestamp. It has: a, b"),
        (OURS.replace("2026-01-05,1", "yesterday,1", 1), "row 4, timestamp: 'yesterday'"),
        (OURS.replace(",2,5.0", ",two,5.0"), "row 1, quantity: 'two'"),
        (OURS.replace("2026-01-05,1", "13/12/2010,1", 1), "row 4, .*13/12/2010.* month first"),
        ("user_id,order_id,product_id,timestamp\nu,o,p,1291191960\n", "row 1, timestamp: .*1291"),
        (OURS.replace("purchase\n", "click\n"), "no purchase"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        read_purchases(write(tmp_path, text))


def test_shoppers_that_became_numbers_are_the_same(tmp_path: Path) -> None:
    text = ONLINE_RETAIL.replace(",17850,", ",17850.0,")
    assert read_purchases(write(tmp_path, text))["user"].tolist() == ["17850"]


def test_orders_without_a_name_are_those_of_one_moment(tmp_path: Path) -> None:
    text = OURS.replace(",o1,", ",,").replace(",o2,", ",,")
    orders = read_purchases(write(tmp_path, text))["order"].tolist()
    assert orders[1] == orders[2] != orders[0]


def test_a_price_that_is_missing_costs_no_row(tmp_path: Path) -> None:
    text = OURS.replace("u2,o2,p1,2026-01-01T10:00:00+02:00,1,5.0", "u2,o2,p1,2026-01-01,,")
    found = read_purchases(write(tmp_path, text))
    assert found["price"].tolist() == [5.0, 5.0, 3.0]
    assert found["quantity"].tolist() == [1, 2, 1]


def test_ids_are_texts(tmp_path: Path) -> None:
    path = write(tmp_path, OURS.replace("p1", "007").replace("p2", "008").replace("u2", "09"))
    assert {one.product_id for one in events_of(path, "09")} == {"007"}
    assert set(read_purchases(path)["item"]) == {"007", "008"}


def test_an_event_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, OURS.replace("2026-01-01T10:00:00+02:00", "New Year"))
    with pytest.raises(CatalogError, match=r"order o2, product p1: .*New Year"):
        events_of(path, "u2")


def test_events_that_tell_nothing_here_are_left_out_as_in_training(tmp_path: Path) -> None:
    path = write(tmp_path, OURS.replace("return\n", "view\n"))
    assert [one.deed for one in events_of(path, "u2")] == [Deed.PURCHASE]


@pytest.mark.parametrize("written", ["12/1/2010 8:26", "2010-12-01 08:26:00", "2010-12-01T08:26"])
def test_a_moment_is_read_as_in_training(tmp_path: Path, written: str) -> None:
    path = write(tmp_path, OURS.replace("2026-01-01T10:00:00+02:00", written))
    at = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
    assert at in {one.at for one in events_of(path, "u2")}
    assert at.replace(tzinfo=None) in set(read_purchases(path)["at"])


def test_a_shopper_written_as_a_number_is_the_same_one(tmp_path: Path) -> None:
    path = write(tmp_path, OURS.replace("u2", "17850.0"))
    assert len(events_of(path, "17850")) == len(events_of(path, "17850.0")) == 2


def test_shoppers_whose_names_end_like_numbers_stay_apart(tmp_path: Path) -> None:
    path = write(tmp_path, OURS.replace("u1", "v1").replace("u2", "v1.0"))
    assert {one.order_id for one in events_of(path, "v1")} == {"o1"}
    assert {one.order_id for one in events_of(path, "v1.0")} == {"o2", "o3"}
    assert set(read_purchases(path)["user"]) == {"v1", "v1.0"}


@pytest.mark.parametrize("name", ["NA", "null", "NULL", "nan", "None"])
def test_an_id_may_be_any_word(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, OURS.replace("u2", name).replace("p1", name))
    assert [one.product_id for one in events_of(path, name)] == [name, name]
    found = read_purchases(path)
    assert set(found["user"]) == {"u1", name}
    assert set(found["item"]) == {"p2", name}
    retail = ONLINE_RETAIL.replace("17850", name)
    assert events_of(write(tmp_path, retail), name)
    assert set(read_purchases(path)["user"]) == {name}


def test_other_cells_that_say_that_they_hold_nothing_do(tmp_path: Path) -> None:
    text = OURS.replace("u2,o2,p1,2026-01-01T10:00:00+02:00,1,5.0,purchase", "u2,NA,p1,NA,NA,NA,NA")
    path = write(tmp_path, text.replace("u1,o1", "u1,NULL"))
    first = events_of(path, "u2")[0]
    assert (first.deed, first.at, first.quantity) == (Deed.PURCHASE, None, 1)
    assert first.order_id == ""
    assert read_purchases(path)["order"].str.contains("u1 2026").all()


@pytest.mark.parametrize("empty", ["", '""'])
def test_a_line_without_a_shopper_is_nobodys(tmp_path: Path, empty: str) -> None:
    path = write(tmp_path, OURS.replace(",o4,", f"{empty},o4,"))
    assert events_of(path, "") == []
    assert set(read_purchases(path)["user"]) == {"u1", "u2"}


def test_two_columns_that_mean_the_same_are_named(tmp_path: Path) -> None:
    said = "columns user_id and CustomerID, which mean the same. Delete or rename"
    path = write(tmp_path, OURS.replace("\n", ",7\n").replace("event,7", "event,CustomerID"))
    with pytest.raises(CatalogError, match=said):
        events_of(path, "u1")
    text = "".join(f"17850,{line}\n" for line in ONLINE_RETAIL.splitlines())
    path = write(tmp_path, text.replace("17850,Invoice", "user_id,Invoice"))
    for read in (read_purchases, lambda path: events_of(path, "17850")):
        with pytest.raises(CatalogError, match=said):
            read(path)


def test_columns_that_are_not_read_may_be_called_alike(tmp_path: Path) -> None:
    path = write(tmp_path, OURS.replace("\n", ",7\n").replace("event,7", "event,UnitPrice"))
    assert len(events_of(path, "u1")) == 2


def test_an_unknown_format_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="may be: auto, daogou, online-retail"):
        read_purchases(write(tmp_path, OURS), "excel")


def test_one_shoppers_events(tmp_path: Path) -> None:
    path = write(tmp_path, OURS)
    found = events_of(path, "u2")
    assert [(one.product_id, one.deed) for one in found] == [
        ("p1", Deed.PURCHASE), ("p1", Deed.RETURN),
    ]  # fmt: skip
    assert events_of(path, "nobody") == []


def test_a_negative_quantity_is_a_return(tmp_path: Path) -> None:
    found = events_of(write(tmp_path, ONLINE_RETAIL), "17850")
    assert Deed.RETURN in {one.deed for one in found}
    assert all(one.quantity > 0 for one in found)


def test_days_and_months_are_in_one_order_in_a_whole_table(tmp_path: Path) -> None:
    text = "user_id,order_id,product_id,timestamp\n"
    text += "u,1,p,01/12/2010 08:26\nu,2,p,12/13/2010 09:00:30\nu,3,p,2010-12-14T09:00:00+02:00\n"
    found = read_purchases(write(tmp_path, text))["at"]
    assert found.astype(str).tolist() == [
        "2010-01-12 08:26:00",
        "2010-12-13 09:00:30",
        "2010-12-14 07:00:00",
    ]
