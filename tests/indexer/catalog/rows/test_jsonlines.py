"""JSON Lines: a bad line is rejected, the rest is read."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from engine.errors import CatalogError
from tests.indexer.catalog.catalogs import read


def test_bad_lines_are_named_and_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "shop.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"id": "a", "title": "Mug"}\n'
        b"\n"
        b'{"id": "b", "title": \n'
        b'["not", "an object"]\n'
        b'{"id": "c", "title": "Caf\xe9"}\n'
        b'{"id": "d", "title": "half \\ud83d"}\n' + b"[" * 100_000 + b"\n"
        b'{"id": "e", "title": ' + b"9" * 5_000 + b"}\n"
        b'{"id": "f", "title": "Kettle", "price": Infinity}\n'
        b'{"id": "g", "title": "Pan", "price": NaN}'
    )
    outcome = read(path)
    assert outcome.ids == ["a", "g"]
    assert [(entry["row"], entry["reason"]) for entry in outcome.rejects] == [
        (3, "malformed JSON"),
        (4, "malformed JSON"),
        (5, "bad encoding"),
        (6, "bad encoding"),
        (7, "malformed JSON"),
        (8, "malformed JSON"),
        (9, "unparsable price"),
    ]


def test_a_line_without_end_is_skipped_without_holding_it(tmp_path: Path) -> None:
    path = tmp_path / "shop.jsonl"
    with path.open("wb") as file:
        file.write(b'{"id": "a", "title": "Mug"}\n{"id": "')
        for _ in range(32):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\n{"id": "c", "title": "Pan"}\n')
    tracemalloc.start()
    outcome = read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert outcome.ids == ["a", "c"]
    assert [(entry["row"], entry["reason"]) for entry in outcome.rejects] == [(2, "line too long")]
    assert peak < 8 << 20


def test_numbers_become_text_where_text_is_meant(tmp_path: Path) -> None:
    path = tmp_path / "shop.ndjson"
    path.write_text('{"id": 12, "title": 1984.0}\n{"id": "012", "title": 1.5}\n', "utf-8")
    outcome = read(path)
    assert [(product.id, product.title) for product in outcome.products] == [
        ("12", "1984"),
        ("012", "1.5"),
    ]


def test_one_json_array_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "shop.json"
    path.write_text('[\n{"id": "a", "title": "Mug"}\n]\n', "utf-8")
    with pytest.raises(CatalogError, match="jq -c"):
        read(path)
