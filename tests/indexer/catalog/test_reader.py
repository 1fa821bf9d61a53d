"""One catalog, whatever the file: columns become fields, the rest attributes, row by row."""

from __future__ import annotations

import datetime
import json
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from engine.errors import CatalogError
from engine.types import Product
from indexer.catalog import RejectLog, duplicates, read_catalog
from tests.indexer.catalog.catalogs import read, write_jsonl
from tests.shop import PRODUCTS, write_catalog

BROKEN = pyarrow.Array.from_buffers(
    pyarrow.string(), 2, pyarrow.array([b"Mug", b"Caf\xe9"], pyarrow.binary()).buffers()
)
WHOLE = pyarrow.array(["a", "b"])


def write_parquet(path: Path, **columns: object) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=2)
    return path


def test_products_come_back_as_they_were_written(tmp_path: Path) -> None:
    assert read(write_catalog(tmp_path / "shop.jsonl")).products == list(PRODUCTS)


def test_parquet_keeps_types_and_nulls_are_absent(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "shop.parquet",
        id=[7, 8, None],
        title=["Mug", "Pan", "Lid"],
        price=[Decimal("12.50"), None, None],
        category=[["Kitchen", "Cups"], [], None],
        created_at=[datetime.datetime(2026, 5, 12, 11, 36), None, None],
        gtin=pyarrow.array(["0095", None, None]).dictionary_encode(),
        rating=[float("nan"), 4.5, None],
        watts=pyarrow.array([5, None, None], pyarrow.int16()),
        wireless=[True, False, None],
        size=[{"width": 1.5, "unit": "in"}, None, None],
        tags=[["new", "red"], None, None],
        seen=pyarrow.array([1, None, None], pyarrow.timestamp("ns")),
        far=pyarrow.array([10**15, None, None], pyarrow.timestamp("s")),
        __index_level_0__=[0, 1, 2],
    )
    outcome = read(path)
    mug, pan = outcome.products
    assert mug.to_dict() == {
        "id": "7", "title": "Mug", "price": 12.5, "category": ["Kitchen", "Cups"],
        "created_at": "2026-05-12T11:36:00", "gtin": "0095",
        "attributes": {
            "watts": 5, "wireless": True, "size.width": 1.5, "size.unit": "in",
            "tags": ["new", "red"], "seen": "1970-01-01T00:00:00",
            "far": mug.attributes["far"],
        },
    }  # fmt: skip
    assert pan.to_dict() == {
        "id": "8", "title": "Pan", "rating": 4.5, "attributes": {"wireless": False},
    }  # fmt: skip
    assert [(entry["row"], entry["reason"]) for entry in outcome.rejects] == [(3, "missing id")]


def test_parquet_times_and_durations_become_text(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "shop.parquet",
        id=["a"],
        title=["Mug"],
        opens=[datetime.time(9, 0)],
        brews=[datetime.timedelta(minutes=4)],
        cools=pyarrow.array([1_500_000_001], pyarrow.duration("ns")),
        hours=[[datetime.time(9, 0), datetime.time(17, 30)]],
    )
    outcome = read(path)
    assert outcome.rejects == []
    assert outcome.products[0].attributes == {
        "opens": "09:00:00", "brews": "0:04:00", "cools": "0:00:01.500000",
        "hours": ["09:00:00", "17:30:00"],
    }  # fmt: skip


