from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from engine.errors import CatalogError, EvaluationError
from engine.text import passage
from engine.types import Product
from indexer.evaluate.layouts import read_layout
from indexer.train.judgments import (
    from_evidence,
    from_labels,
    from_qrels,
    from_records,
)
from indexer.train.lists import Candidate, Origin, QueryList

PASSAGES = {"a": "Red Kettle", "b": "Blue Kettle", "c": "Whistle for a Kettle", "d": "Tent"}


def _csv(folder: Path, *lines: str, name: str = "given.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _parquet(folder: Path, rows: list[dict[str, Any]], name: str = "given.parquet") -> Path:
    path = folder / name
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def _only(lists: list[QueryList]) -> dict[str, Candidate]:
    """The candidates of the one list there is, by product."""
    (entry,) = lists
    return {candidate.product_id: candidate for candidate in entry.candidates}


def _records(folder: Path, *lines: str) -> dict[str, Candidate]:
    return _only(from_records("shop", PASSAGES, _csv(folder, *lines)))


class TestQrels:
    def _read(self, folder: Path, qrels: str, left_out: Counter[str]) -> list[QueryList]:
        queries = _csv(folder, "q1\tRed Kettle", "q2\ttent", "q3\tnobody judged", name="q.tsv")
        judged = _csv(folder, *qrels.split(";"), name="qrels.txt")
        return from_qrels("shop", PASSAGES, queries, judged, classes=True, left_out=left_out)

    def test_every_label_says_where_it_is_from(self, tmp_path: Path) -> None:
        kettles, tents = self._read(tmp_path, "q1 0 b 2;q1 0 a 3;q2 0 d 0", Counter())
        assert kettles == QueryList(
            "Red Kettle",
            "shop",
            (
                Candidate("b", "Blue Kettle", Origin.JUDGED, "qrels.txt", 2.0),
                Candidate("a", "Red Kettle", Origin.JUDGED, "qrels.txt", 3.0),
            ),
            classes=True,
        )
        assert tents.candidates[0].grade == 0.0

    def test_products_the_catalog_lacks_are_counted(self, tmp_path: Path) -> None:
        left_out = Counter({"qrels.txt": 1})
        lists = self._read(tmp_path, "q1 0 a 3;q1 0 gone 2;q2 0 gone 3", left_out)
        assert [entry.query for entry in lists] == ["Red Kettle"]
        assert left_out == {"qrels.txt": 3}

    def test_a_bad_line_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(EvaluationError, match=r"qrels\.txt:1: grade '7'"):
            self._read(tmp_path, "q1 0 a 7", Counter())

    def test_two_queries_that_differ_in_case_are_one_list(self, tmp_path: Path) -> None:
        queries = _csv(tmp_path, "q1\tRed Kettle", "q2\tred  kettle", name="q.tsv")
        qrels = _csv(tmp_path, "q1 0 a 3", "q2 0 b 2", name="qrels.txt")
        (entry,) = from_qrels("shop", PASSAGES, queries, qrels, classes=False)
        assert (entry.query, len(entry.candidates), entry.classes) == ("Red Kettle", 2, False)


class TestLabels:
    def _read(
        self, table: Path, *, weight: float = 1.0, left_out: Counter[str] | None = None
    ) -> list[QueryList]:
        return from_labels(
            "shop", PASSAGES, table, origin=Origin.MACHINE, weight=weight, left_out=left_out
        )

    @pytest.mark.parametrize(
        ("labels", "grade"),
        [
            (("E", "exact", "EXACT", "3", " e "), 3.0),
            (("s", "Substitute", "2", "2.0"), 2.0),
            (("C", "complement", "1"), 1.0),
            (("i", "Irrelevant", "0"), 0.0),
        ],
    )
    def test_labels_in_every_spelling(
        self, tmp_path: Path, labels: tuple[str, ...], grade: float
    ) -> None:
        for label in labels:
            table = _csv(tmp_path, "query,product_id,label", f"kettle,a,{label}")
            candidate = _only(self._read(table, weight=0.5))["a"]
            assert candidate == Candidate(
                "a", "Red Kettle", Origin.MACHINE, "given.csv", grade, weight=0.5
            )

    @pytest.mark.parametrize("label", [3, 3.0, "E"])
    def test_typed_labels_of_parquet(self, tmp_path: Path, label: object) -> None:
        rows = [{"query": "kettle", "product_id": "a", "esci_label": label}]
        assert _only(self._read(_parquet(tmp_path, rows)))["a"].grade == 3.0

    def test_json_lines_and_tsv_are_read_too(self, tmp_path: Path) -> None:
        row = {"query": "kettle", "product_id": "a", "label": "S"}
        lines = _csv(tmp_path, json.dumps(row), name="given.jsonl")
        tabs = _csv(tmp_path, "query\tproduct_id\tlabel", "kettle\ta\tS", name="given.tsv")
        for table in (lines, tabs):
            assert _only(self._read(table))["a"].grade == 2.0

    def test_what_of_esci_is_measured_is_not_trained_on(self, tmp_path: Path) -> None:
        common = {"query_id": 1, "product_id": "a", "esci_label": "E"}
        rows = [
            common | {"query": query, "product_locale": locale, "split": split}
            for query, locale, split in (
                ("kettle", "us", "train"), ("tent", "us", "test"), ("mesa", "es", "train"),
            )
        ]  # fmt: skip
        table = _parquet(tmp_path, rows)
        assert [entry.query for entry in self._read(table)] == ["kettle"]
        assert list(read_layout("esci", table, None).texts.values()) == ["tent"]
        with pytest.raises(CatalogError, match=r"given\.parquet: no row is of .* split 'train'"):
            self._read(_parquet(tmp_path, rows[1:]))
        for row in rows:
            del row["split"]
        assert [entry.query for entry in self._read(_parquet(tmp_path, rows))] == ["kettle", "tent"]

    def test_rows_of_other_catalogs_are_passed_over(self, tmp_path: Path) -> None:
        left_out: Counter[str] = Counter()
        table = _csv(
            tmp_path, "query,set,product_id,label", "kettle,shop,a,E", "kettle,other,b,nonsense"
        )
        assert list(_only(self._read(table, left_out=left_out))) == ["a"]
        assert not left_out

    def test_a_table_of_other_catalogs_only_is_a_mistake(self, tmp_path: Path) -> None:
        table = _csv(tmp_path, "query,set,product_id,label", "kettle,other,b,E")
        with pytest.raises(CatalogError, match=r"field set: no row is of .*'shop', but of other"):
            self._read(table)

    def test_products_come_from_the_catalog_or_else_from_the_row(self, tmp_path: Path) -> None:
        rows = [
            {"query": "kettle", "product_id": name, "label": "E", "product_title": "Steel Kettle",
             "product_brand": "Emberly", "product_color": None,
             "product_bullet_point": "Holds 1 L\nNo whistle", "product_description": "<b>Fine</b>"}
            for name in ("a", "new")
        ]  # fmt: skip
        found = _only(self._read(_parquet(tmp_path, rows)))
        assert found["a"].passage == "Red Kettle"
        assert found["new"].passage == passage(
            Product(
                "new",
                "Steel Kettle",
                brand="Emberly",
                bullet_points=("Holds 1 L", "No whistle"),
                description="Fine",
            )
        )

    def test_products_without_any_text_are_counted(self, tmp_path: Path) -> None:
        left_out: Counter[str] = Counter()
        table = _csv(tmp_path, "query,product_id,label", "kettle,gone,E", "kettle,a,E")
        assert list(_only(self._read(table, left_out=left_out))) == ["a"]
        assert left_out == {"given.csv": 1}

    def test_an_empty_table_has_no_lists(self, tmp_path: Path) -> None:
        assert self._read(_csv(tmp_path, "query,product_id,label")) == []

    def test_a_pair_may_be_repeated_but_not_contradicted(self, tmp_path: Path) -> None:
        again = _csv(tmp_path, "query,product_id,label", "kettle,a,E", "Kettle ,a,3")
        assert len(_only(self._read(again))) == 1
        table = _csv(tmp_path, "query,product_id,label", "kettle,a,E", "KETTLE,a,I")
        with pytest.raises(CatalogError, match=r"row 3: product 'a' has grade 0 .* 3 further up"):
            self._read(table)

    @pytest.mark.parametrize(
        ("lines", "says"),
        [
            (("query,product_id,label", "kettle,a,E", "kettle,a,maybe"), "row 3, field label"),
            (("query,product_id,label", "kettle,a,"), "row 2, field label: empty"),
            (("query,product_id,label", ",a,E"), "row 2, field query: empty"),
            (("query,product_id,label", "\u200b,a,E"), "row 2, field query: no words"),
            (("query,product_id,label", "kettle,,E"), "row 2, field product_id: empty"),
            (("query,product_id,label", "kettle,a"), "row 2, field .*wrong column count"),
            (("query,id,label", "kettle,a,E"), "no column product_id"),
            (("query,product_id", "kettle,a"), "no column label or esci_label"),
        ],
    )
    def test_what_is_wrong_is_named(
        self, tmp_path: Path, lines: tuple[str, ...], says: str
    ) -> None:
        with pytest.raises(CatalogError, match=f"given.csv.*{says}"):
            self._read(_csv(tmp_path, *lines))

    def test_own_text_that_is_no_product_is_named(self, tmp_path: Path) -> None:
        header = "query,product_id,label,product_title"
        table = _csv(tmp_path, header, f"kettle,new,E,{'x' * 3_000}")
        with pytest.raises(CatalogError, match="row 2, field product_title: 3,000 characters"):
            self._read(table)

    def test_files_that_are_no_table_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(CatalogError, match=r"none\.csv does not exist"):
            self._read(tmp_path / "none.csv")
        with pytest.raises(CatalogError, match="no table by its name"):
            self._read(_csv(tmp_path, "x", name="given.xlsx"))
        with pytest.raises(CatalogError, match="truncated or damaged"):
            self._read(_csv(tmp_path, "not parquet", name="given.parquet"))


class TestRecords:
    def test_more_done_is_worth_more(self, tmp_path: Path) -> None:
        found = _records(
            tmp_path,
            "query,product_id,clicked,carted,purchased,dismissed",
            "kettle,a,1,1,1,0",
            "Kettle,b,1,1,0,0",
            "kettle,c,1,0,0,0",
            "kettle,d,0,0,0,1",
        )
        assert [found[name].grade for name in "abcd"] == [3.0, 2.25, 1.5, 0.0]
        assert found["a"].weight > found["b"].weight > found["c"].weight
        assert {(c.origin, c.source) for c in found.values()} == {(Origin.RECORDS, "given.csv")}

    def test_the_lists_only_rank(self, tmp_path: Path) -> None:
        table = _csv(tmp_path, "query,product_id,purchased", "kettle,a,1")
        assert not from_records("shop", PASSAGES, table)[0].classes

    def test_weight_grows_with_evidence_and_stays_below_one(self, tmp_path: Path) -> None:
        header = "query,product_id,clicked"
        once = _records(tmp_path, header, "kettle,a,1")["a"]
        rows = _records(tmp_path, header, "kettle,a,2", "kettle,a,true", "KETTLE,a,1.0")["a"]
        counted = _records(tmp_path, header, "kettle,a,4")["a"]
        often = _records(tmp_path, header, "kettle,a,100000")["a"]
        assert once.weight == pytest.approx(1 / 4)
        assert rows == counted
        assert once.weight < rows.weight < often.weight < 1
        assert once.grade == often.grade == 1.5

    @pytest.mark.parametrize(
        ("acts", "grade"),
        [
            (",,5", 3.0), (",,1", 0.0), (",,3", 1.5),
            ("1,,5", 3.0), ("1,,1", 0.0), ("1,,4", 2.25),
            (",1,5", 3.0), (",1,1", 1.5), (",1,0", 3.0),
        ],
    )  # fmt: skip
    def test_stars_shift_the_grade(self, tmp_path: Path, acts: str, grade: float) -> None:
        header = "query,product_id,clicked,purchased,rated"
        assert _records(tmp_path, header, f"kettle,a,{acts}")["a"].grade == pytest.approx(grade)

    def test_ratings_are_averaged(self, tmp_path: Path) -> None:
        found = _records(tmp_path, "query,product_id,rated", "kettle,a,5", "kettle,a,2")
        assert found["a"].grade == pytest.approx(1.5 + 0.75 * 0.5)

    def test_dismissals_speak_against_clicks(self, tmp_path: Path) -> None:
        found = _records(tmp_path, "query,product_id,clicked,dismissed", "kettle,a,2,1")
        assert found["a"].grade == pytest.approx(1.5 * 2 / 4)

    def test_a_click_far_down_says_more_up_to_a_limit(self, tmp_path: Path) -> None:
        found = _records(
            tmp_path,
            "query,product_id,position,clicked",
            "kettle,a,1,1",
            "kettle,b,4,1",
            "kettle,c,50,1",
            "kettle,d,,1",
        )
        evidence = {name: 3 * c.weight / (1 - c.weight) for name, c in found.items()}
        assert evidence == pytest.approx({"a": 1.0, "b": 4.0, "c": 5.0, "d": 1.0})

    def test_without_position_bias_all_places_count_alike(self, tmp_path: Path) -> None:
        table = _csv(tmp_path, "query,product_id,position,clicked", "kettle,a,1,1", "kettle,b,9,1")
        found = _only(from_records("shop", PASSAGES, table, eta=0.0))
        assert found["a"].weight == found["b"].weight

    def test_what_was_skipped_above_a_click_is_a_faint_negative(self, tmp_path: Path) -> None:
        found = _records(
            tmp_path,
            "query,product_id,position,clicked",
            "kettle,a,1,0",
            "kettle,b,2,1",
            "kettle,c,3,0",
        )
        assert list(found) == ["a", "b"]  # nobody knows whether c was seen
        assert found["a"].grade == 0.0
        assert found["a"].weight < found["b"].weight / 5

    def test_a_page_with_a_row_for_showing_and_one_for_the_act_is_read_as_one(
        self, tmp_path: Path
    ) -> None:
        columns = "query,product_id,session,position,clicked,purchased"
        acts = ("kettle,a,1,1,1,0", "kettle,b,1,2,0,1")
        shown = ("kettle,a,1,1,0,0", "kettle,b,1,2,0,0")
        alone = _records(tmp_path, columns, *acts)
        both = _records(tmp_path, columns, shown[0], acts[0], shown[1], acts[1])
        for name in "ab":
            assert (both[name].grade, both[name].weight) == (alone[name].grade, alone[name].weight)

    def test_skips_lower_the_grade_of_what_others_click(self, tmp_path: Path) -> None:
        found = _records(
            tmp_path,
            "query,product_id,session,position,clicked",
            "kettle,a,1,1,1",
            *(f"kettle,a,{s},1,0\nkettle,b,{s},2,1" for s in range(2, 12)),
        )
        assert found["a"].grade == pytest.approx(1.5 * 1 / 2)
        assert found["b"].grade == 1.5

    def test_pages_are_told_apart_by_session_and_query(self, tmp_path: Path) -> None:
        table = _csv(
            tmp_path,
            "query,product_id,session,position,clicked",
            "kettle,a,s1,1,0",
            "kettle,b,s2,2,1",
            "tent,c,s2,1,0",
        )
        lists = from_records("shop", PASSAGES, table)
        assert [[c.product_id for c in entry.candidates] for entry in lists] == [["b"]]

    def test_products_the_catalog_lacks_are_counted(self, tmp_path: Path) -> None:
        left_out: Counter[str] = Counter()
        table = _csv(tmp_path, "query,product_id,purchased", "kettle,gone,1", "kettle,a,1")
        lists = from_records("shop", PASSAGES, table, left_out=left_out)
        assert list(_only(lists)) == ["a"]
        assert left_out == {"given.csv": 1}

    def test_booleans_and_nulls_of_parquet(self, tmp_path: Path) -> None:
        rows = [
            {"query": "kettle", "product_id": "a", "purchased": True, "rated": None},
            {"query": "kettle", "product_id": "b", "purchased": False, "rated": float("nan")},
        ]
        table = _parquet(tmp_path, rows)
        assert list(_only(from_records("shop", PASSAGES, table))) == ["a"]

    @pytest.mark.parametrize(
        ("column", "value", "says"),
        [
            ("clicked", "-1", "field clicked: '-1' is no number from 0 up"),
            ("purchased", "often", "field purchased: 'often'"),
            ("carted", "inf", "field carted"),
            ("rated", "6", "field rated: '6' is no rating. Write 1 to 5"),
            ("rated", "0.5", "field rated"),
            ("position", "0", "field position: '0' is no place. Count from 1"),
        ],
    )
    def test_what_is_wrong_is_named(
        self, tmp_path: Path, column: str, value: str, says: str
    ) -> None:
        with pytest.raises(CatalogError, match=f"given.csv, row 2, {says}"):
            _records(tmp_path, f"query,product_id,{column}", f"kettle,a,{value}")


class TestEvidence:
    def test_labels_become_grades_by_set(self, tmp_path: Path) -> None:
        header = "set,qid,question,candidate,label,source"
        ours = [f"ePQA,1,Does it whistle?,text {label},{label},bullet" for label in (2, 1, 0)]
        other = [f"hetPQA,1,Is it red?,text {label},{label},cqa" for label in (1, 0)]
        first, second = from_evidence(_csv(tmp_path, header, *ours, *other))
        assert [c.grade for c in first.candidates] == [3.0, 1.5, 0.0]
        assert [c.grade for c in second.candidates] == [3.0, 0.0]
        assert (first.query, first.catalog, first.classes) == (
            "Does it whistle?",
            "evidence",
            False,
        )
        assert {c.origin for c in first.candidates} == {Origin.EVIDENCE}
        assert {c.source for c in first.candidates} == {"given.csv"}
        assert [c.passage for c in first.candidates] == ["text 2", "text 1", "text 0"]
        assert len({c.product_id for c in (*first.candidates, *second.candidates)}) == 5

    def test_a_candidate_given_twice_counts_once(self, tmp_path: Path) -> None:
        rows = [
            {"set": "x", "qid": "1", "question": "Red?", "candidate": text, "label": 1}
            for text in ("It is  red", "It is red", "no")
        ]
        (entry,) = from_evidence(_parquet(tmp_path, rows))
        assert [c.passage for c in entry.candidates] == ["It is red", "no"]

    def test_sets_can_be_left_out(self, tmp_path: Path) -> None:
        header = "set,qid,question,candidate,label"
        table = _csv(tmp_path, header, "test,1,Red?,yes,1", "train,1,Blue?,no,0")
        (entry,) = from_evidence(table, leave_out=["test"], catalog="answers")
        assert (entry.query, entry.catalog) == ("Blue?", "answers")

    @pytest.mark.parametrize(("named", "label"), [("x", "2"), ("ePQA", "3"), ("x", ""), ("x", "?")])
    def test_unknown_labels_are_named(self, tmp_path: Path, named: str, label: str) -> None:
        header = "set,qid,question,candidate,label"
        table = _csv(tmp_path, header, f"{named},1,Red?,yes,{label}")
        with pytest.raises(CatalogError, match=r"given\.csv, row 2, field label"):
            from_evidence(table)


@pytest.mark.shared_data
def test_shared_data_tables_are_read(shared_data: Path) -> None:
    left_out: Counter[str] = Counter()
    extra = shared_data / "esci" / "extra_pairs.parquet"
    lists = from_labels("esci", {}, extra, origin=Origin.JUDGED, left_out=left_out)
    assert sum(len(entry.candidates) for entry in lists) == 684
    assert not left_out
    answers = from_evidence(shared_data / "pqa" / "evidence.parquet")
    assert len(answers) == 2_780
