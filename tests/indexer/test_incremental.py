"""However a catalog changed, what is indexed again is what would be indexed anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.manifest import read_manifest
from engine.retrieval.facets import Facets
from engine.snapshot import Snapshot
from engine.store import SnapshotStore
from engine.types import Product
from indexer.apply import apply_changes
from indexer.build import IndexOptions, index_catalog
from indexer.catalog.entries import NO_DIGEST, Digests, KnownRows
from tests.shop import PRODUCTS, write_catalog

Change = Callable[[list[Product]], list[Product]]

CHANGES: dict[str, Callable[[Product], Product]] = {
    "price": lambda product: replace(product, price=1.5),
    "no offer": lambda product: replace(
        product, price=None, currency="", in_stock=None, rating=None, rating_count=None
    ),
    "date": lambda product: replace(product, created_at="2026-03-04T05:06:07+00:00"),
    "title": lambda product: replace(product, title=f"{product.title} Renamed Kettle"),
    "sku alone": lambda product: replace(product, sku="S-1", gtin=""),
    "spelt otherwise": lambda product: replace(product, brand=product.brand.upper()),
    "other shelf": lambda product: replace(product, category=("Garden", "Kettles")),
    "attributes": lambda product: replace(product, attributes={"watts": True, "Sizes": ["S", "M"]}),
}


@st.composite
def catalogs(draw: st.DrawFn) -> list[Product]:
    """The shop's products: some gone, some changed, some new, perhaps in another order."""
    products = list(PRODUCTS)
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(products) - 1))
        products[place] = CHANGES[draw(st.sampled_from(sorted(CHANGES)))](products[place])
    gone = draw(st.sets(st.integers(0, len(products) - 1), max_size=3))
    products = [product for place, product in enumerate(products) if place not in gone]
    for number in range(draw(st.integers(0, 2))):
        new = Product(f"new{number}", "A New Copper Kettle", brand="emberly", price=3.0)
        products.insert(draw(st.integers(0, len(products))), new)
    return products[::-1] if draw(st.booleans()) else products


@pytest.fixture(scope="module")
def first(
    exported_pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, IndexOptions]:
    encoder, reranker = exported_pair
    options = IndexOptions(encoder=encoder, reranker=reranker, ranking=None)
    folder = tmp_path_factory.mktemp("first")
    index_catalog(write_catalog(folder / "catalog.jsonl"), folder / "store", options)
    return folder / "store", options


@settings(max_examples=8, deadline=None)
@given(st.lists(catalogs(), min_size=1, max_size=3))
def test_indexed_again_is_indexed_anew(
    first: tuple[Path, IndexOptions],
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[list[Product]],
) -> None:
    store, options = first
    folder = tmp_path_factory.mktemp("again")
    shutil.copytree(store, folder / "store")
    for products in steps:
        catalog = write_catalog(folder / "catalog.jsonl", products)
        index_catalog(catalog, folder / "store", options)
    index_catalog(catalog, folder / "anew", options)
    assert_same(opened(folder / "store"), opened(folder / "anew"))
    shutil.rmtree(folder)


@settings(max_examples=4, deadline=None)
@given(catalogs())
def test_applied_is_indexed_anew(
    first: tuple[Path, IndexOptions],
    tmp_path_factory: pytest.TempPathFactory,
    products: list[Product],
) -> None:
    store, options = first
    folder = tmp_path_factory.mktemp("applied")
    shutil.copytree(store, folder / "store")
    before = {product.id: product for product in PRODUCTS}
    after = {product.id: product for product in products}
    new = [product for product in products if before.get(product.id) != product]
    lines = write_catalog(folder / "changes.jsonl", new).read_text(encoding="utf-8")
    gone = [f'{{"id": "{name}", "deleted": true}}\n' for name in before if name not in after]
    (folder / "changes.jsonl").write_text(lines + "".join(gone), encoding="utf-8")
    if new or gone:
        apply_changes(folder / "changes.jsonl", folder / "store")
    in_place = [after.pop(product.id) for product in PRODUCTS if product.id in after]
    appended = [product for product in products if product.id in after]
    catalog = write_catalog(folder / "catalog.jsonl", [*in_place, *appended])
    index_catalog(catalog, folder / "anew", options)
    assert_same(opened(folder / "store"), opened(folder / "anew"))
    shutil.rmtree(folder)


def opened(store: Path) -> Snapshot:
    assert SnapshotStore(store).verify() == []
    return Snapshot.open(SnapshotStore(store).current())