def test_numbers_of_single_precision_are_those_that_were_written(tmp_path: Path) -> None:
    single = pyarrow.float32()
    path = write_parquet(
        tmp_path / "shop.parquet",
        id=["a", "b", "c"],
        title=["Mug", "Pan", "Lid"],
        price=pyarrow.array([19.99, None, 1234567.9], single),
        rating=pyarrow.array(np.array([4.3, np.nan, 5], np.float16)),
        depth=pyarrow.array(np.array([0.1, 0.1, 0.1], np.float16), mask=np.array([0, 1, 0], bool)),
        width=pyarrow.array([0.1, float("inf"), 16777216], single),
        size=pyarrow.array([{"x": 0.1, "y": 0.1}, None, {"x": None}],
                           pyarrow.struct({"x": single, "y": pyarrow.float64()})),
        sizes=pyarrow.array([[0.1, None, 2.7], None, []], pyarrow.list_(single)),
        pair=pyarrow.array([[0.1, 0.2], None, None], pyarrow.list_(single, 2)),
        attributes=pyarrow.array([[("weight", 0.3)], None, []],
                                 pyarrow.map_(pyarrow.string(), single)),
    )  # fmt: skip
    outcome = read(path)
    assert outcome.rejects == []
    mug, pan, lid = outcome.products
    assert (mug.price, pan.price, lid.price) == (19.99, None, 1234567.9)
    assert (mug.rating, pan.rating, lid.rating) == (4.3, None, 5.0)
    assert mug.attributes == {
        "weight": 0.3, "depth": 0.1, "width": 0.1, "size.x": 0.1, "size.y": 0.1,
        "sizes": ["0.1", "2.7"], "pair": ["0.1", "0.2"],
    }  # fmt: skip
    assert pan.attributes == {"width": "inf"}
    assert lid.attributes == {"depth": 0.1, "width": 16777216.0}


@pytest.mark.parametrize("name", ["id", "title", "brand", "description", "category", "fabric"])
def test_parquet_text_that_is_not_utf8_costs_its_row_alone(tmp_path: Path, name: str) -> None:
    columns = {"id": pyarrow.array(["a", "b"]), "title": pyarrow.array(["Mug", "Pan"])}
    path = write_parquet(tmp_path / "shop.parquet", **columns | {name: BROKEN})
    outcome = read(path)
    assert len(outcome.products) == 1
    assert [(entry["row"], entry["field"], entry["reason"]) for entry in outcome.rejects] == [
        (2, name, "bad encoding")
    ]


@pytest.mark.parametrize(
    ("name", "values", "field"),
    [
        ("brand", BROKEN.dictionary_encode(), "brand"),
        ("bullet_points", pyarrow.ListArray.from_arrays([0, 1, 2], BROKEN), "bullet_points"),
        ("category", pyarrow.ListArray.from_arrays([0, 1, 2], BROKEN), "category"),
        ("fabric", pyarrow.ListArray.from_arrays([0, 1, 2], BROKEN), "fabric"),
        ("size", pyarrow.StructArray.from_arrays([BROKEN], ["unit"]), "size.unit"),
        ("attributes", pyarrow.MapArray.from_arrays([0, 1, 2], WHOLE, BROKEN), "b"),
        ("attributes", pyarrow.MapArray.from_arrays([0, 1, 2], BROKEN, WHOLE), "attributes"),
    ],
)
def test_so_it_does_in_dictionaries_lists_and_objects(
    tmp_path: Path, name: str, values: pyarrow.Array, field: str
) -> None:
    path = write_parquet(tmp_path / "shop.parquet", id=WHOLE, title=WHOLE, **{name: values})
    outcome = read(path)
    assert outcome.ids == ["a"]
    assert [(entry["row"], entry["field"]) for entry in outcome.rejects] == [(2, field)]


