"""Compressed, damaged, foreign and changing files; folders of files."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from engine.errors import CatalogError
from indexer.catalog import RejectLog, read_catalog
from tests.indexer.catalog.catalogs import read, write_jsonl

ROWS = "".join(f"p{number},Mug number {number * 7919 % 1000}\n" for number in range(5_000))
CSV = f"id,title\n{ROWS}".encode()


def zstd_frames(content: bytes) -> bytes:
    """Two frames, as a parallel compressor writes them; the second does not know its size."""
    half = len(content) // 2
    unsized = zstandard.ZstdCompressor().compressobj()
    return zstandard.compress(content[:half]) + unsized.compress(content[half:]) + unsized.flush()


@pytest.mark.parametrize(
    ("name", "content"),
    [("shop.csv.gz", gzip.compress(CSV)), ("shop.csv.zst", zstd_frames(CSV)), ("Shop.CSV", CSV)],
)
def test_compressed_files_are_read_as_the_plain_one(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    outcome = read(path)
    assert outcome.ids == [f"p{number}" for number in range(5_000)]
    assert outcome.rejects == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.csv.gz", gzip.compress(CSV)[:-20]),
        ("cut.csv.zst", zstd_frames(CSV)[:-20]),
        ("foreign.csv.gz", CSV),
        ("foreign.csv.zst", CSV),
        ("broken.csv.gz", gzip.compress(CSV)[:500] + b"\0" * 500 + gzip.compress(CSV)[1000:]),
        ("foreign.parquet", CSV),
        ("empty.parquet", b""),
        ("cut.parquet", b"PAR1" + CSV),
    ],
)
def test_damaged_files_are_a_clear_error(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CatalogError, match=rf"{name} cannot be read: it is truncated or damaged"):
        read(path)


def test_a_parquet_file_damaged_inside_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "shop.parquet"
    table = pyarrow.table({"id": [str(n) for n in range(5_000)], "title": ["Mug"] * 5_000})
    pyarrow.parquet.write_table(table, path)
    content = bytearray(path.read_bytes())
    content[4:2_000] = bytes(1_996)
    path.write_bytes(content)
    with pytest.raises(CatalogError, match="truncated or damaged"):
        read(path)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "shop.jsonl", {"id": "a", "title": "Mug"})
    with RejectLog(None) as rejects:
        products = read_catalog(path, rejects=rejects)
        next(products)
        with path.open("a", encoding="utf-8") as file:
            file.write('{"id": "b", "title": "Pan"}\n')
        with pytest.raises(CatalogError, match="changed while it was read"):
            list(products)


def test_a_folder_is_read_by_path_with_what_lies_below(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    (shop / "b").mkdir(parents=True)
    (shop / ".hidden").mkdir()
    write_jsonl(shop / "c.jsonl", {"id": "3", "title": "Pan"}, {"id": "1", "title": "Again"})
    (shop / "b" / "part.csv").write_text("id,title\n2,Kettle\n1,Third\n")
    (shop / "a.tsv").write_text("id\ttitle\n1\tMug\n")
    (shop / ".hidden" / "x.csv").write_text("id,title\n9,Hidden\n")
    (shop / "_SUCCESS").write_text("")
    (shop / "readme.txt").write_text("not a catalog")
    outcome = read(shop)
    assert [product.title for product in outcome.products] == ["Mug", "Kettle", "Pan"]
    unknown, *twice = outcome.rejects
    assert (unknown["file"], unknown["row"]) == (str(shop / "readme.txt"), None)
    assert unknown["reason"] == "unknown file type"
    assert [(each["file"], each["reason"], each["detail"]) for each in twice] == [
        (str(path), "duplicate id", f"first in {shop / 'a.tsv'}, row 2")
        for path in (shop / "b" / "part.csv", shop / "c.jsonl")
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing.csv", "does not exist"), ("shop.xlsx", r"\.parquet"), ("folder", "no catalog file")],
)
def test_what_is_no_catalog_is_a_clear_error(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "shop.xlsx").write_bytes(b"PK")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("")
    with pytest.raises(CatalogError, match=message):
        read(tmp_path / name)
