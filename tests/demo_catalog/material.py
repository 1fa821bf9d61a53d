"""Reads the hand-written material in `material/*.txt`: one file a department, one block a type.

The format, line by line::

    == slug | Department > Shelf > Type     a product type; judgments refer to its slug
    % repeat=30 pop=2 peak=6,7              how it is bought (see purchases.py)
    ~ A sentence true of every model of the type.
    * A bullet point true of every model of the type.
    @ Brand | Title | 39.99 | key=value; key=value | color: Red, Blue +2 | size: S, M
    Free text about this model, over as many lines as it needs.
    - A bullet point of this model.

A title that starts with `=` is kept as it is; others get the brand in front. An axis (`color: …`)
makes variants; `+2` or `-2` after a value moves the price. `{color}` in a title is replaced by the
variant's value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent / "material"

Value = str | int | float | bool | list[str]


@dataclass(frozen=True)
class Axis:
    """One way in which the variants of a model differ."""

    name: str
    values: tuple[tuple[str, float], ...]  # (value, what it adds to the price)


@dataclass
class Model:
    """One design of one brand, in one or more variants."""

    key: str  # "kettle.1"
    brand: str
    title: str
    price: float
    attributes: dict[str, Value]
    axes: tuple[Axis, ...]
    text: str = ""
    bullets: list[str] = field(default_factory=list)


@dataclass
class ProductType:
    """One shelf's kind of thing, with what is true of all its models."""

    slug: str
    category: tuple[str, ...]
    habits: dict[str, str] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)
    bullets: list[str] = field(default_factory=list)
    models: list[Model] = field(default_factory=list)


@dataclass(frozen=True)
class Brand:
    """An invented brand and how it talks."""

    name: str
    voice: tuple[str, ...]


def read_types() -> list[ProductType]:
    """Every product type, departments in the order of their file names."""
    types: list[ProductType] = []
    for path in sorted(FOLDER.glob("*.txt")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                _read_line(line.strip(), types)
            except (ValueError, IndexError) as error:
                raise ValueError(f"{path.name}:{number}: {error}: {line!r}") from error
    return types


def read_brands() -> dict[str, Brand]:
    """The brands of `brands.tsv`: a name, then sentences in the brand's voice."""
    rows = (FOLDER / "brands.tsv").read_text(encoding="utf-8").splitlines()
    cells = [row.split("\t") for row in rows if row]
    return {name: Brand(name, tuple(voice)) for name, *voice in cells}


def value_of(text: str) -> Value:
    """The typed value of an attribute as written: yes/no, a number, `a & b` a list, or text."""
    if text in {"yes", "no"}:
        return text == "yes"
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    if re.fullmatch(r"-?\d+\.\d+", text):
        return float(text)
    return text.split(" & ") if " & " in text else text


def _read_line(line: str, types: list[ProductType]) -> None:
    mark, _, rest = line.partition(" ")
    if not line or line.startswith("#"):
        return
    if mark == "==":
        slug, category = rest.split(" | ")
        types.append(ProductType(slug, tuple(part.strip() for part in category.split(" > "))))
    elif mark == "%":
        types[-1].habits = dict(item.split("=") for item in rest.split())
    elif mark == "~":
        types[-1].sentences.append(rest)
    elif mark == "*":
        types[-1].bullets.append(rest)
    elif mark == "@":
        types[-1].models.append(_model(rest, types[-1]))
    elif mark == "-":
        types[-1].models[-1].bullets.append(rest)
    else:
        model = types[-1].models[-1]
        model.text = f"{model.text} {line}".strip()


def _model(line: str, of: ProductType) -> Model:
    brand, title, price, *rest = (cell.strip() for cell in line.split(" | "))
    written = rest[0] if rest and "=" in rest[0] else ""
    axes = tuple(_axis(cell) for cell in rest[1 if written else 0 :] if cell)
    attributes = dict(_attribute(item) for item in written.split(";") if item.strip())
    brand = "" if brand == "-" else brand
    full = title[1:] if title.startswith("=") else f"{brand} {title}".strip()
    key = f"{of.slug}.{len(of.models) + 1}"
    return Model(key, brand, full, float(price), attributes, axes)


def _attribute(item: str) -> tuple[str, Value]:
    name, _, text = item.strip().partition("=")
    if not text:
        raise ValueError(f"attribute without value: {item!r}")
    return name, value_of(text)


def _axis(cell: str) -> Axis:
    name, _, listed = cell.partition(": ")
    if not listed:
        raise ValueError(f"axis without values: {cell!r}")
    return Axis(name, tuple(_step(item.strip()) for item in listed.split(",")))


def _step(item: str) -> tuple[str, float]:
    found = re.fullmatch(r"(.+?) ([+-]\d+(?:\.\d+)?)", item)
    return (found[1], float(found[2])) if found else (item, 0.0)
