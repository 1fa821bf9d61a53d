"""Each field takes what catalogs write for it, with its type, and says what it cannot take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from indexer.catalog.attributes import infer
from indexer.catalog.fields import to_bullet_points, to_category, to_id, to_in_stock
from indexer.catalog.rejects import RowFault
from tests.indexer.catalog.catalogs import read, read_row, rejected_row


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["Kitchen", "Kettles"], ("Kitchen", "Kettles")),
        ("Kitchen > Kettles", ("Kitchen", "Kettles")),
        ('["Kitchen", "Pots, Pans"]', ("Kitchen", "Pots, Pans")),
        ("['Kitchen', \"Cook's tools\"]", ("Kitchen", "Cook's tools")),
        ("['Kitchen' 'Kettles']", ("Kitchen", "Kettles")),
        ("Home & Kitchen / Kettles", ("Home & Kitchen / Kettles",)),
        ("[sale] Kettles [new]", ("[sale] Kettles [new]",)),
        (["Kitchen", None, " "], ("Kitchen",)),
        ("[]", ()),
        (["Home > Kitchen > Kettles"], ("Home", "Kitchen", "Kettles")),
        (["Home &gt; Kitchen"], ("Home", "Kitchen")),
        ('["Home > Kitchen"]', ("Home", "Kitchen")),
        (["Home", "Kitchen > Kettles"], ("Home", "Kitchen", "Kettles")),
        (["Home>Kitchen", "Pots > 5 l"], ("Home>Kitchen", "Pots", "5 l")),
    ],
)
def test_category(given: object, expected: tuple[str, ...]) -> None:
    assert to_category(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Boils fast\n\nStays cool", ("Boils fast", "Stays cool")),
        ("<ul><li>Boils fast</li><li>Stays cool</li></ul>", ("Boils fast", "Stays cool")),
        (["Boils\nfast", "Stays cool"], ("Boils fast", "Stays cool")),
        ('["Boils fast", "Stays cool"]', ("Boils fast", "Stays cool")),
    ],
)
def test_bullet_points(given: object, expected: tuple[str, ...]) -> None:
    assert to_bullet_points(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"), [("007", "007"), (7, "7"), (7.0, "7"), ("7.0", "7.0"), (b"a1", "a1")]
)
def test_ids_are_text_and_keep_their_zeros(given: object, expected: str) -> None:
    assert to_id(given) == expected


@pytest.mark.parametrize("given", [True, ["a"], {"a": 1}])
def test_ids_are_one_text(given: object) -> None:
    with pytest.raises(RowFault):
        to_id(given)


@pytest.mark.parametrize(
    "word", [True, 1, 1.0, "1", "yes", "TRUE", "in stock", "in_stock", "https://schema.org/InStock"]
)
def test_in_stock(word: object) -> None:
    assert to_in_stock(word) is True


@pytest.mark.parametrize("word", [False, 0, "0", "no", "False", "Out of Stock", "sold out"])
def test_out_of_stock(word: object) -> None:
    assert to_in_stock(word) is False


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12), ("0", 0), ("-3", -3), ("1.5", 1.5), ("0.25", 0.25),
        ("true", True), ("False", False),
        ("007", "007"), ("1e5", "1e5"), ("5'x7'", "5'x7'"), ("12in", "12in"), ("1,5", "1,5"),
        ("+1", "+1"), ("1.", "1."), ("-0", "-0"), ("2000000000000015", "2000000000000015"),
        ("yes", "yes"), ("nan", "nan"), ("١٢", "١٢"),
    ],
)  # fmt: skip
def test_attributes_of_text_files_get_their_type(text: str, value: object) -> None:
    found = infer(text)
    assert (type(found), found) == (type(value), value)


def test_attributes_keep_their_types(tmp_path: Path) -> None:
    product = read_row(
        tmp_path,
        attributes={"watts": 1200, "litres": 1.0, "cordless": True, "size": "12in", "code": "007"},
        tags=["new", "red", 5, None],
        serial=10**400,
        dimensions={"width": {"value": 12, "unit": "in"}},
        parts=[{"name": "lid"}],
        nothing=None,
        empty="",
    )
    assert product.attributes == {
        "watts": 1200,
        "litres": 1.0,
        "cordless": True,
        "size": "12in",
        "code": "007",
        "tags": ["new", "red", "5"],
        "serial": str(10**400),
        "dimensions.width.value": 12,
        "dimensions.width.unit": "in",
        "parts": ['{"name": "lid"}'],
    }
    assert product.attributes["cordless"] is True
    assert isinstance(product.attributes["watts"], int)
    assert isinstance(product.attributes["litres"], float)


@pytest.mark.parametrize(
    ("written", "cleaned"), [("  Wei\nght  (kg) ", "Wei ght (kg)"), ("a&amp;b", "a&b"), (" ", None)]
)
def test_names_of_columns_are_cleaned_as_nested_ones_are(
    tmp_path: Path, written: str, cleaned: str | None
) -> None:
    column = read_row(tmp_path, **{written: 5}).attributes
    assert column == read_row(tmp_path, attributes={written: 5}).attributes
    assert column == ({cleaned: 5} if cleaned else {})


def test_half_a_surrogate_in_a_name_costs_its_row_alone(tmp_path: Path) -> None:
    assert rejected_row(tmp_path, **{"wei\ud800ght": 5}) == ("bad encoding", "attributes")
    assert rejected_row(tmp_path, size={"wei\ud800ght": 5}) == ("bad encoding", "attributes")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "\ud800"), ("title", "\ud800"), ("description", "a\n\ud800"),
        ("bullet_points", ["\ud800"]), ("category", ["\ud800"]), ("category", "A > \ud800"),
        ("url", "\ud800"), ("fabric", "\ud800"), ("fabric", ["\ud800"]),
    ],
)  # fmt: skip
def test_half_a_surrogate_in_a_value_names_its_field(
    tmp_path: Path, name: str, value: object
) -> None:
    assert rejected_row(tmp_path, **{name: value}) == ("bad encoding", name)


@pytest.mark.parametrize(
    ("written", "rating"), [("4,333", 4.333), ("4,3333", 4.3333), ("4,5", 4.5), ("1,234.5", 1234.5)]
)
def test_the_only_comma_of_a_rating_is_a_decimal_one(
    tmp_path: Path, written: str, rating: float
) -> None:
    assert read_row(tmp_path, rating=written).rating == rating


def test_given_attributes_win_over_columns_of_the_same_name(tmp_path: Path) -> None:
    product = read_row(tmp_path, material="steel", attributes='{"material": "brass"}')
    assert product.attributes == {"material": "brass"}


def test_every_field_arrives(tmp_path: Path) -> None:
    product = read_row(
        tmp_path, description="<p>Fast</p>", bullet_points=["a"], brand="Emberly",
        color=["red", "blue"], category="Kitchen > Kettles", price="€1,5",
        image=["https://a/1.jpg", "https://a/2.jpg"],
        url="https://a/?x=1&amp;y=2", rating="4.5", rating_count="1,204", in_stock="no", sku=77001,
        gtin=["0095205603217"], created_at="2026-05-12T11:36:24Z", group_id=5.0,
    )  # fmt: skip
    assert product.to_dict() == {
        "id": "p1", "title": "Kettle", "description": "Fast", "bullet_points": ["a"],
        "brand": "Emberly",
        "color": "red, blue", "category": ["Kitchen", "Kettles"], "price": 1.5, "currency": "EUR",
        "image": "https://a/1.jpg", "url": "https://a/?x=1&y=2", "rating": 4.5,
        "rating_count": 1204,
        "in_stock": False, "sku": "77001", "gtin": "0095205603217",
        "created_at": "2026-05-12T11:36:24Z",
        "group_id": "5",
    }  # fmt: skip


def test_a_given_currency_wins_over_the_sign(tmp_path: Path) -> None:
    assert read_row(tmp_path, price="$5", currency="cad").currency == "CAD"
    assert read_row(tmp_path, price=5, currency="€").currency == "EUR"


def test_the_currency_of_a_row_is_read_with_its_price(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    path.write_text(
        "id;title;price;currency\n1;Sofa;1.299;EUR\n2;Ring;1.250;KWD\n3;Desk;$899;EUR\n"
        "4;Lamp;$89;CAD\n5;Chair;1.299,00;EUR\n6;Stool;1.5;\n"
    )
    outcome = read(path)
    assert [(each.id, each.price, each.currency) for each in outcome.products] == [
        ("2", 1.25, "KWD"), ("4", 89.0, "CAD"), ("5", 1299.0, "EUR"), ("6", 1.5, ""),
    ]  # fmt: skip
    assert [(each["id"], each["field"], each["reason"]) for each in outcome.rejects] == [
        ("1", "price", "unparsable price"), ("3", "price", "unparsable price"),
    ]  # fmt: skip
    assert read_row(tmp_path, price=1.299, currency="EUR").price == 1.299


def test_absent_values_are_empty_fields(tmp_path: Path) -> None:
    product = read_row(tmp_path, price=None, rating=float("nan"), brand="", in_stock=None)
    assert product.to_dict() == {"id": "p1", "title": "Kettle"}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("id", " \x00 ", "missing id"),
        ("title", None, "missing title"),
        ("title", "\u00ad", "missing title"),
        ("id", "x" * 513, "over-long field"),
        ("title", "x" * 2001, "over-long field"),
        ("description", "x" * 100_001, "over-long field"),
        ("bullet_points", ["x"] * 501, "over-long field"),
        ("price", -1, "unparsable price"),
        ("price", float("inf"), "unparsable price"),
        ("rating", "good", "unparsable rating"),
        ("rating_count", 4.5, "unparsable rating_count"),
        ("in_stock", "perhaps", "unparsable in_stock"),
        ("rating", "4,5,6", "unparsable rating"),
        ("created_at", "12/05/2026", "unparsable created_at"),
        ("created_at", "2026-02-31", "unparsable created_at"),
        ("created_at", "2026-13", "unparsable created_at"),
        ("created_at", "2026-11-01T10:00 CET", "unparsable created_at"),
        ("created_at", "2026-11-01+02:00", "unparsable created_at"),
        ("created_at", "2026-11-01\ud80010:00", "unparsable created_at"),
        ("attributes", "{broken", "unparsable attributes"),
        ("attributes", [1], "unparsable attributes"),
        ("attributes", json.loads('{"a":' * 9 + "1" + "}" * 9), "unparsable attributes"),
        ("attributes", {str(n): n for n in range(501)}, "too many attributes"),
        ("brand", {"name": "Emberly"}, "ill-typed field"),
    ],
)  # fmt: skip
def test_rejected_values_name_reason_and_field(
    tmp_path: Path, name: str, value: object, reason: str
) -> None:
    assert rejected_row(tmp_path, **{name: value}) == (reason, name)


@pytest.mark.parametrize(
    "written",
    ["2026", "2026-05", "2026-05-12", "20260512", "2026-05-12T11", "2026-05-12T11:36:24Z",
     "2026-05-12 11:36:24.5+02:00", "2026-05-12 11:36:24 -0500", "2026-05-12T11:36 UTC"],
)  # fmt: skip
def test_dates_are_kept_as_given(tmp_path: Path, written: str) -> None:
    assert read_row(tmp_path, created_at=written).created_at == written
