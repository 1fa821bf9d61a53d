"""Published product sets, read in their own layout. Adding one is one entry in `published`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.errors import CatalogError
from engine.types import AttributeValue
from indexer.catalog.attributes import infer

Prepare = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]
"""A row → the row in our terms; None for one that is not part of the catalog."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a set names and writes its columns."""

    name: str
    columns: Mapping[str, str] = field(default_factory=dict)
    """Field → column, where the set has that column."""
    files: str = "*"
    """Glob of the product files among the set's other files."""
    delimiter: str | None = None
    prepare: Prepare = dict
    selection: str = ""
    """Which rows `prepare` keeps, for messages; empty where it keeps all."""
    removals: bool = False
    """Whether a row may say that a product goes; an id may then occur again."""

    @property
    def required(self) -> tuple[str, ...]:
        """Fields that a file must have a column for."""
        return ("id",) if self.removals else ("id", "title")


AUTO = Layout("auto")
CHANGES = Layout("changes", removals=True)

_WANDS = {
    "id": "product_id",
    "title": "product_name",
    "description": "product_description",
    "category": "category hierarchy",
    "attributes": "product_features",
    "rating": "average_rating",
    "rating_count": "rating_count",
}
_ESCI = {
    "id": "product_id",
    "title": "product_title",
    "description": "product_description",
    "bullet_points": "product_bullet_point",
    "brand": "product_brand",
    "color": "product_color",
}


def find_layout(name: str) -> Layout:
    """The layout of that name: `auto`, `wands`, `esci`, or `esci:LOCALE`.

    ESCI uses an id once for each locale, so one locale is a catalog: `us` unless another is named.

    Raises:
        CatalogError: there is none.
    """
    base, _, locale = name.partition(":")
    if base == "esci" and (locale or name == "esci"):
        return _esci(locale or "us")
    if name == "wands":
        return Layout("wands", _WANDS, "product.csv*", delimiter="\t", prepare=_wands_row)
    if name == "auto":
        return AUTO
    raise CatalogError(f"there is no format {name!r}. Choose auto, wands, esci or esci:LOCALE")


def matching_layout(columns: tuple[str, ...]) -> str:
    """The published layout that these columns are in; empty if none."""
    told_by = {"wands": ("id", "title", "category"), "esci": ("id", "title")}
    for name, fields in told_by.items():
        if {find_layout(name).columns[field] for field in fields} <= set(columns):
            return name
    return ""


def _esci(locale: str) -> Layout:
    def prepare(values: Mapping[str, Any]) -> Mapping[str, Any] | None:
        kept = dict(values)
        return kept if kept.pop("product_locale", locale) == locale else None

    return Layout(
        "esci", _ESCI, "*products*.parquet", prepare=prepare, selection=f"product_locale {locale!r}"
    )


def _wands_row(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row with `a / b / c` as levels, and `name:value|name : value` as attributes."""
    prepared = dict(values)
    if isinstance(shelf := prepared.get("category hierarchy"), str):
        prepared["category hierarchy"] = shelf.split(" / ")
    if isinstance(features := prepared.get("product_features"), str):
        prepared["product_features"] = _features(features)
    return prepared


def _features(text: str) -> dict[str, AttributeValue]:
    """Features by name; one given more than once holds the list of its different values."""
    found: dict[str, list[str]] = {}
    for feature in text.split("|"):
        name, _, value = (part.strip() for part in feature.partition(":"))
        if name and value and value not in found.setdefault(name, []):
            found[name].append(value)
    return {
        name: infer(values[0]) if len(values) == 1 else list(values)
        for name, values in found.items()
        if values
    }
