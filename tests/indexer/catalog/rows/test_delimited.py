"""CSV and TSV: one bad row never costs the rows after it."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest

from engine.errors import CatalogError
from tests.indexer.catalog.catalogs import Outcome, read


def read_csv(folder: Path, content: str | bytes, name: str = "shop.csv") -> Outcome:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read(path)


def rejected(outcome: Outcome) -> list[tuple[int, str]]:
    return [(entry["row"], entry["reason"]) for entry in outcome.rejects]


def test_cells_are_quoted_over_lines_and_rows_are_numbered_as_an_editor_does(
    tmp_path: Path,
) -> None:
    outcome = read_csv(
        tmp_path,
        'id,title,description,price\n007,"Kettle, 12"" tall","Boils\nfast",12.50\n'
        "\n008,Mug,,free\n",
    )
    (kettle,) = outcome.products
    assert (kettle.id, kettle.title, kettle.price) == ("007", 'Kettle, 12" tall', 12.5)
    assert kettle.description == "Boils\nfast"
    assert rejected(outcome) == [(5, "unparsable price")]
    assert outcome.rejects[0]["id"] == "008"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("shop.csv", "id;title;price\na;Mug, red;1,5\n"),
        ("shop.csv", "id\ttitle\tprice\na\tMug, red\t1,5\n"),
        ("shop.tsv", "id\ttitle\tprice\na\tMug, red\t1,5\n"),
        ("shop.csv", 'id,title,price\r\na,"Mug, red","1,5"\r\n'),
        ("shop.csv", '\ufeffID,Title,Price\na,"Mug, red","1,5"'),
        ("shop.csv", "id|title|price\na|Mug, red|1,5\n"),
        ("shop.csv", '"id"|"title"|"price, net"|price\na|"Mug, red"||1,5\n'),
        ("shop.csv", "sep=;\nid;title;price\na;Mug, red;1,5\n"),
        ("shop.csv", '\ufeffsep=|\r\n\r\nid|title|price,net|price\r\na|"Mug, red"||1,5\r\n'),
        ("shop.csv", '"SEP=\t"\nid\ttitle\tprice\na\tMug, red\t1,5\n'),
        ("shop.tsv", "sep=;\nid;title;price\na;Mug, red;1,5\n"),
        ("shop.csv", 'id,title,S|M|L|XL,price\na,"Mug, red",,"1,5"\n'),
        ("shop.csv", "id;title;S|M|L|XL;price\na;Mug, red;;1,5\n"),
    ],
)
def test_the_delimiter_is_told_from_the_header(tmp_path: Path, name: str, content: str) -> None:
    (mug,) = read_csv(tmp_path, content, name).products
    assert (mug.id, mug.title, mug.price) == ("a", "Mug, red", 1.5)


def test_behind_a_line_that_names_the_delimiter_rows_keep_their_numbers(tmp_path: Path) -> None:
    cell = "x\n" * 70_000
    outcome = read_csv(
        tmp_path, f'sep=|\nid|title\na|"Broken\nb|Mug\nc|"{cell}"|d\n|Nameless\ne|"P""|an"\n'
    )
    assert [product.title for product in outcome.products] == ["Mug", 'P"|an']
    assert rejected(outcome) == [
        (3, "malformed CSV"), (5, "over-long field"), (70_006, "missing id"),
    ]  # fmt: skip


def test_a_quote_that_is_never_closed_costs_one_line(tmp_path: Path) -> None:
    outcome = read_csv(tmp_path, 'id,title\na,Mug\nb,"Broken\nc,Kettle\nd,Pan\n')
    assert outcome.ids == ["a", "c", "d"]
    assert rejected(outcome) == [(3, "malformed CSV")]


def test_rows_after_a_broken_one_keep_their_numbers(tmp_path: Path) -> None:
    outcome = read_csv(
        tmp_path, f'id,title\na,"Broken\nb,Mug\n{"y" * (1 << 20)}\nc,Pan\n,Nameless\n'
    )
    assert outcome.ids == ["b", "c"]
    assert rejected(outcome) == [(2, "malformed CSV"), (4, "line too long"), (6, "missing id")]


def test_a_stray_quote_does_not_join_two_rows(tmp_path: Path) -> None:
    outcome = read_csv(tmp_path, 'id,title,color\na,"Broken,red\nb,"Kettle",blue\nc,Pan,green\n')
    assert outcome.ids == ["b", "c"]
    assert rejected(outcome) == [(2, "malformed CSV")]


def test_unquoted_inch_marks_are_text_where_tabs_part_the_cells(tmp_path: Path) -> None:
    outcome = read_csv(
        tmp_path, 'id\ttitle\tcolor\na\t"Big" 12" pan\tred\nb\t"\tblue\nc\tPan\tred\n', "shop.tsv"
    )
    assert [product.title for product in outcome.products] == ['"Big" 12" pan', '"', "Pan"]
    assert outcome.rejects == []


def test_bytes_that_are_not_utf8_cost_their_row_alone(tmp_path: Path) -> None:
    outcome = read_csv(
        tmp_path, b"id,title,brand\na,Mug,Caf\xe9\nb,T\xc3\xb6pfe,Caf\xc3\xa9\nc,\xff\xfe,\n"
    )
    assert [product.title for product in outcome.products] == ["Töpfe"]
    assert rejected(outcome) == [(2, "bad encoding"), (4, "bad encoding")]
    assert outcome.rejects[0]["field"] == "brand"
    assert "iconv" in outcome.rejects[0]["detail"]


def test_faulty_rows_are_named_and_passed_over(tmp_path: Path) -> None:
    long_cell, long_line = "x" * 140_000, "y" * (1 << 20)
    outcome = read_csv(
        tmp_path,
        f"id,title\na,Mug,red\nb\nc,{long_cell}\nd,{long_line}\n,Nameless\ne,Te\x00apot\nf,\n",
    )
    assert [product.title for product in outcome.products] == ["Teapot"]
    assert rejected(outcome) == [
        (2, "wrong column count"),
        (3, "wrong column count"),
        (4, "over-long field"),
        (5, "line too long"),
        (6, "missing id"),
        (8, "missing title"),
    ]


MANY = "evil,Injected\n" * 20_000
LONG = f"{'y' * (1 << 20)}\n"


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (MANY, "over-long field"),
        (f'{MANY * 4}\x27\x27 ""quoted"", too\n{MANY}', "over-long field"),
        (f"evil,Injected\n{LONG}evil,Injected\n", "line too long"),
        (f"evil,Injected\n{LONG[:-1]}", "line too long"),
        (f"{LONG}evil,Injected\n", "line too long"),
    ],
    ids=["many lines", "quotes", "a long line", "a long line ends it", "a long line begins it"],
)
@pytest.mark.parametrize("name", ["shop.csv", "shop.csv.gz"])
def test_a_quoted_cell_that_is_too_long_is_one_bad_row(
    tmp_path: Path, cell: str, reason: str, name: str
) -> None:
    content = f'id,title\na,Mug\nb,"{cell}"\nc,Pan\nd,"{MANY}"\ne,Lid\n'.encode()
    outcome = read_csv(tmp_path, gzip.compress(content) if name.endswith("gz") else content, name)
    assert outcome.ids == ["a", "c", "e"]
    assert rejected(outcome) == [(3, reason), (5 + cell.count("\n"), "over-long field")]


def test_a_quote_that_is_not_closed_costs_one_line_however_far_the_next_is(tmp_path: Path) -> None:
    rows = "".join(f'{number},Mug,""\n' for number in range(20_000))
    for end in ("", 'z,"Pan",\n', f'{LONG[:-1]}" x\n'):
        outcome = read_csv(tmp_path, f'id,title,color\nb,"Broken\n{rows}{end}')
        assert outcome.ids == [*map(str, range(20_000)), *(["z"] if end[:1] == "z" else [])]
        assert rejected(outcome)[0] == (2, "malformed CSV")


def test_a_quoted_cell_without_end_is_passed_over_without_holding_it(tmp_path: Path) -> None:
    def peak(lines: int) -> int:
        path = tmp_path / "shop.csv"
        path.write_text(f'id,title\nb,"{"evil,Injected" * 9}\n' + "evil,Injected\n" * lines + '"\n')
        tracemalloc.start()
        assert read(path).ids == []
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    assert peak(200_000) < peak(20_000) + (256 << 10)


def test_an_over_long_cell_of_a_tab_separated_line_is_read_as_far_as_its_field_goes(
    tmp_path: Path,
) -> None:
    notes = json.dumps({f"note {number}": "x" * 1_000 for number in range(200)})
    outcome = read_csv(tmp_path, f"id\ttitle\tattributes\na\tMug\t{notes}\n", "shop.tsv")
    assert len(outcome.products[0].attributes) == 200


def test_how_others_write_nothing_is_nothing(tmp_path: Path) -> None:
    outcome = read_csv(tmp_path, "id,title,price,brand,material\na,Mug,NaN,None,null\nnan,Pan,,,\n")
    (mug,) = outcome.products
    assert mug.to_dict() == {"id": "a", "title": "Mug"}
    assert rejected(outcome) == [(3, "missing id")]


def test_columns_without_a_name_are_left_out(tmp_path: Path) -> None:
    (mug,) = read_csv(tmp_path, ",id,title,watts\n0,a,Mug,5\n").products
    assert mug.attributes == {"watts": 5}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"sep=;\n", "is empty"),
        (b"sep=;;\n1;2\n", "no column for the id"),
        (b"id,title,id\n1,a,2\n", "two columns named 'id'"),
        (b'id,"title\n1,a\n', "header line"),
        (b"id,t\xeftle\n1,a\n", "UTF-8"),
        ("id,title\n1,a\n".encode("utf-16"), "iconv -f UTF-16"),
        ("id,title\n1,a\n".encode("utf-16-le"), "iconv -f UTF-16"),
        (b"id,title\r1,a\r", "tr "),
        (b"PK\x03\x04rest", "Excel"),
        (b"PAR1rest", "Parquet"),
        (b"\x1f\x8brest", r"\.gz"),
    ],
)
def test_a_file_without_a_usable_header_is_a_clear_error(
    tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(CatalogError, match=message):
        read_csv(tmp_path, content)
