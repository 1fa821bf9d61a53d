from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.arrays import open_array, union
from engine.errors import SnapshotDamagedError
from engine.manifest import read_manifest
from engine.snapshot import Snapshot
from engine.store import SnapshotStore

HEADER = 128  # bytes that NumPy writes before the numbers
NUMBERS = st.lists(st.integers(-50, 50), unique=True)


@pytest.fixture
def array() -> NDArray[np.float16]:
    return np.arange(24, dtype=np.float16).reshape(8, 3)


@pytest.fixture
def path(array: NDArray[np.float16], tmp_path: Path) -> Path:
    np.save(tmp_path / "some.npy", array)
    return tmp_path / "some.npy"


def test_a_flipped_bit_of_the_header_is_named_or_changes_nothing(
    path: Path, array: NDArray[np.float16]
) -> None:
    whole, messages = path.read_bytes(), []
    for place in range(HEADER):
        for bit in range(8):
            harmed = bytearray(whole)
            harmed[place] ^= 1 << bit
            path.write_bytes(harmed)
            try:
                found = open_array(path, np.float16, dimensions=2)
            except SnapshotDamagedError as error:
                messages.append(str(error))
            else:
                np.testing.assert_array_equal(found, array)
    assert len(messages) > HEADER
    assert all(str(path) in told and "snapshots rollback" in told for told in messages)


@pytest.mark.parametrize(
    "harm",
    [
        lambda whole: b"",
        lambda whole: whole[:60],
        lambda whole: whole[:-1],
        lambda whole: whole + b"\0\0",
        lambda whole: whole.replace(b"(8, 3)", b"(7, 3)"),
        lambda whole: whole.replace(b"False", b"True "),
        lambda whole: whole.replace(b"(8, 3)", b"((((("),
        lambda whole: whole.replace(b"'<f2'", b"'|O' "),
        lambda whole: b"PK\x03\x04" + whole,
    ],
    ids=["empty", "header cut", "cut", "longer", "fewer", "turned", "no shape", "objects", "zip"],
)
def test_a_file_that_is_no_such_array_is_named(path: Path, harm: Callable[[bytes], bytes]) -> None:
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(SnapshotDamagedError, match=r"some\.npy .*daogou snapshots rollback"):
        open_array(path, np.float16, dimensions=2)


def test_an_array_of_another_shape_or_type_is_named(path: Path) -> None:
    assert open_array(path, np.float16, 2, rows=8, width=3).shape == (8, 3)
    with pytest.raises(SnapshotDamagedError, match=r"array of \(8, 3\), not 9 by any"):
        open_array(path, np.float16, 2, rows=9)
    with pytest.raises(SnapshotDamagedError, match=r"array of \(8, 3\), not 8 by 4"):
        open_array(path, np.float16, 2, rows=8, width=4)
    with pytest.raises(SnapshotDamagedError, match="float16 in 2 dimensions, not int32 in 1"):
        open_array(path, np.int32)


def test_an_array_of_nothing_is_one(tmp_path: Path) -> None:
    np.save(tmp_path / "none.npy", np.empty((0, 3), dtype=np.float16))
    assert open_array(tmp_path / "none.npy", np.float16, 2, width=3).shape == (0, 3)


READERS: dict[str, Callable[[Snapshot], object]] = {
    "vectors.npy": lambda snapshot: snapshot.vectors,
    "id_rank.npy": lambda snapshot: snapshot.id_rank,
    "shelves/shelf_of.npy": lambda snapshot: snapshot.shelves,
    "shelves/prefixes.npy": lambda snapshot: snapshot.shelves,
    "facets/texts/term_rows.npy": lambda snapshot: snapshot.facets,
    "facets/texts/entry_rows.npy": lambda snapshot: snapshot.facets,
    "facets/texts/entry_starts.npy": lambda snapshot: snapshot.facets,
    "facets/offers/number_rows.npy": lambda snapshot: snapshot.facets,
    "facets/offers/numbers.npy": lambda snapshot: snapshot.facets,
    "facets/offers/number_entry_rows.npy": lambda snapshot: snapshot.facets,
    "facets/offers/number_entry_places.npy": lambda snapshot: snapshot.facets,
}


HARMS = [(name, harm) for name in READERS for harm in ("header", "rows", "type")]
HARMS.remove(("shelves/prefixes.npy", "rows"))  # of any number of shelves


@pytest.mark.parametrize(("name", "harm"), HARMS)
def test_a_snapshot_names_the_array_that_is_damaged(
    shop_store: Path, tmp_path: Path, name: str, harm: str
) -> None:
    original = SnapshotStore(shop_store).current()
    for part in original.rglob("*"):
        place = tmp_path / part.relative_to(original)
        if part.is_dir():
            place.mkdir()
        elif part.relative_to(original).as_posix() != name:
            place.symlink_to(part)
    array, path = np.load(original / name), tmp_path / name
    np.save(path, array[:-1] if harm == "rows" else array.astype(np.uint8))
    if harm == "header":
        path.write_bytes((original / name).read_bytes().replace(b"shape", b"shqpe"))
    # As a large file is opened, whose bytes nobody had the time to read.
    snapshot = Snapshot(tmp_path, read_manifest(original))
    with pytest.raises(SnapshotDamagedError, match="daogou snapshots rollback") as named:
        READERS[name](snapshot)
    assert str(path.parent) in str(named.value)


class Cycle:
    """Garbage whose end lets other threads run, wherever it is collected."""

    def __init__(self) -> None:
        self.own = self

    def __del__(self) -> None:
        time.sleep(0)


def test_headers_may_be_read_by_many_threads(tmp_path: Path) -> None:
    """Without a lock, one in 1,500 of these raised SystemError on Python 3.11.7."""
    path = tmp_path / "one.npy"
    np.save(path, np.zeros(10, dtype=np.int32))

    def read() -> None:
        for _ in range(1_000):
            Cycle()
            open_array(path, np.int32)

    switches, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(20)
    try:
        with ThreadPoolExecutor(6) as threads:
            for done in [threads.submit(read) for _ in range(6)]:
                done.result()
    finally:
        sys.setswitchinterval(switches)
        gc.set_threshold(*thresholds)


@given(first=NUMBERS, second=NUMBERS)
def test_a_union_has_every_number_once_ascending(first: list[int], second: list[int]) -> None:
    one, other = np.array(first, dtype=np.int64), np.array(second, dtype=np.int64)
    found = union(one, other)
    assert found.tolist() == sorted({*first, *second})
    assert found.dtype == np.int64