def assert_same(ours: Snapshot, theirs: Snapshot) -> None:
    """Everything that answers a shopper is the same."""
    assert list(ours.products) == list(theirs.products)
    np.testing.assert_array_equal(ours.id_rank, theirs.id_rank)
    np.testing.assert_array_equal(ours.vectors, theirs.vectors)
    rows = np.arange(len(theirs))
    for mine, wanted in zip(ours.passages.take(rows), theirs.passages.take(rows), strict=True):
        np.testing.assert_array_equal(mine, wanted)
    for query in ("kettle", "belt without buckle", "renamed", "保温杯", "S-1", "watts"):
        (mine,), (wanted,) = (each.lexical.search([query], 50) for each in (ours, theirs))
        np.testing.assert_array_equal(mine.rows, wanted.rows)
        np.testing.assert_array_equal(mine.scores, wanted.scores)
    for product in theirs.products:
        assert ours.products.rows_printed(product.sku) == theirs.products.rows_printed(product.sku)
    assert_same_words(ours, theirs)
    assert_same_columns(ours.facets, theirs.facets, rows)


def assert_same_words(ours: Snapshot, theirs: Snapshot) -> None:
    for typed in ("ket", "em", "gard", "new c"):
        assert ours.suggestions.complete(typed) == theirs.suggestions.complete(typed)
    for path in ("", "Kitchen", "Garden"):
        assert ours.shelves.below(path, 20) == theirs.shelves.below(path, 20)


def assert_same_columns(
    ours: Facets, theirs: Facets, rows: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> None:
    assert ours._fields.keys() == theirs._fields.keys()
    for name, place in theirs._fields.items():
        assert ours._fields[name].terms == place.terms
        np.testing.assert_array_equal(ours.numbers(name), theirs.numbers(name))
        found = []
        for facets in (ours, theirs):
            places, starts = facets.entries(name, rows)
            terms = [facets.display(name, start).casefold() for start in starts.tolist()]
            found.append(list(zip(places.tolist(), terms, strict=True)))
            for term in set(terms):
                holding = facets.holding(name, term)
                named = [at for at, other in found[-1] if other == term]
                assert set(named) <= set(holding.tolist())
        assert found[0] == found[1]


def test_prices_alone_share_all_that_is_made_of_texts(
    first: tuple[Path, IndexOptions], tmp_path: Path
) -> None:
    store, options = first
    shutil.copytree(store, tmp_path / "store")
    before = SnapshotStore(tmp_path / "store").current()
    catalog = write_catalog(
        tmp_path / "catalog.jsonl", [replace(product, price=2.0) for product in PRODUCTS]
    )
    report = index_catalog(catalog, tmp_path / "store", options)
    assert report.changes.updated == len(PRODUCTS)
    new = {
        name
        for name in read_manifest(report.folder).files
        if not (report.folder / name).samefile(before / name)
    }
    assert {name.rpartition("/")[0] or name for name in new} == {"offers.sqlite", "facets/offers"}


def test_tokens_that_few_rows_use_are_copied_and_not_shared(
    first: tuple[Path, IndexOptions], tmp_path: Path
) -> None:
    store, options = first
    shutil.copytree(store, tmp_path / "store")
    before = SnapshotStore(tmp_path / "store").current() / "passages"
    few, catalog = PRODUCTS[:4], tmp_path / "catalog.jsonl"
    report = index_catalog(write_catalog(catalog, few), tmp_path / "store", options)
    assert report.changes.encoded == 0
    after = report.folder / "passages"
    assert [path.name for path in after.glob("tokens-*")] == ["tokens-0.bin"]
    assert (after / "tokens-0.bin").stat().st_size < (before / "tokens-0.bin").stat().st_size
    index_catalog(catalog, tmp_path / "anew", options)
    assert_same(opened(tmp_path / "store"), opened(tmp_path / "anew"))


def test_a_row_is_known_by_all_it_says_of_texts_and_by_how_it_is_read() -> None:
    digests = Digests("auto")
    one = digests.of({"id": "1", "title": "Kettle", "price": 3}, [("watts", 1)])
    assert one == digests.of({"id": "1", "title": "Kettle", "price": 4}, [("watts", 1)])
    others = [
        digests.of({"id": "2", "title": "Kettle"}, [("watts", 1)]),
        digests.of({"id": "1", "title": "Kettle"}, [("watts", True)]),
        digests.of({"id": "1", "title": "Kettle"}, [("watts", 1.0)]),
        digests.of({"id": "1", "title": "Kettle"}, []),
        Digests("wands").of({"id": "1", "title": "Kettle"}, [("watts", 1)]),
    ]
    assert len({one, *others}) == 6
    known = KnownRows(np.frombuffer(b"".join([*others, one, NO_DIGEST]), np.uint64).reshape(-1, 2))
    asked = [one, others[0], others[1], others[4], bytes(range(16)), others[2], NO_DIGEST]
    assert [known.row(digest) for digest in asked] == [5, 0, 1, 4, -1, 2, -1]


def test_what_cannot_be_written_as_json_is_not_known_again() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert Digests("auto").of({"id": "1", "title": deep}, []) == NO_DIGEST
