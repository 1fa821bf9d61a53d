"""Folders that commands write: a former one of its kind is replaced, and nothing else is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import SettingsError
from indexer.folders import CARD, replaceable, replaced

INFO, WEIGHTS, TREES = "info.json", "weights.npz", "trees-*.txt"


def write(folder: Path, *names: str) -> Path:
    """A folder of files that hold their own names."""
    folder.mkdir()
    for name in names:
        (folder / name).write_text(name, encoding="utf-8")
    return folder


@pytest.mark.parametrize("names", [(), (INFO,), (INFO, CARD, WEIGHTS, "trees-fused.txt")])
def test_a_former_one_of_its_kind_is_replaced_whole(tmp_path: Path, names: tuple[str, ...]) -> None:
    out = replaceable(write(tmp_path / "out", *names), INFO, WEIGHTS, TREES)
    with replaced(out) as fresh:
        (fresh / INFO).write_text("new", encoding="utf-8")
    assert [path.name for path in out.iterdir()] == [INFO]
    assert (out / INFO).read_text(encoding="utf-8") == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("names", "named"),
    [
        (("notes.txt",), "notes.txt"),
        ((INFO, WEIGHTS, "notes.txt"), "notes.txt"),
        ((CARD,), CARD),  # without the file that it is known by, a card is anyone's
    ],
)
def test_what_would_be_lost_is_named_and_stays(
    tmp_path: Path, names: tuple[str, ...], named: str
) -> None:
    out = write(tmp_path / "out", *names)
    with pytest.raises(SettingsError, match=f"out holds '{named}', which would be lost. Name a"):
        replaceable(out, INFO, WEIGHTS, TREES)
    assert {path.name for path in out.iterdir()} == set(names)


def test_a_folder_beside_the_files_and_a_file_in_its_place_are_no_former_one(
    tmp_path: Path,
) -> None:
    out = write(tmp_path / "out", INFO)
    write(out / "trees-old.txt")
    with pytest.raises(SettingsError, match="trees-old"):
        replaceable(out, INFO, TREES)
    with pytest.raises(SettingsError, match="is no folder"):
        replaceable(out / INFO, INFO)


@pytest.mark.parametrize("name", [".", "/", "../here"])
def test_what_cannot_be_replaced_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(write(tmp_path / "here", INFO))
    with pytest.raises(SettingsError, match=f"^--out: {name} cannot be replaced"):
        replaceable(Path(name), INFO)


def test_a_folder_is_known_by_its_full_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write(tmp_path / "here"))
    assert replaceable(Path("../other"), INFO) == tmp_path.resolve() / "other"


def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    out = write(tmp_path / "out", INFO)
    with pytest.raises(OSError, match="full"), replaced(out):
        raise OSError("the disk is full")
    assert (out / INFO).read_text(encoding="utf-8") == INFO
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
