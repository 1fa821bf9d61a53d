"""Purchase records: a table of line items, one row for each product of an order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import CatalogError, MissingExtraError
from engine.guide.records import COLUMNS, DATES, FRACTION, IDS, NAMES, NOTHING, ONLINE_RETAIL, named

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("auto", "daogou", "online-retail")


def read_purchases(path: Path, layout: str = "auto") -> pd.DataFrame:
    """The purchases of a CSV, TSV or Parquet file, oldest first.

    Rows without a shopper, of other events than purchases, and with a quantity or price that is
    not positive (returns, corrections) are left out; a quantity that is missing is 1, a price the
    usual one of the product, an order what a shopper bought at one moment. Of Online Retail, codes
    that do not start with five digits (postage, fees) are left out too.

    Returns:
        `user`, `order`, `item` (texts), `at` (UTC, without time zone), `quantity`, `price` and
        `title`, one row a line item.

    Raises:
        CatalogError: the file cannot be read, a column is missing or there twice, or a cell cannot
            be used: the message names the row.
        MissingExtraError: pandas is not installed.
    """
    table = _open(path)
    if layout not in FORMATS:
        raise CatalogError(f"unknown format {layout!r}. It may be: {', '.join(FORMATS)}")
    foreign = layout == "online-retail" or (
        layout == "auto" and set(ONLINE_RETAIL) - {"Description"} <= set(table.columns)
    )
    if foreign:
        table = table.set_axis(named(path, list(table.columns)), axis="columns")
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise CatalogError(
            f"{path} has no column {', '.join(missing)}. "
            f"It has: {', '.join(map(str, table.columns))}"
        )
    return _cleaned(path, table, foreign=foreign)


def _open(path: Path) -> pd.DataFrame:
    """The table as it lies in the file."""
    try:
        import pandas as pd  # noqa: PLC0415 - optional: serving needs no tables
    except ImportError as error:
        raise MissingExtraError("reading purchases", "train") from error
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        written = {"sep": "\t" if path.suffix == ".tsv" else ",", "encoding": "utf-8-sig"}
        columns = pd.read_csv(path, nrows=0, **written).columns
        return pd.read_csv(
            path,
            dtype=dict.fromkeys(IDS, str),
            na_values={name: [""] if name in NAMES else sorted(NOTHING) for name in columns},
            keep_default_na=False,
            **written,
        )
    except (OSError, ValueError) as error:
        raise CatalogError(f"{path} cannot be read as a table of purchases: {error}") from error


_AS = ": write times like 2026-11-29T08:30:00, or month first like 11/29/2026 08:30"


def _moments(column: pd.Series[Any]) -> pd.Series[Any]:
    """When each row was, NaT where it cannot be said: numbers are of no known unit.

    As `engine.guide.records` reads them: one order of day and month in the whole table.
    """
    import pandas as pd  # noqa: PLC0415

    if pd.api.types.is_datetime64_any_dtype(column):
        return pd.to_datetime(column, utc=True)
    if pd.api.types.is_numeric_dtype(column):
        return pd.Series(pd.NaT, index=column.index, dtype="datetime64[us, UTC]")
    texts = column.where(column.isna(), column.astype(str).str.strip())
    at = pd.to_datetime(texts, errors="coerce", utc=True, format="ISO8601")
    for form in DATES:
        if not (left := at.isna() & texts.notna()).any():
            break
        at[left] = pd.to_datetime(texts[left], errors="coerce", utc=True, format=form)
    return at


def _cleaned(path: Path, table: pd.DataFrame, *, foreign: bool) -> pd.DataFrame:
    """The rows that are purchases, typed."""
    import pandas as pd  # noqa: PLC0415

    at = _moments(table["timestamp"])
    number = {
        name: pd.to_numeric(table[name], errors="coerce")
        if name in table.columns else pd.Series(1.0, index=table.index)
        for name in ("quantity", "price")
    }  # fmt: skip
    for name, column in {"timestamp": at, **number}.items():
        if name in table.columns:
            bad = column.isna() & table[name].notna()
            if bad.any():
                row = int(bad.to_numpy().argmax())
                raise CatalogError(
                    f"{path}, row {row + 1}, {name}: {table[name].iloc[row]!r} cannot be read. "
                    f"Mend or delete the row{_AS if name == 'timestamp' else ''}"
                )
    title = table["title"] if "title" in table.columns else pd.Series("", index=table.index)
    kept = table["user_id"].notna() & table["product_id"].notna() & at.notna()
    quantity = number["quantity"].fillna(1.0)
    price = number["price"]
    price = price.fillna(price.groupby(table["product_id"]).transform("median"))
    price = price.fillna(price.median()).fillna(1.0)
    kept &= (quantity > 0) & (price > 0)
    if "event" in table.columns:
        kept &= table["event"].fillna("purchase").str.casefold() == "purchase"
    if foreign:
        kept &= table["product_id"].astype(str).str.match(r"\d{5}")
    moment = table["user_id"].astype(str) + " " + at.astype(str)  # of orders without a name
    found = pd.DataFrame(
        {
            "user": table["user_id"].astype(str).str.replace(FRACTION, r"\1", regex=True),
            "order": table["order_id"].astype(str).where(table["order_id"].notna(), moment),
            "item": table["product_id"].astype(str),
            "at": at.dt.tz_localize(None),
            "quantity": quantity.astype(float),
            "price": price.astype(float),
            "title": title.fillna("").astype(str),
        }
    )[kept]
    if not len(found):
        raise CatalogError(f"{path} holds no purchase with a shopper, a product and a price")
    return found.sort_values("at", kind="stable").reset_index(drop=True)
