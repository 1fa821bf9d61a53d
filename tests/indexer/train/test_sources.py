from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from engine.errors import SettingsError
from indexer.train.sources import (
    Sources,
    load_sources,
    read_products,
    read_unlabelled,
)
from tests.shop import PRODUCTS, write_catalog

WHOLE = """
[[catalog]]
name = "shop"
products = "data/catalog.jsonl"
map = { sku = "code" }
queries = "data/queries.tsv"
qrels = "data/qrels.txt"
grades = "ratings"
records = ["data/records.csv"]
unlabelled = "data/real.txt"
licence = "ours"
source = "our shop"

[[catalog.labels]]
file = "data/labels.csv"
machine_made = true
weight = 0.5
licence = "Apache-2.0"

[[catalog]]
name = "bare"
products = "data"

[[evidence]]
file = "data/evidence.csv"
leave_out = ["test"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    write_catalog(data / "catalog.jsonl")
    for name in ("queries.tsv", "qrels.txt", "records.csv", "labels.csv", "evidence.csv"):
        (data / name).touch()
    (data / "real.txt").write_text("\ufeffRed  kettle\n\n tent\nRed kettle\r\n", encoding="utf-8")
    return tmp_path


def _write(folder: Path, text: str) -> Path:
    path = folder / "sources.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_everything_a_file_can_name(folder: Path) -> None:
    sources = load_sources(_write(folder, WHOLE))
    data = folder / "data"
    shop, bare = sources.catalog
    assert (shop.name, shop.products, shop.map) == ("shop", data / "catalog.jsonl", {"sku": "code"})
    assert (shop.queries, shop.qrels) == (data / "queries.tsv", data / "qrels.txt")
    assert (shop.grades, shop.layout) == ("ratings", "auto")
    assert (shop.records, shop.unlabelled) == ((data / "records.csv",), data / "real.txt")
    assert (shop.licence, shop.source) == ("ours", "our shop")
    (labels,) = shop.labels
    assert (labels.file, labels.machine_made, labels.weight) == (data / "labels.csv", True, 0.5)
    assert labels.licence == "Apache-2.0"
    assert (bare.queries, bare.labels, bare.records, bare.grades) == (None, (), (), "classes")
    (evidence,) = sources.evidence
    assert (evidence.file, evidence.leave_out) == (data / "evidence.csv", ("test",))


def test_sources_do_not_change(folder: Path) -> None:
    sources = load_sources(_write(folder, WHOLE))
    with pytest.raises(ValidationError, match="frozen"):
        sources.catalog[0].name = "another"


def test_paths_may_be_absolute(folder: Path) -> None:
    catalog = folder / "data" / "catalog.jsonl"
    path = _write(folder, f'[[catalog]]\nname = "shop"\nproducts = "{catalog.as_posix()}"\n')
    assert load_sources(path).catalog[0].products == catalog


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("qrels =", "qerls =", r"key catalog\.1\.qerls: .* Check its spelling"),
        ('name = "bare"', "", r"key catalog\.2\.name: Field required\. Add it"),
        ('"ratings"', '"stars"', r"key catalog\.1\.grades: .*'classes' or 'ratings'"),
        ("weight = 0.5", "weight = 2", r"key catalog\.1\.labels\.1\.weight: "),
        ('qrels = "data/qrels.txt"', "", r"key catalog\.1: queries and qrels belong together"),
        ('name = "bare"', 'name = "shop"', "two catalogs are named 'shop'"),
        ("[[evidence]]", "[[evidences]]", "key evidences: .* Check its spelling"),
        ("data/real.txt", "real.txt", "catalog 'shop', key unlabelled: .*real.txt does not exist"),
        ("data/records", "records", "catalog 'shop', key records: .*records.csv does not exist"),
        ("data/labels", "labels", "catalog 'shop', key labels, key file: .* does not exist"),
        ("data/evidence", "evidence", "evidence 1, key file: .*does not exist"),
        ('products = "data"', 'products = "none"', "catalog 'bare', key products: .*not exist"),
        ("[[evidence]]", "[evidence", r"no TOML file: .*line \d+"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, old: str, new: str, says: str) -> None:
    path = _write(folder, WHOLE.replace(old, new, 1))
    with pytest.raises(SettingsError, match=f"sources.toml.*{says}"):
        load_sources(path)


def test_a_file_without_catalogs_is_refused(folder: Path) -> None:
    for text in ("", "catalog = []"):
        with pytest.raises(SettingsError, match="key catalog"):
            load_sources(_write(folder, text))


def test_a_file_that_cannot_be_read(folder: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml cannot be read"):
        load_sources(folder / "none.toml")
    path = folder / "sources.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="not UTF-8"):
        load_sources(path)


def test_products_are_read_as_the_index_reads_them(folder: Path) -> None:
    renamed = (folder / "data" / "catalog.jsonl").read_text(encoding="utf-8")
    path = folder / "data" / "catalog.jsonl"
    path.write_text(renamed.replace('"title"', '"heading"') + '{"id": "bad"}\n', encoding="utf-8")
    text = '[[catalog]]\nname = "shop"\nproducts = "data/catalog.jsonl"\nmap.title = "heading"\n'
    (entry,) = load_sources(_write(folder, text)).catalog
    assert read_products(entry) == list(PRODUCTS)


def test_unlabelled_queries_are_read_once_each(folder: Path) -> None:
    shop, bare = load_sources(_write(folder, WHOLE)).catalog
    assert read_unlabelled(shop) == ["Red kettle", "tent"]
    assert read_unlabelled(bare) == []


def test_unlabelled_queries_that_cannot_be_read(folder: Path) -> None:
    shop, _ = load_sources(_write(folder, WHOLE)).catalog
    (folder / "data" / "real.txt").write_bytes(b"\xff\n")
    with pytest.raises(SettingsError, match=r"real\.txt cannot be read.*UTF-8"):
        read_unlabelled(shop)
    (folder / "data" / "real.txt").write_bytes(b"tent\ncaf\xe9\n")
    with pytest.raises(SettingsError, match=r"real\.txt cannot be read: line 2 is not UTF-8"):
        read_unlabelled(shop)
    (folder / "data" / "real.txt").unlink()
    with pytest.raises(SettingsError, match=r"real\.txt cannot be read \(No such file"):
        read_unlabelled(shop)


def test_one_shop_by_options(folder: Path) -> None:
    data = folder / "data"
    sources = Sources.for_one_shop(
        data / "catalog.jsonl",
        queries=data / "queries.tsv",
        judgments=data / "qrels.txt",
        records=[data / "records.csv"],
        labels=[data / "labels.csv"],
        unlabelled=data / "real.txt",
    )
    (entry,) = sources.catalog
    assert (entry.name, entry.qrels) == ("catalog", data / "qrels.txt")
    assert [labels.machine_made for labels in entry.labels] == [False]
    assert len(read_products(entry)) == len(PRODUCTS)
    assert Sources.for_one_shop(data).catalog[0].name == "data"


def test_options_that_do_not_fit(folder: Path) -> None:
    data = folder / "data"
    with pytest.raises(SettingsError, match=r"the options, .*queries and qrels belong together"):
        Sources.for_one_shop(data, queries=data / "queries.tsv")
    with pytest.raises(SettingsError, match=r"key products: .*none\.csv does not exist"):
        Sources.for_one_shop(folder / "none.csv")
