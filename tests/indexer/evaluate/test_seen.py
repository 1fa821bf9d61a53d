from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from engine.errors import EvaluationError
from indexer.evaluate.seen import (
    query_hash,
    read_training_hashes,
    seen_by_model,
    seen_in_training,
    write_training_queries,
)

_QUERIES = {"q1": "Red  Shoes", "q2": "blue mug", "q3": "lamp"}


def test_the_hash_is_of_the_query_without_case_width_and_spacing() -> None:
    assert query_hash("red shoes") == hashlib.sha256(b"red shoes").hexdigest()[:16]
    assert query_hash(" Ｒed\tSHOES ") == query_hash("red shoes")
    assert query_hash("red shoe") != query_hash("red shoes")


def test_queries_are_found_by_model(tmp_path: Path) -> None:
    for folder, queries in {
        "models/encoder": ["red shoes", "tent"],
        "ranking": ["LAMP", "lamp", "red shoes"],
    }.items():
        (tmp_path / folder).mkdir(parents=True)
        write_training_queries(tmp_path / folder, queries)
    (tmp_path / "models" / "reranker").mkdir()
    assert seen_by_model(tmp_path, _QUERIES) == {"encoder": ("q1",), "ranking": ("q1", "q3")}
    assert seen_in_training(tmp_path, _QUERIES) == {"q1", "q3"}
    lines = (tmp_path / "ranking" / "training_queries.txt").read_text().splitlines()
    assert lines == sorted({query_hash("lamp"), query_hash("red shoes")})


def test_a_snapshot_without_lists_has_seen_nothing(tmp_path: Path) -> None:
    assert seen_in_training(tmp_path / "nowhere", _QUERIES) == set()


def test_a_damaged_list_is_named(tmp_path: Path) -> None:
    path = tmp_path / "training_queries.txt"
    path.write_text(f"{query_hash('lamp')}\n\nred shoes\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"training_queries\.txt:3: 'red shoes' is no hash"):
        read_training_hashes(tmp_path)
    path.write_bytes(b"\xff\n")
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_training_hashes(tmp_path)
