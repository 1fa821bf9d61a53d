from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from daogou import app
from engine.errors import CatalogError, SettingsError, TrainingError
from engine.guide.spans import SHIPPED_SPANS, SpanTagger, load_spans
from indexer.train.spans import cooled, folds, read_labelled, write_spans

MAKERS = ("aurio", "emberly", "tarrowby", "loomwell", "ridgeline", "simple")
COLOURS = ("red", "blue", "green", "black", "white")
THINGS = (("kettle",), ("travel", "mug"), ("tent", "pegs"), ("belt",), ("desk", "fan"))


def lines() -> list[dict[str, list[str]]]:
    """Every maker with every thing in every colour."""
    return [
        {
            "tokens": [colour, maker, *thing],
            "labels": ["B-color", "B-creator", "B-thing", *["I-thing"] * (len(thing) - 1)],
        }
        for maker in MAKERS
        for colour in COLOURS
        for thing in THINGS
    ]


@pytest.fixture(scope="module")
def known() -> NDArray[np.float32]:
    """What an encoder might make of its vocabulary."""
    return np.random.default_rng(3).normal(size=(30_522, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def queries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("spans") / "queries.jsonl"
    path.write_text("\n".join(map(json.dumps, lines())), encoding="utf-8")
    return path


def test_what_is_learnt_is_served_as_it_was_learnt(
    queries: Path, known: NDArray[np.float32], tmp_path: Path
) -> None:
    write_spans(queries, tmp_path / "first", seed=1, known=known)

    tagger = load_spans(tmp_path / "first")
    found = [(one.type, one.text) for one in tagger.tag("blue ridgeline travel mug")]

    assert found == [("color", "blue"), ("creator", "ridgeline"), ("thing", "travel mug")]
    card = (tmp_path / "first" / "README.md").read_text(encoding="utf-8")
    assert "thing 150" in card.replace("\n", " ")
    assert "--seed 1" in card


def test_a_dry_run_counts_and_writes_nothing(queries: Path, tmp_path: Path) -> None:
    out = tmp_path / "spans"
    found = CliRunner().invoke(
        app, ["train", "spans", "--queries", str(queries), "--out", str(out), "--dry-run"]
    )

    assert found.exit_code == 0
    assert "150 queries, 450 spans of 3 types" in found.output
    assert not out.exists()


def test_too_few_queries_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "few.jsonl"
    path.write_text(json.dumps(lines()[0]), encoding="utf-8")

    with pytest.raises(TrainingError, match="at least"):
        write_spans(path, tmp_path / "out")


def test_a_folder_that_holds_something_else_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")

    with pytest.raises(SettingsError, match=r"holds 'notes\.txt'"):
        write_spans(tmp_path / "none.jsonl", tmp_path)
    former = shutil.copytree(SHIPPED_SPANS, tmp_path / "former")
    with pytest.raises(CatalogError, match=r"none\.jsonl"):  # what it read next
        write_spans(tmp_path / "none.jsonl", former)


@pytest.mark.parametrize(
    "line",
    [
        "red kettle",
        "{}",
        '{"tokens": ["red"], "labels": []}',
        '{"tokens": [], "labels": []}',
        '{"tokens": ["red"], "labels": ["color"]}',
        '{"tokens": ["red"], "labels": ["B-"]}',
        '{"tokens": ["red"], "labels": ["I- "]}',
        '{"tokens": ["red"], "labels": [1]}',
    ],
)
def test_a_line_that_is_no_labelled_query_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text(f"{json.dumps(lines()[0])}\n\n{line}\n", encoding="utf-8")

    with pytest.raises(CatalogError, match="line 3"):
        read_labelled(path)


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"none\.jsonl"):
        read_labelled(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n\n", encoding="utf-8")
    with pytest.raises(CatalogError, match=r"empty\.jsonl has no query"):
        read_labelled(tmp_path / "empty.jsonl")
    (tmp_path / "zip").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(CatalogError, match="zip"):
        read_labelled(tmp_path / "zip")


def test_any_json_is_read_whatever_begins_the_file_or_ends_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    line = '{"tokens": ["red\u2028or\u0085blue"], "labels": ["O"]}'
    path.write_bytes(f"\ufeff{line}\r\n{line}".encode())

    assert [one.words for one in read_labelled(path)] == [("red\u2028or\u0085blue",)] * 2


def test_the_same_words_are_on_one_side_of_a_fold(queries: Path) -> None:
    labelled = [*read_labelled(queries), *read_labelled(queries)]

    for inside, outside in folds(labelled, 3, seed=0):
        words = {labelled[place].words for place in inside}
        assert not any(labelled[place].words in words for place in outside)


def test_a_temperature_changes_how_sure_a_tagger_is_and_no_label() -> None:
    shipped = load_spans(SHIPPED_SPANS)
    unsure = SpanTagger(shipped.info, cooled(shipped.weights, 3.0), shipped.tokenizer)

    for query in ("black leather belt", "sony headphones", "3 piece patio set"):
        before, after = shipped.tag_words(query.split()), unsure.tag_words(query.split())
        assert [one[:3] for one in before] == [one[:3] for one in after]
        assert all(later[3] < one[3] for one, later in zip(before, after, strict=True))