def test_mapping_names_the_column_of_a_field(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    path.write_text("code,name,title,cost\n1,Kettle,Dr.,12\n2,Mug,,\n")
    outcome = read(path, mapping={"id": "code", "sku": "code", "title": "name", "price": "cost"})
    assert outcome.products == [
        Product(id="1", sku="1", title="Kettle", price=12.0, attributes={"title": "Dr."}),
        Product(id="2", sku="2", title="Mug"),
    ]


def test_the_exact_name_of_a_column_wins(tmp_path: Path) -> None:
    row = {"Title": "loud", "ID": "1", "title": "Kettle", "Rating Count": 5}
    (kettle,) = read(write_jsonl(tmp_path / "shop.jsonl", row)).products
    assert kettle == Product(id="1", title="Kettle", rating_count=5, attributes={"Title": "loud"})


def test_of_two_columns_for_one_field_none_is_lost(tmp_path: Path) -> None:
    row = {"id": "1", "title": "Kettle", "Brand": "Emberly", "BRAND": "Norrland"}
    (kettle,) = read(write_jsonl(tmp_path / "shop.jsonl", row)).products
    assert (kettle.brand, kettle.attributes) == ("Emberly", {"BRAND": "Norrland"})


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"product_id": "1", "name": "Kettle"}, {}),
        ({"id": "1", "Product Name": "Kettle"}, {}),
        ({"id": "1", "title": "Kettle", "name": "K1"}, {"attributes": {"name": "K1"}}),
        ({"id": "1", "title": "Kettle", "short_description": "Hot."}, {"description": "Hot."}),
        (
            {"id": "1", "title": "Kettle", "short_description": "Hot.", "body_html": "<p>Long</p>"},
            {"description": "Long", "bullet_points": ("Hot.",)},
        ),
        (
            {"id": "1", "title": "Kettle", "description": "", "summary": "Boils."},
            {"attributes": {"summary": "Boils."}},
        ),
        ({"id": "1", "title": "Kettle", "Manufacturer": "Emberly"}, {"brand": "Emberly"}),
        ({"id": "1", "title": "Kettle", "vendor": "E", "brand": "B"},
         {"brand": "B", "attributes": {"vendor": "E"}}),
        ({"id": "1", "title": "Kettle", "vendor": "E", "manufacturer": "M"},
         {"brand": "M", "attributes": {"vendor": "E"}}),
        ({"id": "1", "title": "Kettle", "product_type": "Kitchen > Kettles"},
         {"category": ("Kitchen", "Kettles")}),
    ],
)  # fmt: skip
def test_columns_that_are_often_called_otherwise_feed_what_they_mean(
    tmp_path: Path, row: dict[str, object], expected: dict[str, Any]
) -> None:
    (kettle,) = read(write_jsonl(tmp_path / "shop.jsonl", row)).products
    assert kettle == Product(id="1", title="Kettle", **expected)


def test_what_is_mapped_goes_before_what_is_often_meant(tmp_path: Path) -> None:
    row = {"id": "1", "name": "K1", "label": "Kettle", "vendor": "E"}
    path = write_jsonl(tmp_path / "shop.jsonl", row)
    (kettle,) = read(path, mapping={"title": "label", "color": "vendor"}).products
    assert kettle == Product(id="1", title="Kettle", color="E", attributes={"name": "K1"})


@pytest.mark.parametrize(
    ("header", "mapping", "layout", "message"),
    [
        ("sku,title", {}, "auto", r"for the id\. Name it with --map id=sku\. Its columns: sku"),
        ("id,label", {}, "auto", "--map title=label"),
        ("id,titel", {}, "auto", "--map title=titel"),
        ("id,x", {}, "auto", "--map title=COLUMN"),
        ("id,title", {"titel": "x"}, "auto", "Did you mean title"),
        ("id,title", {"brand": "maker"}, "auto", "no column 'maker', which --map brand=maker"),
        ("id,title", {}, "amazon", "no format 'amazon'. Choose auto"),
        ("id,title", {}, "esci", "no column 'product_id': it is not in the esci layout"),
        ("product_id,product_title", {}, "auto", "Read it with --format esci"),
    ],
)  # fmt: skip
def test_columns_that_do_not_fit_are_a_clear_error(
    tmp_path: Path, header: str, mapping: dict[str, str], layout: str, message: str
) -> None:
    path = tmp_path / "shop.csv"
    path.write_text(f"{header}\n1,2\n")
    with pytest.raises(CatalogError, match=message):
        read(path, layout, mapping)


def test_what_is_asked_wrongly_is_said_at_once(tmp_path: Path) -> None:
    with RejectLog(None) as rejects, pytest.raises(CatalogError, match="does not exist"):
        read_catalog(tmp_path / "none.csv", rejects=rejects)


def test_a_mapped_column_that_no_json_line_has_is_an_error(tmp_path: Path) -> None:
    rows = [{"id": str(number), "title": "Mug"} for number in range(30)]
    path = write_jsonl(tmp_path / "late.jsonl", *rows, {"id": "x", "title": "Pan", "maker": "Em"})
    assert read(path, mapping={"brand": "maker"}).products[-1].brand == "Em"
    with pytest.raises(CatalogError, match="no row has 'producer'"):
        read(path, mapping={"brand": "producer"})


