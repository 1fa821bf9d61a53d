"""Which column feeds which field of a product."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path

from engine.errors import CatalogError
from indexer.catalog.fields import DELETED, FIELDS
from indexer.catalog.layouts import Layout, find_layout, matching_layout
from indexer.catalog.rows.table import Table

_ALSO_NAMED = {
    "id": ("product_id", "item_id"),
    "title": ("name", "product_name", "product_title"),
    "description": (
        "product_description", "long_description", "body_html", "short_description", "summary",
    ),
    "bullet_points": ("bullets", "highlights", "short_description"),
    "brand": ("manufacturer", "vendor", "brand_name"),
    "color": ("colour",),
    "category": ("category_path", "product_category", "product_type"),
    DELETED: ("is_deleted",),
}  # fmt: skip
"""What feeds of shops and their systems call fields of text, and a product that goes. Of several,
the first that is there; none where the field's own name is. Left out are fields that a value may
not fit (a column that only sounds like a number would have its rows rejected) or not whole (several
GTINs)."""
_OFTEN_NAMED = {"id": ("asin", "sku", "handle", "uid", "code"), "title": ("label",)}
"""What may well hold them, and is to be confirmed."""


class Columns:
    """What becomes of each column: `--map` decides, then the layout, then the column's own name.

    Names are compared without case, and with spaces and hyphens as underscores. A field that no
    column is named after is fed by one that is often called otherwise (`_ALSO_NAMED`), but not in
    the files of a published layout, which is to be asked for. Whatever feeds no field is an
    attribute.
    """

    def __init__(self, layout: Layout, mapping: Mapping[str, str]) -> None:
        fields = (*FIELDS, DELETED) if layout.removals else FIELDS
        unknown = [name for name in mapping if name not in fields]
        if unknown:
            close = difflib.get_close_matches(unknown[0], fields, n=1)
            meant = f" Did you mean {close[0]}?" if close else ""
            raise CatalogError(
                f"--map {unknown[0]}={mapping[unknown[0]]}: there is no field {unknown[0]!r}."
                f"{meant} Fields: {', '.join(fields)}"
            )
        self._fields = frozenset(fields)
        self._layout = layout
        self._mapping = dict(mapping)
        self._column_of = {**layout.columns, **mapping}
        self._fed: dict[str, list[str]] = {}
        self._last: tuple[tuple[str, ...], tuple[tuple[str, list[str]], ...]] = ((), ())
        for name, column in self._column_of.items():
            self._fed.setdefault(column, []).append(name)

    @property
    def mapped(self) -> set[str]:
        """The columns that `--map` names."""
        return set(self._mapping.values())

    def feeds(self, column: str, beside: Collection[str]) -> list[str]:
        """The fields a column feeds, among the columns beside it; none where it is an attribute.

        Of `Title` and `title` the exact name is the field, the other an attribute.
        """
        if column in self._fed:
            return self._fed[column]
        name = as_field(column)
        if name != column and name in beside:
            return []
        if name in self._fields:
            return [] if name in self._column_of else [name]
        return self._also(name, beside)

    def _also(self, name: str, beside: Collection[str]) -> list[str]:
        """The field that a column of another name feeds, if no better one does."""
        if self._layout.columns or matching_layout(tuple(beside)):
            return []
        there = {as_field(column) for column in beside if column not in self._fed}
        for field, others in _ALSO_NAMED.items():
            if name not in others or field not in self._fields:
                continue
            better = {field, *others[: others.index(name)]}
            if field not in self._column_of and not better & there:
                return [field]
        return []

    def feeding(self, row: Mapping[str, object]) -> tuple[tuple[str, list[str]], ...]:
        """Each column of a row, with the fields it feeds."""
        names = tuple(row)
        if names != self._last[0]:  # seldom: the rows of a table are alike
            self._last = names, tuple((name, self.feeds(name, row)) for name in names)
        return self._last[1]

    def check(self, path: Path, table: Table) -> None:
        """Refuse a file that lacks a column named by `--map`, or one for id or title.

        Raises:
            CatalogError: the message lists the columns there are.
        """
        if not table.columns:  # JSON Lines of which no row could be read
            return
        if table.fixed:
            for name, column in self._mapping.items():
                if column not in table.columns:
                    raise CatalogError(
                        f"{path} has no column {column!r}, which --map {name}={column} names. "
                        f"{_listed(table.columns)}"
                    )
        fed = {name for column in table.columns for name in self.feeds(column, table.columns)}
        for name in self._layout.required:
            if name not in fed:
                raise CatalogError(f"{path} {self._lacking(name, table)}")

    def _lacking(self, name: str, table: Table) -> str:
        """What is missing, and what to do about it."""
        columns = table.columns
        there = _listed(columns)
        if column := self._layout.columns.get(name):
            return f"has no column {column!r}: it is not in the {self._layout.name} layout. {there}"
        cure = table.cure or f"Name it with --map {name}={_closest(name, columns)}"
        if layout := matching_layout(columns):
            cure = f"Read it with --format {layout}"
            if self._layout.removals:
                cure = _named(layout)
        return f"has no column for the {name}. {cure}. {there}"


@lru_cache(maxsize=4_096)
def as_field(column: str) -> str:
    """A column's name as fields are written: `Is Deleted` is `is_deleted`."""
    return column.strip().casefold().replace(" ", "_").replace("-", "_")


def _closest(name: str, columns: tuple[str, ...]) -> str:
    """The column that most likely holds a field."""
    by_name = {as_field(column): column for column in columns}
    likely = [often for often in _OFTEN_NAMED[name] if often in by_name]
    likely += [column for column in by_name if name in column.split("_")]
    likely += difflib.get_close_matches(name, by_name, n=1, cutoff=0.5)
    return by_name[likely[0]] if likely else "COLUMN"


def _named(layout: str) -> str:
    """What to do about changes in the layout of a published set."""
    of = find_layout(layout).columns
    return (
        f"Changes are not read in the {layout} layout: name each column that is to be read, "
        f"--map id={of['id']} --map title={of['title']} and so on"
    )


def _listed(columns: tuple[str, ...]) -> str:
    shown = ", ".join(columns[:40])
    return f"Its columns: {shown}{', …' if len(columns) > 40 else ''}"
