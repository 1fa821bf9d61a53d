from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.errors import EvaluationError
from indexer.evaluate.layouts import read_layout

_QUERIES = 'query_id\tquery\tquery_class\n0\tsalon chair\tMassage Chairs\n1\t36" vanity\t\n'


def _wands(folder: Path, labels: str, queries: str = _QUERIES) -> tuple[Path, Path]:
    paths = folder / "query.csv", folder / "label.csv"
    for path, content in zip(paths, (queries, labels), strict=True):
        path.write_text(content, encoding="utf-8")
    return paths


def _esci(folder: Path, rows: list[dict[str, object]]) -> Path:
    path = folder / "examples.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def _row(product_id: str, label: str, **others: object) -> dict[str, object]:
    known = {"query_id": 7, "query": "desk fan", "product_locale": "us", "split": "test"}
    return {**known, "product_id": product_id, "esci_label": label, **others}


def test_wands_labels_become_grades(tmp_path: Path) -> None:
    paths = _wands(
        tmp_path,
        "id\tquery_id\tproduct_id\tlabel\n"
        "0\t0\t25434\tExact\n1\t0\t12088\tIrrelevant\n2\t1\t42931\tPartial\n",
    )
    judged = read_layout("wands", *paths)
    assert judged.texts == {"0": "salon chair", "1": '36" vanity'}
    assert judged.qrels == {"0": {"25434": 3, "12088": 0}, "1": {"42931": 2}}
    assert judged.notes == ()


def test_where_a_published_set_contradicts_itself_the_lower_grade_stands(tmp_path: Path) -> None:
    head = "id\tquery_id\tproduct_id\tlabel\n"
    for rows in ("0\t0\ta\tExact\n1\t0\ta\tPartial\n", "0\t0\ta\tPartial\n1\t0\ta\tExact\n"):
        judged = read_layout("wands", *_wands(tmp_path, head + rows))
        assert judged.qrels == {"0": {"a": 2}}
        assert judged.notes == ("1 judgments contradict another: the lower grade stands",)


def test_wands_errors_name_the_place(tmp_path: Path) -> None:
    head = "id\tquery_id\tproduct_id\tlabel\n"
    with pytest.raises(EvaluationError, match=r"label\.csv:2: label 'Good' is none of Exact"):
        read_layout("wands", *_wands(tmp_path, head + "0\t0\ta\tGood\n"))
    with pytest.raises(EvaluationError, match=r"label\.csv:3: an empty column"):
        read_layout("wands", *_wands(tmp_path, head + "0\t0\ta\tExact\n1\t0\t\tExact\n"))
    with pytest.raises(EvaluationError, match=r"label\.csv has no column label"):
        read_layout("wands", *_wands(tmp_path, "query_id\tproduct_id\n"))
    with pytest.raises(EvaluationError, match=r"query\.csv:4: query id '0' came before"):
        read_layout("wands", *_wands(tmp_path, head, _QUERIES + "0\tagain\t\n"))


def test_esci_keeps_one_locale_and_the_test_split(tmp_path: Path) -> None:
    path = _esci(
        tmp_path,
        [
            _row("B1", "E"),
            _row("B2", "S"),
            _row("B3", "C"),
            _row("B4", "I"),
            _row("B5", "E", product_locale="jp"),
            _row("B6", "E", split="train"),
        ],
    )
    judged = read_layout("esci", path, None)
    assert judged.texts == {"7": "desk fan"}
    assert judged.qrels == {"7": {"B1": 3, "B2": 2, "B3": 1, "B4": 0}}
    assert judged.notes == ("ESCI, locale us, split test",)


def test_esci_without_locale_and_split_is_read_whole(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"query_id": "a", "query": "fan", "product_id": "B1", "esci_label": "E"},
        {"query_id": "b", "query": "mug", "product_id": "B2", "esci_label": "I"},
    ]
    assert read_layout("esci", _esci(tmp_path, rows), None).qrels == {
        "a": {"B1": 3},
        "b": {"B2": 0},
    }


def test_esci_ids_that_a_gap_made_decimal_are_whole(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"query_id": 1.0, "query": "fan", "product_id": 7.0, "esci_label": "E", "split": "test"},
        {"query_id": None, "query": None, "product_id": None, "esci_label": None, "split": "train"},
    ]
    judged = read_layout("esci", _esci(tmp_path, rows), None)
    assert (judged.texts, judged.qrels) == ({"1": "fan"}, {"1": {"7": 3}})


@pytest.mark.parametrize("name", ["query_id", "query", "product_id", "esci_label"])
def test_an_empty_cell_of_esci_is_named(tmp_path: Path, name: str) -> None:
    path = _esci(tmp_path, [_row("B1", "E"), _row("B2", "E") | {name: None}])
    with pytest.raises(EvaluationError, match=rf"parquet, row 2, field {name}: empty\. Fill it"):
        read_layout("esci", path, None)


def test_esci_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no row of locale 'us' and split 'test'"):
        read_layout("esci", _esci(tmp_path, [_row("B1", "E", product_locale="es")]), None)
    with pytest.raises(EvaluationError, match=r"parquet, row 1: label 'Exact' is none of E, S"):
        read_layout("esci", _esci(tmp_path, [_row("B1", "Exact")]), None)
    with pytest.raises(EvaluationError, match="has no column esci_label"):
        read_layout(
            "esci", _esci(tmp_path, [{"query_id": 1, "query": "a", "product_id": "b"}]), None
        )
    text = tmp_path / "queries.tsv"
    text.write_text("q1\tred\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"queries\.tsv is no readable Parquet file"):
        read_layout("esci", text, None)


def test_unknown_layouts_and_missing_judgments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"'msmarco' is unknown. Choose one of: trec, wands"):
        read_layout("msmarco", tmp_path, None)
    with pytest.raises(EvaluationError, match="--qrels"):
        read_layout("trec", tmp_path, None)