def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "_MOST_HELD", 500)  # they are held up to a bound

    def peak(rows: int) -> int:
        path = tmp_path / "shop.csv"
        with path.open("w", encoding="utf-8") as file:
            file.write("id,title,description\n")
            file.writelines(f"{n},Mug {n},{'warm ' * 40}\n" for n in range(rows))
        with RejectLog(None) as rejects:
            tracemalloc.start()
            count = sum(1 for _ in read_catalog(path, rejects=rejects))
            _, highest = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert count == rows
        return highest

    small, large = peak(1_000), peak(20_000)  # 0.2 and 4 MiB of text
    assert large < small + (256 << 10)


WANDS_HEADER = (
    "product_id\tproduct_name\tproduct_class\tcategory hierarchy\tproduct_description\t"
    "product_features\trating_count\taverage_rating\treview_count\n"
)


def test_wands(tmp_path: Path) -> None:
    (tmp_path / "product.csv").write_text(
        WANDS_HEADER
        + '0\toak stool 12" high\tStools\tFurniture / Seating / Stools\tA low stool .\t'
        "seatheight:12|material : oak|color: brown|color:black|color : brown|assembled:yes|"
        "ratio:1:2|"
        "\t15.0\t4.5\t13.0\n" + "1\tpine shelf\t\t\t\t\t\t\t\n"
    )
    (tmp_path / "query.csv").write_text("query_id\tquery\tquery_class\n0\tstool\tStools\n")
    outcome = read(tmp_path, "wands")
    stool, shelf = outcome.products
    assert stool.to_dict() == {
        "id": "0", "title": 'oak stool 12" high', "description": "A low stool .",
        "category": ["Furniture", "Seating", "Stools"], "rating": 4.5, "rating_count": 15,
        "attributes": {
            "seatheight": 12, "material": "oak", "color": ["brown", "black"], "assembled": "yes",
            "ratio": "1:2", "product_class": "Stools", "review_count": 13.0,
        },
    }  # fmt: skip
    assert shelf == Product(id="1", title="pine shelf")
    assert outcome.rejects == []


def write_esci(folder: Path) -> None:
    write_parquet(
        folder / "shopping_queries_products.parquet",
        product_id=["B01", "B02", "B01"],
        product_title=["Desk lamp", "Lámpara", "卓上ライト"],
        product_description=["<p>Bright &amp; small</p>", None, None],
        product_bullet_point=["Dims\nFolds", None, None],
        product_brand=["Lumo", None, None],
        product_color=["black", None, None],
        product_locale=["us", "es", "jp"],
    )
    write_parquet(folder / "shopping_queries_examples.parquet", query=["lamp"])


def test_esci(tmp_path: Path) -> None:
    write_esci(tmp_path)
    assert read(tmp_path, "esci").products == [
        Product(
            id="B01", title="Desk lamp", description="Bright & small", brand="Lumo", color="black",
            bullet_points=("Dims", "Folds"),
        )
    ]  # fmt: skip
    assert read(tmp_path, "esci:jp").products == [Product(id="B01", title="卓上ライト")]
    with pytest.raises(CatalogError, match="product_locale 'fr'"):
        read(tmp_path, "esci:fr")


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "count"), [("esci", 6_764), ("icecat", 19_406), ("fashion", 2_766)]
)
def test_shared_data_is_read_without_a_reject(shared_data: Path, name: str, count: int) -> None:
    with RejectLog(None) as rejects:
        products = list(read_catalog(shared_data / name / "products.parquet", rejects=rejects))
    assert (len(products), rejects.total) == (count, 0)
    assert all(json.dumps(product.to_dict(), allow_nan=False) for product in products)
    if name == "icecat":
        assert products[0].attributes["ean"] == ["0095205603217"]
        assert products[0].attributes["name"] == "006R90321"
        assert products[0].attributes["quantity per pack"] == 6.0
