"""The product store gives back what it was given."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.errors import ProductNotFoundError, SnapshotDamagedError
from engine.products import ProductStore, ProductStoreBuilder
from engine.types import Product

FULL = Product(
    id="SKU/ä 1",
    title="Kettle 1.7 L",
    description="Boils.",
    bullet_points=("Quiet", "Light"),
    brand="Emberly",
    color="red",
    category=("Kitchen", "Kettles"),
    price=0.0,
    currency="USD",
    rating=4.5,
    rating_count=0,
    in_stock=False,
    sku="em-17",
    gtin="0012345678905",
    created_at="2026-01-02",
    group_id="g1",
    attributes={"watts": 1500, "lid": False, "sizes": ["S", "M"], "weight": 1.5, "note": "x"},
)


def store_of(tmp_path: Path, *products: Product) -> ProductStore:
    builder = ProductStoreBuilder(tmp_path)
    for product in products:
        builder.add(product)
    builder.finish()
    return ProductStore(tmp_path)


def test_products_come_back_with_their_types(tmp_path: Path) -> None:
    store = store_of(tmp_path, Product(id="a", title="Bare"), FULL)
    assert store.fetch([1, 0, 1]) == [FULL, Product(id="a", title="Bare"), FULL]
    assert list(store) == [Product(id="a", title="Bare"), FULL]


def test_rows_by_id_and_by_what_is_printed(tmp_path: Path) -> None:
    store = store_of(tmp_path, Product(id="em-17", title="Same as a SKU"), FULL)
    assert store.rows_of(["SKU/ä 1", "nope", "em-17"]) == [1, None, 0]
    assert store.rows_printed(" EM-17 ") == [1, 0]  # by ascending id: "SKU/ä 1" < "em-17"
    assert store.rows_printed("0012345678905") == [1]
    assert store.rows_printed("12345678905") == []


def test_what_is_printed_is_compared_in_one_form(tmp_path: Path) -> None:
    numero = Product(id="b", title="x", sku="№  5")
    store = store_of(tmp_path, numero, Product(id="a", title="x", sku="no 5"))
    assert store.rows_printed("No 5") == [1, 0]


def test_a_placeholder_on_many_products_names_none(tmp_path: Path) -> None:
    store = store_of(tmp_path, *(Product(id=f"p{n}", title="x", gtin="0") for n in range(30)))
    assert store.rows_printed("0") == []


def test_a_store_can_be_read_after_it_was_deleted(tmp_path: Path) -> None:
    store = store_of(tmp_path, FULL)
    (tmp_path / "products.sqlite").unlink()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: store.fetch([0])[0].id, range(20))) == [FULL.id] * 20


def test_more_ids_than_one_statement_takes(tmp_path: Path) -> None:
    store = store_of(tmp_path, *(Product(id=f"p{n:04}", title="x") for n in range(1_300)))
    ids = [f"p{n:04}" for n in reversed(range(1_300))]
    assert store.rows_of(ids) == list(reversed(range(1_300)))
    assert [product.id for product in store.fetch(range(1_299, -1, -1))] == ids


def test_id_rank_orders_ids_not_rows(tmp_path: Path) -> None:
    store = store_of(tmp_path, *(Product(id=name, title="x") for name in ("b", "ä", "a", "B")))
    assert store.id_rank().tolist() == [2, 3, 1, 0]


def test_rows_outside_the_snapshot_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProductNotFoundError, match="7"):
        store_of(tmp_path, FULL).fetch([0, 7])


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "products.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(SnapshotDamagedError, match=r"products\.sqlite"):
        ProductStore(tmp_path)


def test_many_threads_read_at_once(tmp_path: Path) -> None:
    store = store_of(tmp_path, *(Product(id=f"p{n}", title=f"t{n}") for n in range(50)))
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda n: store.fetch([n % 50])[0].title, range(400))
        assert list(found) == [f"t{n % 50}" for n in range(400)]
