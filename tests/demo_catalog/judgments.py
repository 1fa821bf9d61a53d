"""Expands the hand-written judgments of `material/judgments.lst` to product ids.

Who wrote them read the products; nothing here decides a grade. A product judged twice for one query
with different grades, or a reference to nothing, is an error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from tests.demo_catalog.material import FOLDER
from tests.demo_catalog.products import Item

_REFERENCE = re.compile(r"([a-z]+)(?:\.([\d,]+))?(?:\{([^}]*)\})?(?:\s|$)")


@dataclass
class JudgedQuery:
    """A query and the grade of every product judged for it."""

    id: str
    text: str
    grades: dict[str, int] = field(default_factory=dict)


def read_judgments(items: Sequence[Item]) -> list[JudgedQuery]:
    """The queries in the order of the file, their products in the order of the catalog."""
    shelves = {slug: list(of) for slug, of in groupby(items, key=lambda item: item.type.slug)}
    queries: list[JudgedQuery] = []
    for line in (FOLDER / "judgments.lst").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("q"):
            name, text = line.split(" | ")
            queries.append(JudgedQuery(name, text))
        else:
            _judge(queries[-1], int(line[0]), line[2:], shelves)
    place = {item.row["id"]: number for number, item in enumerate(items)}
    for query in queries:
        query.grades = {
            name: query.grades[name] for name in sorted(query.grades, key=place.__getitem__)
        }
    return queries


def _judge(query: JudgedQuery, grade: int, line: str, shelves: dict[str, list[Item]]) -> None:
    left = _REFERENCE.sub("", line).strip()
    if left:
        raise ValueError(f"{query.id}: cannot read {left!r}")
    for reference in _REFERENCE.finditer(line):
        slug, models, condition = reference.groups()
        found = [item for item in shelves.get(slug, []) if _is_meant(item, models, condition)]
        if not found:
            raise ValueError(f"{query.id}: {reference[0].strip()!r} names no product")
        for item in found:
            if query.grades.setdefault(item.row["id"], grade) != grade:
                raise ValueError(f"{query.id}: {reference[0].strip()!r} was judged before")


def _is_meant(item: Item, models: str | None, condition: str | None) -> bool:
    if models and item.model.key.rpartition(".")[2] not in models.split(","):
        return False
    return all(_holds(item, part) for part in (condition or "").split(",") if part)


def _holds(item: Item, part: str) -> bool:
    """One `name=value`, `name=value/value` or `name!=value`."""
    name, _, wanted = part.partition("=")
    name, unlike = (name[:-1], True) if name.endswith("!") else (name, False)
    value = item.row.get("color") if name == "color" else item.row["attributes"].get(name)
    # Sizes may hold a slash themselves: the whole text first, then its alternatives.
    return (str(value) == wanted or str(value) in wanted.split("/")) != unlike
