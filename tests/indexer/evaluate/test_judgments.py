from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import EvaluationError
from indexer.evaluate.judgments import (
    JudgedQueries,
    read_ids,
    read_judged_queries,
    read_qrels,
    read_queries,
)


def _file(folder: Path, content: str | bytes, name: str = "given.txt") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_queries_are_read_in_order_whatever_the_line_ends(tmp_path: Path) -> None:
    path = _file(tmp_path, "\ufeffq2\tred shoes\r\n\r\nq1\t 保温杯 500ml \n")
    assert list(read_queries(path).items()) == [("q2", "red shoes"), ("q1", "保温杯 500ml")]


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        ("q1 red shoes\n", 1, "query_id<TAB>text"),
        ("q1\tred\n\nq2\t  \n", 3, "query_id<TAB>text"),
        ("q1\tred\tFootwear\n", 1, "--layout"),
        ("\tred\n", 1, "query_id<TAB>text"),
        ("q1\tred\nq2\tblue\nq1\tgreen\n", 3, "'q1' came before"),
        (b"q1\tred\nq2\t\xff\n", 2, "UTF-8"),
    ],
)
def test_a_bad_query_line_is_named(
    tmp_path: Path, content: str | bytes, line: int, says: str
) -> None:
    path = _file(tmp_path, content)
    with pytest.raises(EvaluationError, match=f"given.txt:{line}: ") as caught:
        read_queries(path)
    assert says in str(caught.value)


def test_product_ids_may_hold_any_character_but_ascii_white_space(tmp_path: Path) -> None:
    path = _file(tmp_path, 'q1 0 a,b|"c" 3\nq1\t0\t产品\u00a0\u3000/1#\t2\r\nq1  Q0  b  0\n')
    assert read_qrels(path) == {"q1": {'a,b|"c"': 3, "产品\u00a0\u3000/1#": 2, "b": 0}}


def test_a_judgment_may_be_repeated(tmp_path: Path) -> None:
    assert read_qrels(_file(tmp_path, "q1 0 a 3\nq1 0 a 3\n")) == {"q1": {"a": 3}}


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        ("q1 0 a\n", 1, "four columns"),
        ("q1 0 a 3 x\n", 1, "four columns"),
        ("q1 0 a 3\nq1 0 b 4\n", 2, "'4' is none of 0, 1, 2, 3"),
        ("q1 0 a -1\n", 1, "'-1' is none of"),
        ("q1 0 a 3.0\n", 1, "'3.0' is none of"),
        ("q1 0 a ٣\n", 1, "none of"),
        ("q1 0 a 3\nq2 0 a 0\nq1 0 a 2\n", 3, "grade 2 for query 'q1', but 3 further up"),
        (b"q1 0 \xff 3\n", 1, "UTF-8"),
    ],
)
def test_a_bad_judgment_line_is_named(
    tmp_path: Path, content: str | bytes, line: int, says: str
) -> None:
    path = _file(tmp_path, content)
    with pytest.raises(EvaluationError, match=f"given.txt:{line}: ") as caught:
        read_qrels(path)
    assert says in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"nowhere\.tsv cannot be read"):
        read_queries(tmp_path / "nowhere.tsv")


def test_queries_without_text_or_judgment_are_set_apart(tmp_path: Path) -> None:
    judged = read_judged_queries(
        _file(tmp_path, "q1\tred\nq2\tblue\n", "q.tsv"),
        _file(tmp_path, "q9 0 a 1\nq1 0 a 3\n", "qrels.txt"),
    )
    assert judged.ids == ["q1"]
    assert judged.without_text == ["q9"]
    assert judged.without_judgments == ["q2"]


def test_only_keeps_the_listed_queries(tmp_path: Path) -> None:
    judged = JudgedQueries(
        {"q1": "red", "q2": "blue", "q3": "green"},
        {"q1": {"a": 3}, "q2": {"a": 1}, "q9": {"a": 1}},
    )
    listed = _file(tmp_path, "q3\n\nq2 \n", "negation.txt")
    chosen = judged.only(read_ids(listed), listed)
    assert chosen.texts == {"q2": "blue", "q3": "green"}
    assert chosen.qrels == {"q2": {"a": 1}}
    assert chosen.notes == ("only the queries listed in negation.txt",)


def test_only_refuses_ids_that_are_no_query() -> None:
    judged = JudgedQueries({"q1": "red"}, {"q1": {"a": 3}})
    with pytest.raises(EvaluationError, match=r"ids\.txt: 2 of its ids are no query.*'q7'"):
        judged.only(["q1", "q8", "q7"], Path("ids.txt"))
