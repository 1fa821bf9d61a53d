"""Whatever the bytes: products and rejects, or a CatalogError; never anything else."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import CatalogError
from engine.retrieval.facet_builder import offer_values
from engine.types import OFFER_FIELDS, Product
from indexer.catalog import RejectLog, read_catalog

PIECES = st.sampled_from(
    [b'"', b"\n", b"\r\n", b",", b"\t", b";", b"\xff", b"\x00", b"a", b"1", b"{", b"}", b":", b"[",
     "é".encode(), b'{"id":"x","title":"y"}\n', b'"a,""b"\n', b"\xed\xa0\x80"]
)  # fmt: skip
BYTES = st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=60).map(b"".join))

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)  # fmt: skip
FIELDS = st.sampled_from(
    ["id", "title", "description", "bullet_points", "brand", "category", "price", "currency",
     "rating", "rating_count", "in_stock", "created_at", "image", "attributes", "extra", "Title"]
)  # fmt: skip


def read_bytes(content: bytes, name: str) -> tuple[list[Product], int]:
    """(products, rejects), each product checked to be one that can be stored."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        with RejectLog(Path(folder) / "rejects") as log:
            products = list(read_catalog(path, rejects=log))
    for product in products:
        assert product.id
        assert product.title
        body = json.dumps(product.to_dict(), ensure_ascii=False, allow_nan=False).encode()
        assert Product.from_dict(json.loads(body)) == product
        assert dict(offer_values(product.to_dict())).keys() <= set(OFFER_FIELDS)
    assert len({product.id for product in products}) == len(products)
    return products, log.total


@settings(max_examples=250, deadline=None)
@given(
    BYTES, st.sampled_from(["x.csv", "x.tsv", "x.jsonl", "x.csv.gz", "x.jsonl.zst", "x.parquet"])
)
def test_any_bytes_are_read_or_refused(content: bytes, name: str) -> None:
    try:
        read_bytes(content, name)
    except CatalogError:
        return


@settings(max_examples=150, deadline=None)
@given(st.lists(BYTES.map(lambda line: line.replace(b"\n", b"")), max_size=8))
def test_every_json_line_is_a_product_or_a_reject(lines: list[bytes]) -> None:
    good = b'{"id": "first", "title": "Mug"}\n'
    products, rejects = read_bytes(good + b"\n".join(lines), "x.jsonl")
    assert len(products) + rejects == 1 + sum(bool(line.strip()) for line in lines)


@settings(max_examples=150, deadline=None)
@given(st.lists(BYTES.map(lambda line: line.translate(None, b'"\n\r')), max_size=8))
def test_every_unquoted_csv_line_is_a_product_or_a_reject(lines: list[bytes]) -> None:
    products, rejects = read_bytes(b"id,title\n" + b"\n".join(lines), "x.csv")
    assert len(products) + rejects == sum(bool(line) for line in lines)


@settings(max_examples=100, deadline=None)
@given(BYTES)
def test_a_good_row_before_any_bytes_is_always_read(content: bytes) -> None:
    products, _ = read_bytes(b"id,title\nfirst,Mug\n" + content, "x.csv")
    assert products[0] == Product(id="first", title="Mug")


@settings(max_examples=250, deadline=None)
@given(st.dictionaries(FIELDS, JSON, max_size=6))
def test_any_json_values_make_a_product_or_a_reject(row: dict[str, object]) -> None:
    content = json.dumps({"id": "x", "title": "Mug"} | row).encode()
    products, rejects = read_bytes(content, "x.jsonl")
    assert len(products) + rejects == 1
