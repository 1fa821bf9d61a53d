"""The product store: every product of a snapshot, by row, id, SKU and GTIN.

What a product says of itself and what the shop makes of it lie in two files, since prices change by
the minute and texts by the day: see `OFFER_FIELDS`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.database import ReadOnlyDatabase, address, create
from engine.errors import ProductNotFoundError
from engine.normal import comparable
from engine.types import OFFER_FIELDS, Product, Rows

PRODUCTS, OFFERS = "products.sqlite", "offers.sqlite"

_PRODUCT = """
CREATE TABLE product (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, texts TEXT NOT NULL);
CREATE TABLE identifier (value TEXT, row INTEGER, PRIMARY KEY (value, row)) WITHOUT ROWID;
"""
_OFFER = "CREATE TABLE offer (row INTEGER PRIMARY KEY, offer TEXT NOT NULL);"

MOST_PRINTED = 20
"""A text printed on more products than this names none of them: it is a placeholder."""

_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def texts_of(product: Product) -> str:
    """All of a product but its offer, as one JSON object. The same texts give the same JSON."""
    values = product.to_dict()
    return _json({name: value for name, value in values.items() if name not in OFFER_FIELDS})


def offer_of(values: Mapping[str, Any]) -> str:
    """The offer among a product's fields, as one JSON object, in one order; empty ones left out."""
    found = ((name, values.get(name)) for name in OFFER_FIELDS)
    return _json({name: value for name, value in found if value is not None and value != ""})


def product_of(texts: str, offer: str) -> Product:
    """The product of both."""
    whole = texts if offer == "{}" else f"{texts[:-1]},{offer[1:]}"
    return Product.from_dict(json.loads(whole))


class ProductStoreBuilder:
    """Writes a product store. Memory stays constant."""

    def __init__(self, folder: Path) -> None:
        self._products = create(folder / PRODUCTS, _PRODUCT)
        self._offers = create(folder / OFFERS, _OFFER)
        self._count = 0

    def add(self, product: Product) -> int:
        """Store the next product; returns its row. Ids must be unique: whoever reads sees to it."""
        row = self._count
        self.add_texts(row, product, texts_of(product))
        self.add_offer(row, offer_of(product.to_dict()))
        self._count += 1
        return row

    def add_texts(self, row: int, product: Product, texts: str) -> None:
        """Store what `texts_of` gave of the product."""
        self._products.execute("INSERT INTO product VALUES (?, ?, ?)", (row, product.id, texts))
        printed = {comparable(text) for text in (product.id, product.sku, product.gtin)} - {""}
        self._products.executemany(
            "INSERT INTO identifier VALUES (?, ?)", [(value, row) for value in sorted(printed)]
        )

    def add_offer(self, row: int, offer: str) -> None:
        """Store what `offer_of` gave of the product."""
        self._offers.execute("INSERT INTO offer VALUES (?, ?)", (row, offer))

    def take_texts(self, before: Path, rows: NDArray[np.int32]) -> None:
        """Store texts of another store at new rows: `rows` holds each old row's, -1 for none."""
        connection = _moving(self._products, before / PRODUCTS, rows)
        for sql in (
            "INSERT INTO product SELECT new, id, texts FROM moved "
            "JOIN before.product ON row = old ORDER BY new",
            "INSERT INTO identifier SELECT value, new FROM before.identifier "
            "JOIN moved ON row = old",
        ):
            connection.execute(sql)

    def take_offers(self, before: Path, rows: NDArray[np.int32]) -> None:
        """The same for offers."""
        _moving(self._offers, before / OFFERS, rows).execute(
            "INSERT INTO offer SELECT new, offer FROM moved "
            "JOIN before.offer ON row = old ORDER BY new"
        )

    def finish(self) -> None:
        """Write everything and close the files."""
        for connection in (self._products, self._offers):
            connection.execute("COMMIT")
        self.close()

    def close(self) -> None:
        """Close the files; what was not finished is lost."""
        self._products.close()
        self._offers.close()


