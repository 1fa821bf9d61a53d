"""The demo catalog is what its material gives, agrees with itself, and is large enough."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter, defaultdict
from datetime import date
from functools import cache
from typing import Any

import pytest

from tests.demo_catalog.generate import TARGET, files
from tests.demo_catalog.material import read_types
from tests.demo_catalog.products import build, check_digit, measures

Row = dict[str, Any]

_QUANTITY = re.compile(
    r"(?<![\d.,/-])(\d+(?:\.\d+)?)[ -]?"
    r"(?:L|qt|fl oz|oz|lb|W|V|mAh|GB|TB|Hz|ft|inch|in|mm|ml|kg|g|mg|"
    r"Count|Pack|Piece|Person|Cup|Rolls|Pairs|lumens)\b(?!-)"
)


@cache
def products() -> tuple[Row, ...]:
    lines = (TARGET / "products.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(json.loads(line) for line in lines)


@cache
def by_id() -> dict[str, Row]:
    return {row["id"]: row for row in products()}


@cache
def groups() -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in products():
        if "group_id" in row:
            found[row["group_id"]].append(row)
    return found


@cache
def purchases() -> tuple[dict[str, str], ...]:
    with (TARGET / "purchases.csv").open(encoding="utf-8", newline="") as lines:
        return tuple(csv.DictReader(lines))


@cache
def judgments() -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for line in (TARGET / "qrels.txt").read_text(encoding="utf-8").splitlines():
        query, _, product, grade = line.split(" ")
        assert product not in found[query], f"{query} judges {product} twice"
        found[query][product] = int(grade)
    return found


def product_of(title: str) -> Row:
    return next(row for row in products() if row["title"] == title)


def test_generating_again_gives_the_same_bytes() -> None:
    for name, text in files().items():
        stored = (TARGET / name).read_bytes()
        assert stored == text.encode(), f"{name}: run `python -m tests.demo_catalog.generate`"


def test_there_is_enough_of_everything() -> None:
    assert 1_000 <= len(products()) <= 2_000
    assert (TARGET / "products.jsonl").stat().st_size < 2_500_000
    assert len({row["category"][0] for row in products()}) >= 12
    assert len({tuple(row["category"]) for row in products()}) >= 245
    assert len(groups()) >= 200
    assert sum(row["category"][1] == "International" for row in products()) >= 12
    assert sum(bool(re.search(r"[぀-ヿ一-鿿]", row["title"])) for row in products()) >= 10


def test_ids_skus_and_gtins_are_unique_and_valid() -> None:
    for name in ("id", "sku", "gtin"):
        values = [row[name] for row in products()]
        assert len(set(values)) == len(values), name
    for row in products():
        assert re.fullmatch(r"2\d{12}", row["gtin"]), row["id"]  # 2…: numbers for in-house use
        assert row["gtin"][-1] == check_digit(row["gtin"][:-1])


def test_check_digit_follows_the_standard() -> None:
    assert check_digit("400638133393") == "1"  # the example of the EAN-13 article everyone cites


def test_fields_have_their_types() -> None:
    for row in products():
        assert row["price"] > 0
        assert row["currency"] == "USD"
        assert isinstance(row["in_stock"], bool)
        assert ("rating" in row) == ("rating_count" in row)
        assert 1 <= row.get("rating", 5) <= 5
        assert 2 <= len(row["category"]) <= 4
        assert "{" not in row["title"]
        kinds = {type(value) for value in row["attributes"].values()}
        assert kinds <= {str, int, float, bool, list}, row["id"]


def test_variants_share_a_title_stem_and_differ_in_what_identifies_them() -> None:
    for name, rows in groups().items():
        assert len(rows) > 1, name
        assert len({row["title"] for row in rows}) == len(rows), name
        first, last = min(row["title"] for row in rows), max(row["title"] for row in rows)
        stem = [a for a, b in zip(first.split(), last.split(), strict=False) if a == b]
        assert len(stem) >= 2, name
        assert len({(row["brand"], tuple(row["category"])) for row in rows}) == 1, name


def test_numbers_in_titles_are_in_the_attributes() -> None:
    checked = 0
    for row in products():
        known = {float(v) for v in row["attributes"].values() if type(v) in {int, float}}
        for number in _QUANTITY.findall(row["title"]):
            checked += 1
            assert float(number) in known, f"{row['title']}: {number} in {row['attributes']}"
    assert checked > 400


@pytest.mark.parametrize(
    ("title", "attribute", "value"),
    [
        ("Bramwick Electric Kettle 1.7 L, Stainless Steel, Matte Black", "capacity_l", 1.7),
        ("Pellucca Porcelain Tea Cup without Handle, 7 oz, White", "handle", False),
        ("Colby Stroud No-Buckle Elastic Belt for Men, Black", "buckle", False),
        ("Pressaro TK-4410 Black Toner Cartridge", "model_number", "TK-4410"),
        ("Brontek 20V Cordless Drill Driver Kit, 1/2 in Chuck", "chuck_in", 0.5),
        ("Duskwell Machine-Washable Area Rug, 5'x7'", "length_ft", 7),
    ],
)
def test_titles_and_attributes_agree(title: str, attribute: str, value: object) -> None:
    assert product_of(title)["attributes"][attribute] == value


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Circular Saw 7-1/4 in", [("size_in", 7.25)]),
        ("Rubber Hose 5/8 in x 50 ft", [("size_in", 0.625), ("length_ft", 50)]),
        ("Rug, 5'x7'", [("width_ft", 5), ("length_ft", 7)]),
        ("Motor Oil 5W-30, 5 Quart", [("capacity_qt", 5)]),
        ("4-in-1 Convertible Crib", []),
        ("Charger 65 W, 2-Pack", [("wattage", 65), ("pack_count", 2)]),
    ],
)
def test_measures_are_read_from_titles(title: str, expected: list[tuple[str, float]]) -> None:
    assert measures(title) == expected


def test_free_of_something_in_a_title_is_true_in_the_attributes() -> None:
    for row in products():
        for name in ("fragrance", "sugar", "gluten", "latex", "bpa", "grain", "deet", "nut"):
            if re.search(rf"\b{name}[- ]free\b", row["title"], re.IGNORECASE):
                assert row["attributes"][f"{name}_free"] is True, row["title"]


def test_no_description_is_shared_outside_its_group() -> None:
    owners: dict[str, set[str]] = defaultdict(set)
    for row in products():
        if "description" in row:
            owners[row["description"]].add(str(row.get("group_id", row["id"])))
    shared = {text: ids for text, ids in owners.items() if len(ids) > 1}
    assert shared == {}
    without = sum("description" not in row for row in products())
    assert 0 < without < 0.08 * len(products())


def test_no_sentence_is_worn_out() -> None:
    """Brand voices recur; even so no sentence may open or close the catalog at every turn."""
    types = build(read_types(), {})
    one_each = {item.model.key: item.row.get("description", "") for item in types}
    sentences = Counter(
        part for text in one_each.values() for part in re.split(r"(?<=[.!?。]) ", text)
    )
    assert max(count for part, count in sentences.items() if part) <= 9


def test_every_query_is_judged_well() -> None:
    lines = (TARGET / "queries.tsv").read_text(encoding="utf-8").splitlines()
    queries = dict(line.split("\t") for line in lines)
    assert len(queries) == len(lines) >= 80
    assert len(set(queries.values())) == len(queries)
    assert set(judgments()) == set(queries)
    for query, grades in judgments().items():
        assert set(grades) <= set(by_id()), query
        assert set(grades.values()) <= {0, 1, 2, 3}, query
        assert 3 in grades.values(), query
        assert 0 in grades.values(), query
        assert len(grades) >= 10, query


@pytest.mark.parametrize(
    ("text", "best", "worst"),
    [
        ("belt without buckle", "Colby Stroud No-Buckle Elastic Belt for Men, Black",
         "Northwick Tactical Web Belt with Quick-Release Buckle, Black"),
        ("unscented lotion not lavender", "Bare Almanac Unscented Body Lotion, 16 fl oz",
         "Petalry Lavender Body Lotion, 12 fl oz"),
        ("TK-4410", "Pressaro TK-4410 Black Toner Cartridge",
         "Pressaro TK-6620 Toner Cartridge, Cyan"),
    ],
)  # fmt: skip
def test_judgments_say_what_a_reader_would(text: str, best: str, worst: str) -> None:
    lines = (TARGET / "queries.tsv").read_text(encoding="utf-8").splitlines()
    query = next(line.split("\t")[0] for line in lines if line.endswith(f"\t{text}"))
    assert judgments()[query][product_of(best)["id"]] == 3
    assert judgments()[query][product_of(worst)["id"]] == 0


def test_the_source_page_counts_right() -> None:
    page = (TARGET / "SOURCE.md").read_text(encoding="utf-8")
    assert f"| `products.jsonl` | {len(products()):,} products" in page
    assert f"| `qrels.txt` | {sum(map(len, judgments().values())):,} judgments" in page
    for department, count in Counter(row["category"][0] for row in products()).items():
        assert re.search(rf"^\| {department} \| \d+ \| {count} \|$", page, re.MULTILINE)


def test_purchases_are_of_products_at_their_prices() -> None:
    lines = purchases()
    assert 8_000 <= len(lines) <= 15_000
    assert (TARGET / "purchases.csv").stat().st_size < 1_000_000
    assert len({line["user_id"] for line in lines}) >= 500
    for line in lines:
        listed = by_id()[line["product_id"]]["price"]
        assert 0.7 * listed <= float(line["price"]) <= listed
        assert date(2025, 9, 1) <= date.fromisoformat(line["timestamp"][:10]) <= date(2026, 10, 31)
        assert line["event"] == "purchase"
    times = [line["timestamp"] for line in lines]
    assert times == sorted(times)
    buyers = {line["order_id"]: line["user_id"] for line in lines}
    assert all(buyers[line["order_id"]] == line["user_id"] for line in lines)


def test_what_is_returned_was_bought_before() -> None:
    bought: Counter[tuple[str, str]] = Counter()
    returns = 0
    for line in purchases():
        key = (line["order_id"], line["product_id"])
        bought[key] += int(line["quantity"])
        returns += int(line["quantity"]) < 0
        assert bought[key] >= 0, line
    assert 50 <= returns <= 0.03 * len(purchases())


def test_shoppers_have_habits() -> None:
    months: dict[str, Counter[str]] = defaultdict(Counter)
    repeats: Counter[tuple[str, str]] = Counter()
    for line in purchases():
        shelf = by_id()[line["product_id"]]["category"][-1]
        months[shelf][line["timestamp"][5:7]] += 1
        repeats[line["user_id"], line["product_id"]] += 1
    assert sum(months["Space Heaters"][month] for month in ("10", "11", "12", "01")) > 50
    assert sum(months["Space Heaters"][month] for month in ("05", "06", "07", "08")) < 5
    assert months["Building Bricks"]["12"] > 5 * months["Building Bricks"]["03"]
    assert sum(count >= 5 for count in repeats.values()) > 200


def test_complements_follow_what_they_belong_to() -> None:
    toner = {r["id"] for r in products() if r["title"].startswith("Pressaro IC-31")}
    printer = {r["id"] for r in products() if "IJ-310" in r["title"]}
    bought: dict[str, str] = {}
    followed = 0
    for line in purchases():
        if line["product_id"] in printer:
            bought.setdefault(line["user_id"], line["timestamp"])
        elif line["product_id"] in toner and line["user_id"] in bought:
            followed += 1
    assert followed >= 0.4 * len(bought)
    assert len(bought) >= 5
