"""Ids seen before are named, whether they are held in memory or have been put aside."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from indexer.catalog import duplicates
from indexer.catalog.duplicates import SeenIds
from indexer.catalog.rejects import Reason, RowFault


@pytest.mark.parametrize("held", [0, 1, 3, 100])
def test_each_id_is_new_once_and_where_it_was_first_is_said(
    held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "_MOST_HELD", held)
    with closing(SeenIds()) as seen:
        for file in ("a.csv", "b.csv"):
            seen.begin(Path(file))
            for row in range(1, 6):
                seen.note(f"{file} {row}", row)
        for file, row in (("a.csv", 1), ("a.csv", 5), ("b.csv", 2)):
            with pytest.raises(RowFault, match=rf"first in {file}, row {row}$") as raised:
                seen.note(f"{file} {row}", 9)
            assert raised.value.reason is Reason.DUPLICATE_ID
        seen.note("", 10)
        with pytest.raises(RowFault, match=r"first in b\.csv, row 10$"):
            seen.note("", 11)
