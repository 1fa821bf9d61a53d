"""JSON Lines: a bad line is rejected, the rest is read."""

from __future__ import annotations

import json
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


OBJECTS = [{"id": "a", "title": "Mug"}, {"id": "b", "title": "Pan"}]
ARRAY = json.dumps(OBJECTS)
LONG = [{"id": str(number), "title": "Mug" * 100} for number in range(4_000)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ARRAY.replace("{", "\n{").replace("]", "\n]\n"), r"one JSON array.* jq -c '\.\[\]'"),
        (f"\ufeff \n\n[\n{ARRAY[1:-1]}\n]", r"one JSON array.* jq -c '\.\[\]'"),
        (ARRAY, r"one JSON array.* jq -c '\.\[\]'"),
        (f"\n  [ {ARRAY[1:]}\n", r"one JSON array.* jq -c '\.\[\]'"),
        (json.dumps(LONG), r"one JSON array.* jq -c '\.\[\]'"),
        (json.dumps({"products": LONG}), r"one JSON object.* jq -c '\.products\[\]'"),
        (f'{{"products": [\n{ARRAY[1:]}}}', r"one JSON object.* jq -c '\.products\[\]'"),
        (json.dumps(OBJECTS[0], indent=1), r"over several lines.* jq -c \. FILE"),
        (json.dumps({"products": OBJECTS}), r"no column for the id\..* jq -c '\.products\[\]'"),
        (
            json.dumps({"total": 2, "tags": ["x"], "data": {"the items": OBJECTS}}),
            r"""no column for the id\..* jq -c '\.data\."the items"\[\]'""",
        ),
    ],
    ids=lambda value: value[:20],
)
def test_json_that_is_not_one_object_a_line_is_a_clear_error(
    tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "shop.json"
    path.write_text(content, "utf-8")
    with pytest.raises(CatalogError, match=message):
        read(path)


@pytest.mark.parametrize("first", ["[]", '["id", "title"]', '{"id": ', '{"variants": [{"id": 1}'])
def test_a_first_line_that_is_no_object_is_a_bad_row_like_another(
    tmp_path: Path, first: str
) -> None:
    path = tmp_path / "shop.jsonl"
    path.write_text(f'{first}\n{{"id": "a", "title": "Mug", "parts": [{{"name": "lid"}}]}}\n')
    outcome = read(path)
    assert outcome.ids == ["a"]
    assert [(entry["row"], entry["reason"]) for entry in outcome.rejects] == [(1, "malformed JSON")]


def test_objects_in_every_product_are_not_taken_for_the_catalog(tmp_path: Path) -> None:
    path = tmp_path / "shop.jsonl"
    path.write_text('{"code": "a", "title": "Mug", "parts": [{"name": "lid"}]}\n' * 2)
    with pytest.raises(CatalogError, match="Name it with --map id=code"):
        read(path)
