"""How near two shelves are, against a reading of the paths themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import SnapshotDamagedError
from engine.normal import comparable
from engine.retrieval.shelves import MAX_DEPTH, ShelfBuilder, Shelves

PATHS = [
    ("Kitchen", "Kettles"),
    ("kitchen", "Kettles"),
    ("Kitchen", "Mugs", "Travel"),
    ("Garden", "Kettles"),
    (),
]
LEVELS = st.lists(st.sampled_from("aAbc"), max_size=MAX_DEPTH + 2).map(tuple)


def built(folder: Path, paths: list[tuple[str, ...]]) -> Shelves:
    builder = ShelfBuilder(folder)
    for path in paths:
        builder.add(path)
    builder.finish()
    return Shelves(folder, len(paths))


def nearness(one: tuple[str, ...], other: tuple[str, ...]) -> float:
    first, second = ([comparable(name) for name in path[:MAX_DEPTH]] for path in (one, other))
    common = 0
    while common < min(len(first), len(second)) and first[common] == second[common]:
        common += 1
    return common / max(len(first), len(second), 1)


def test_nearness_counts_common_levels_from_the_top(tmp_path: Path) -> None:
    shelves = built(tmp_path, PATHS)
    found = shelves.likeness(np.arange(5), np.array([0]))
    # Itself left out; the same shelf in another spelling; a third; another department; none.
    assert found.tolist() == pytest.approx([0, 1, 1 / 3, 0, 0])
    assert shelves.likeness(np.array([0]), np.array([1, 2, 3, 4])).tolist() == pytest.approx(
        [1 / 3]
    )


@settings(max_examples=60, deadline=None)
@given(paths=st.lists(LEVELS, min_size=1, max_size=8), data=st.data())
def test_it_is_the_mean_over_the_others(
    paths: list[tuple[str, ...]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shelves = built(tmp_path_factory.mktemp("shelves"), paths)
    places = st.sets(st.sampled_from(range(len(paths))))
    among = sorted(data.draw(places))
    found = shelves.likeness(np.arange(len(paths)), np.array(among, dtype=np.int64))
    for row, value in enumerate(found.tolist()):
        others = [nearness(paths[row], paths[one]) for one in among if one != row]
        assert value == pytest.approx(np.mean(others) if others else 0.0, abs=1e-6)


def test_damage_is_named(tmp_path: Path) -> None:
    built(tmp_path, PATHS)
    with pytest.raises(SnapshotDamagedError, match=r"array of \(5,\), not 6"):
        Shelves(tmp_path, 6)
    with pytest.raises(SnapshotDamagedError, match="shelf_of"):
        Shelves(tmp_path / "nowhere", 5)
