"""The product store: every product of a snapshot, by row, id, SKU and GTIN."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.database import ReadOnlyDatabase, create
from engine.errors import ProductNotFoundError
from engine.normal import comparable
from engine.types import Product, Rows

_SCHEMA = """
CREATE TABLE product (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL);
CREATE TABLE identifier (value TEXT, row INTEGER, PRIMARY KEY (value, row)) WITHOUT ROWID;
"""


MOST_PRINTED = 20
"""A text printed on more products than this names none of them: it is a placeholder."""


class ProductStoreBuilder:
    """Writes a product store, one product at a time, in row order. Memory stays constant."""

    def __init__(self, path: Path) -> None:
        self._connection = create(path, _SCHEMA)
        self._count = 0

    def add(self, product: Product) -> int:
        """Store the product; returns its row. Ids must be unique: the catalog reader sees to it."""
        row = self._count
        body = json.dumps(product.to_dict(), ensure_ascii=False, separators=(",", ":"))
        self._connection.execute("INSERT INTO product VALUES (?, ?, ?)", (row, product.id, body))
        printed = {comparable(text) for text in (product.id, product.sku, product.gtin)} - {""}
        self._connection.executemany(
            "INSERT INTO identifier VALUES (?, ?)", [(value, row) for value in sorted(printed)]
        )
        self._count += 1
        return row

    def finish(self) -> None:
        """Write everything and close the file."""
        self._connection.execute("COMMIT")
        self.close()

    def close(self) -> None:
        """Close the file; what was not finished is lost."""
        self._connection.close()


class ProductStore:
    """Reads a product store. Safe to use from many threads."""

    def __init__(self, path: Path) -> None:
        self._database = ReadOnlyDatabase(path)
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
        bodies: dict[int, str] = dict(
            self._database.rows_in("SELECT row, body FROM product WHERE row IN (?)", wanted)
        )
        missing = [row for row in wanted if row not in bodies]
        if missing:
            raise ProductNotFoundError(f"rows {missing[:5]} are outside this snapshot")
        return [Product.from_dict(json.loads(bodies[row])) for row in wanted]

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
        for (body,) in self._database.stream("SELECT body FROM product ORDER BY row"):
            yield Product.from_dict(json.loads(body))

    def id_rank(self) -> NDArray[np.int32]:
        """For each row, its product id's place in ascending id order; shape (products,)."""
        in_id_order = self._database.stream("SELECT row FROM product ORDER BY id")
        order = np.fromiter((row for (row,) in in_id_order), dtype=np.int64, count=self._count)
        rank = np.empty(self._count, dtype=np.int32)
        rank[order] = np.arange(self._count, dtype=np.int32)
        return rank

    def close(self) -> None:
        """Close the file."""
        self._database.close()