def _moving(connection: Any, before: Path, rows: NDArray[np.int32]) -> Any:  # noqa: ANN401
    """The connection, with another file attached and a table of where its rows go."""
    connection.execute("COMMIT")
    connection.execute("ATTACH ? AS before", (address(before),))
    connection.execute("CREATE TEMP TABLE moved (old INTEGER PRIMARY KEY, new INTEGER NOT NULL)")
    connection.execute("BEGIN")
    old = np.flatnonzero(rows >= 0)
    pairs = zip(old.tolist(), rows[old].tolist(), strict=True)
    connection.executemany("INSERT INTO moved VALUES (?, ?)", pairs)
    return connection


class ProductStore:
    """Reads a product store. Safe to use from many threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._database = ReadOnlyDatabase(folder / PRODUCTS, {"offers": folder / OFFERS})
        ((count,),) = self._database.rows("SELECT count(*) FROM product")
        self._count = int(count)

    def __len__(self) -> int:
        return self._count

    def fetch(self, rows: Sequence[int] | Rows) -> list[Product]:
        """The products at these rows, in the order asked for.

        Raises:
            ProductNotFoundError: a row is outside the snapshot.
        """
        wanted = [int(row) for row in rows]
        bodies = self.bodies(wanted)
        missing = [row for row in wanted if row not in bodies]
        if missing:
            raise ProductNotFoundError(f"rows {missing[:5]} are outside this snapshot")
        return [product_of(*bodies[row]) for row in wanted]

    def bodies(self, rows: Iterable[int]) -> dict[int, tuple[str, str]]:
        """Texts and offer of those of the rows that there are: see `texts_of`, `offer_of`."""
        found = self._database.rows_in(
            "SELECT row, texts, offer FROM product JOIN offers.offer USING (row) WHERE row IN (?)",
            rows,
        )
        return {row: (texts, offer) for row, texts, offer in found}

    def offers(self, rows: Iterable[int]) -> dict[int, str]:
        """The offer of each of the rows that there are, as `offer_of` gives it."""
        return dict(
            self._database.rows_in("SELECT row, offer FROM offers.offer WHERE row IN (?)", rows)
        )

    def ids(self) -> Iterator[str]:
        """Every product's id, in row order, streamed."""
        for (product_id,) in self._database.stream("SELECT id FROM product ORDER BY row"):
            yield product_id

    def rows_of(self, ids: Iterable[str]) -> list[int | None]:
        """The row of each product id, None where the snapshot has no such product."""
        wanted = list(ids)
        rows: dict[str, int] = dict(
            self._database.rows_in("SELECT id, row FROM product WHERE id IN (?)", wanted)
        )
        return [rows.get(product_id) for product_id in wanted]

    def rows_printed(self, text: str) -> list[int]:
        """Rows of the products whose id, SKU or GTIN is this text without case, by ascending id.

        None where there are more than `MOST_PRINTED`.
        """
        found = self._database.rows(
            "SELECT row FROM identifier JOIN product USING (row) "
            "WHERE value = ? ORDER BY id LIMIT ?",
            (comparable(text), MOST_PRINTED + 1),
        )
        return [int(row) for (row,) in found] if len(found) <= MOST_PRINTED else []

    def __iter__(self) -> Iterator[Product]:
        """Every product, in row order, streamed."""
        for texts, offer in self._database.stream(
            "SELECT texts, offer FROM product JOIN offers.offer USING (row) ORDER BY product.row"
        ):
            yield product_of(texts, offer)

    def id_rank(self) -> NDArray[np.int32]:
        """For each row, its product id's place in ascending id order; shape (products,)."""
        in_id_order = self._database.stream("SELECT row FROM product ORDER BY id")
        order = np.fromiter((row for (row,) in in_id_order), dtype=np.int64, count=self._count)
        rank = np.empty(self._count, dtype=np.int32)
        rank[order] = np.arange(self._count, dtype=np.int32)
        return rank

    def close(self) -> None:
        """Close the files."""
        self._database.close()
