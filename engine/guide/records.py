"""What shoppers did, as shops keep it: a table of line items, and one shopper's part of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import CatalogError, QueryError
from engine.guide.history import Deed, Event

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("user_id", "order_id", "product_id", "timestamp")
"""Asked of every table; `quantity`, `price`, `event`, `rating` and `title` may be there."""

ONLINE_RETAIL: Mapping[str, str] = {
    "CustomerID": "user_id",
    "InvoiceNo": "order_id",
    "StockCode": "product_id",
    "InvoiceDate": "timestamp",
    "Quantity": "quantity",
    "UnitPrice": "price",
    "Description": "title",
}
"""UCI Online Retail's columns (Chen, Sain and Guo 2012), and what they are called here."""

DATES = ("%m/%d/%Y %H:%M", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y")
"""Beside ISO 8601: as that table has them."""

NAMES = ("user_id", "product_id", "CustomerID", "StockCode")
IDS = (*NAMES, "order_id", "InvoiceNo")
"""Columns that are read as texts: "007" is not 7; and those of them that name who and what."""

FRACTION = r"^(-?[0-9]+)\.0$"
"""A shopper who is a whole number, written with a fraction; its first group is the number.

A column with gaps was numbers with a fraction to whoever wrote the table.
"""

NOTHING = frozenset(
    (
        "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
        "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
    )
)  # fmt: skip
"""What stands in a cell of a CSV or TSV table that holds nothing.

Of shoppers and products only the empty one: the others may be their names.
"""

_READ = {*COLUMNS, "quantity", "event", "rating"}
_DEEDS = {str(deed) for deed in Deed}


def named(path: Path, columns: Sequence[str]) -> list[str]:
    """What the columns of a table are called here.

    Raises:
        CatalogError: two of them would be one: the message names both, and the cure.
    """
    names = [ONLINE_RETAIL.get(column, column) for column in columns]
    for name in names:
        same = [column for column, other in zip(columns, names, strict=True) if other == name]
        if len(same) > 1:
            raise CatalogError(
                f"{path} has columns {' and '.join(same)}, which mean the same. "
                "Delete or rename all but one"
            )
    return names


def events_of(path: Path, user: str) -> list[Event]:
    """What one shopper did, by a CSV, TSV or Parquet table; nothing where the table lacks them.

    Lines whose quantity is negative are returns; other events than a `Deed` ("view") are left out.

    Raises:
        CatalogError: the file cannot be read, lacks a column, has one twice, or a cell cannot be
            used.
    """
    from pyarrow import ArrowInvalid, compute  # noqa: PLC0415 - slow to load

    try:
        table = _open(path)
    except (OSError, ArrowInvalid) as error:
        raise CatalogError(f"{path} cannot be read as a table of purchases: {error}") from error
    names = [ONLINE_RETAIL.get(name, name) for name in table.column_names]
    table = table.select([place for place, name in enumerate(names) if name in _READ])
    table = table.rename_columns(named(path, table.column_names))
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise CatalogError(f"{path} has no column {', '.join(missing)}")
    users = compute.cast(table["user_id"], "string")
    users = compute.replace_substring_regex(users, FRACTION, r"\1")
    found = table.filter(compute.equal(users, re.sub(FRACTION, r"\1", user))).to_pylist()
    events = (
        _event(path, row)
        for row in found
        if row["product_id"] is not None and row.get("quantity") != 0
    )
    return [event for event in events if event is not None]


def _open(path: Path) -> pa.Table:
    """The table as it lies in the file, nothing where a cell holds nothing.

    Raises:
        OSError: the file cannot be read; ArrowInvalid where it is no such table.
    """
    import pyarrow as pa  # noqa: PLC0415 - slow to load
    from pyarrow import compute, csv, parquet  # noqa: PLC0415

    if path.suffix == ".parquet":
        return parquet.read_table(path)
    texts = dict.fromkeys(IDS, pa.string())
    table = csv.read_csv(
        path,
        parse_options=csv.ParseOptions(delimiter="\t" if path.suffix == ".tsv" else ","),
        convert_options=csv.ConvertOptions(column_types=texts, null_values=sorted(NOTHING)),
    )
    for place, column in enumerate(table.schema):
        if pa.types.is_string(column.type):
            nothing = {""} if column.name in NAMES else NOTHING
            gone = compute.is_in(table[place], value_set=pa.array(nothing, pa.string()))
            kept = compute.if_else(gone, pa.scalar(None, pa.string()), table[place])
            table = table.set_column(place, column.name, kept)
    return table


def _event(path: Path, row: Mapping[str, Any]) -> Event | None:
    """One row as an event; None of what is none here.

    Raises:
        CatalogError: a cell cannot be used.
    """
    try:
        quantity = float(row.get("quantity") or 1)
        name = "return" if quantity < 0 else str(row.get("event") or "purchase").casefold()
        if name not in _DEEDS:
            return None
        return Event(
            product_id=str(row["product_id"]),
            deed=Deed(name),
            at=_moment(row["timestamp"]),
            order_id=str(row["order_id"] or ""),
            quantity=abs(quantity),
            rating=None if row.get("rating") is None else float(row["rating"]),
        )
    except (ValueError, QueryError) as error:
        raise CatalogError(
            f"{path}, order {row['order_id']}, product {row['product_id']}: {error}. Mend the row"
        ) from error


def _moment(value: object) -> datetime | None:
    if value is None:
        return None
    moment = value if isinstance(value, datetime) else _date(str(value).strip())
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _date(text: str) -> datetime:
    """The moment a text says; without a time zone where it names none."""
    for form in DATES:
        with suppress(ValueError):
            return datetime.strptime(text, form)
    return datetime.fromisoformat(text)
