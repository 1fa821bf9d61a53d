"""The numbers that a result's products have in a column, looked up by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.errors import SnapshotDamagedError
from engine.retrieval.counts import count
from engine.retrieval.facet_columns import NUMBER_ENTRY_PLACES, NUMBER_ENTRY_ROWS
from engine.retrieval.facets import Facets
from engine.types import AttributeValue, Product
from tests.parts import facets_of

SIZE = 400


def products() -> list[Product]:
    """Prices that most have, some of them alike; watts that are lists, texts, numbers or absent."""
    draw = np.random.default_rng(5)
    made = []
    for row in range(SIZE):
        watts: list[AttributeValue] = [9, "9 W", [f"{row % 7}", "a"], float(row % 11) / 2]
        kind = int(draw.integers(5))
        made.append(
            Product(
                f"p{row:03d}",
                "Lamp",
                price=None if draw.random() < 0.2 else float(draw.integers(1, 60)) / 4,
                attributes={} if kind == 4 else {"watts": watts[kind]},
            )
        )
    return made


def without_entries(folder: Path) -> None:
    """As snapshots were before entries of numbers were written."""
    for part in ("texts", "offers"):
        for name in (NUMBER_ENTRY_ROWS, NUMBER_ENTRY_PLACES):
            (folder / part / name).unlink()


@pytest.mark.parametrize("older", [False, True])
def test_numbers_of_rows_are_those_of_the_products(tmp_path: Path, older: bool) -> None:
    made = products()
    facets_of(tmp_path, made)
    if older:
        without_entries(tmp_path)
    facets = Facets(tmp_path, SIZE)
    draw = np.random.default_rng(6)
    for size in (0, 1, 7, 150, SIZE):
        rows = np.sort(draw.choice(SIZE, size, replace=False)).astype(np.int64)
        for name in ("price", "attributes.watts"):
            expected = []
            for place, row in enumerate(rows.tolist()):
                product = made[row]
                value = product.price if name == "price" else product.attributes.get("watts")
                if isinstance(value, (int, float)):
                    expected.append((float(value), place))
            numbers, places = facets.numbers_of(name, rows)
            assert list(zip(numbers.tolist(), places.tolist(), strict=True)) == sorted(expected)
    assert not len(facets.numbers_of("rating", np.arange(SIZE))[0])


def test_an_older_snapshot_counts_the_same(tmp_path: Path) -> None:
    made = products()
    new = facets_of(tmp_path, made)
    rows = np.arange(3, SIZE, 2)
    keys = rows // 3  # variants
    expected = [count(new, name, rows, keys) for name in ("price", "watts")]
    without_entries(tmp_path)
    old = Facets(tmp_path, SIZE)
    assert [count(old, name, rows, keys) for name in ("price", "watts")] == expected
    assert any(value.low is not None for value in expected[0].values)


def test_half_of_the_entries_is_damage(tmp_path: Path) -> None:
    facets_of(tmp_path, products())
    (tmp_path / "offers" / NUMBER_ENTRY_PLACES).unlink()
    with pytest.raises(SnapshotDamagedError, match=NUMBER_ENTRY_PLACES):
        Facets(tmp_path, SIZE)
