"""What shoppers did, as shops keep it: a table of line items, and one shopper's part of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.errors import CatalogError, QueryError
from engine.guide.history import Deed, Event

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
_DEEDS = {str(deed) for deed in Deed}


def events_of(path: Path, user: str) -> list[Event]:
    """What one shopper did, by a CSV, TSV or Parquet table; nothing where the table lacks them.

    Lines whose quantity is negative are returns; other events than a `Deed` ("view") are left out.

    Raises:
        CatalogError: the file cannot be read, lacks a column, or a cell cannot be used.
    """
    from pyarrow import ArrowInvalid, compute, csv, parquet, string  # noqa: PLC0415 - slow to load

    try:
        if path.suffix == ".parquet":
            table = parquet.read_table(path)
        else:
            delimiter = "\t" if path.suffix == ".tsv" else ","
            ids = ("user_id", "order_id", "product_id")  # "007" is not 7
            texts = {name: string() for name, known in ONLINE_RETAIL.items() if known in ids}
            table = csv.read_csv(
                path,
                parse_options=csv.ParseOptions(delimiter=delimiter),
                convert_options=csv.ConvertOptions(
                    column_types=texts | dict.fromkeys(ids, string()), strings_can_be_null=True
                ),
            )
    except (OSError, ArrowInvalid) as error:
        raise CatalogError(f"{path} cannot be read as a table of purchases: {error}") from error
    table = table.rename_columns([ONLINE_RETAIL.get(name, name) for name in table.column_names])
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise CatalogError(f"{path} has no column {', '.join(missing)}")
    # A column with gaps was numbers with a fraction to whoever wrote the table.
    users = compute.replace_substring_regex(compute.cast(table["user_id"], "string"), r"\.0$", "")
    found = table.filter(compute.equal(users, user.removesuffix(".0"))).to_pylist()
    events = (
        _event(path, row)
        for row in found
        if row["product_id"] is not None and row.get("quantity") != 0
    )
    return [event for event in events if event is not None]


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
