"""A step is done once for one input, and a step that failed is done again."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.train.steps import Steps, state_of


def test_a_step_is_done_once_for_one_input(tmp_path: Path) -> None:
    done: list[str] = []
    for name, made_with in (("a", 1), ("a", 1), ("b", 1), ("a", 2), ("a", 2), ("a", 1)):
        Steps(tmp_path).run(
            name,
            made_with,
            lambda step=f"{name}{made_with}": done.append(step),  # type: ignore[misc]
            lambda: done.append("forgot"),
        )
    assert done == ["a1", "b1", "forgot", "a2", "forgot", "a1"]


def test_a_step_that_failed_is_done_again(tmp_path: Path) -> None:
    def fail() -> None:
        raise OSError("the disk is full")

    done: list[str] = []
    Steps(tmp_path).run("a", 1, lambda: done.append("first"))
    with pytest.raises(OSError, match="full"):
        Steps(tmp_path).run("a", 2, fail)
    Steps(tmp_path).run("a", 2, lambda: done.append("second"), lambda: done.append("forgot"))
    assert done == ["first", "second"]  # what the failed one left is of the same input: it goes on


def test_a_step_whose_result_is_gone_is_done_again(tmp_path: Path) -> None:
    done: list[str] = []
    for result in ("first", "second"):
        Steps(tmp_path).run("a", 1, lambda one=result: done.append(one), leaves=tmp_path)  # type: ignore[misc]
    gone = tmp_path / "gone"
    Steps(tmp_path).run("a", 1, lambda: done.append("third"), leaves=gone)
    assert done == ["first", "third"]


def test_the_state_of_a_folder_is_its_bytes(tmp_path: Path) -> None:
    assert not state_of(tmp_path / "none")
    (tmp_path / "a").write_text("1")
    first = state_of(tmp_path)
    (tmp_path / "a").write_text("2")
    assert state_of(tmp_path) != first
    assert len(first) == len(state_of(tmp_path / "a")) == 64
