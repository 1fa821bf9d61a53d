"""Passages are encoded while the catalog is read: sooner, and no others than would be after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from engine.errors import CatalogError
from engine.models.encoder import SHIPPED_ENCODER, TransformerEncoder
from engine.models.folder import EncoderInfo, read_model_info
from engine.text import passage
from engine.types import Product
from indexer import passage_reader
from indexer.build import IndexOptions, index_catalog
from indexer.checkpoint import Checkpoint
from indexer.device import Device
from indexer.passage_reader import Encoded, PassageReader
from tests.shop import PRODUCTS, write_catalog


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text the encoder was given, in order; batches of the reader are small."""
    texts: list[str] = []
    plain = TransformerEncoder.read_passages

    def noted(encoder: TransformerEncoder, given: Sequence[str]) -> object:
        texts.extend(given)
        return plain(encoder, given)

    monkeypatch.setattr(TransformerEncoder, "read_passages", noted)
    monkeypatch.setattr(passage_reader, "AHEAD_LEAST", 3)
    monkeypatch.setattr(passage_reader, "AHEAD_BATCH", 4)
    return texts


@pytest.fixture
def reader() -> Iterator[PassageReader]:
    with closing(new_reader()) as one:
        yield one


def new_reader(device: Device = Device.CPU) -> PassageReader:
    info = read_model_info(SHIPPED_ENCODER, kind="encoder")
    assert isinstance(info, EncoderInfo)
    return PassageReader(SHIPPED_ENCODER, info, keep=True, threads=1, device=device)


def announce(reader: PassageReader, products: Sequence[Product]) -> None:
    """Read a catalog slowly: each batch is done before the next product comes."""
    for product in products:
        reader.announce(product)
        if reader._running is not None:
            reader._running[1].result()


def same(one: Encoded, other: Encoded) -> bool:
    return (
        np.array_equal(one.vectors, other.vectors)
        and len(one.tokens) == len(other.tokens)
        and all(
            np.array_equal(mine[0], theirs[0]) and np.array_equal(mine[1], theirs[1])
            for mine, theirs in zip(one.tokens, other.tokens, strict=True)
        )
    )


def test_what_is_announced_is_encoded_once_and_alike(
    reader: PassageReader, encoded: list[str]
) -> None:
    texts = [passage(product) for product in PRODUCTS]
    with closing(new_reader()) as plain:
        expected = plain.read(texts)
    encoded.clear()
    announce(reader, PRODUCTS[:8])
    early = len(encoded)
    assert early == 6
    assert same(reader.read(texts), expected)
    assert sorted(encoded) == sorted(texts)
    assert encoded[:early] == texts[:early]


def test_chunks_may_be_begun_together(reader: PassageReader, encoded: list[str]) -> None:
    announce(reader, PRODUCTS[:6])
    texts = [passage(product) for product in PRODUCTS]
    finish = [reader.begin(texts[start : start + 5]) for start in range(0, len(texts), 5)]
    vectors = np.concatenate([each().vectors for each in finish])
    with closing(new_reader()) as plain:
        np.testing.assert_array_equal(vectors, plain.read(texts).vectors)
    assert sorted(encoded[: len(texts)]) == sorted(texts)


def test_no_more_is_held_than_may_be(
    reader: PassageReader, encoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passage_reader, "AHEAD_MOST", 5)
    announce(reader, PRODUCTS)
    assert len(encoded) == 3  # two more are too few for a batch
    reader.read([passage(product) for product in PRODUCTS])
    assert len(encoded) == len(PRODUCTS)


def test_what_a_run_before_encoded_is_not_encoded_ahead(
    reader: PassageReader, encoded: list[str], tmp_path: Path
) -> None:
    info = read_model_info(SHIPPED_ENCODER, kind="encoder")
    reader.checkpoint = Checkpoint(tmp_path, info, tokens=True)
    announce(reader, PRODUCTS)
    assert encoded == []
    assert reader.loaded is not None


@pytest.mark.usefixtures("encoded")
def test_what_was_encoded_ahead_is_noted_for_a_run_after_this_one(
    reader: PassageReader, tmp_path: Path
) -> None:
    info = read_model_info(SHIPPED_ENCODER, kind="encoder")
    announce(reader, PRODUCTS[:8])
    texts = [passage(product) for product in PRODUCTS]
    reader.checkpoint = Checkpoint(tmp_path, info, tokens=True)
    expected = reader.read(texts)
    noted = Checkpoint(tmp_path, info, tokens=True)
    assert noted.has(texts).all()
    with closing(new_reader()) as later:
        later.checkpoint = noted
        assert same(later.read(texts), expected)
        assert (later.taken_up, later.loaded) == (len(texts), None)


def test_where_a_gpu_may_encode_nothing_is_encoded_before(
    encoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passage_reader, "takes_gpu", lambda _device, _texts: True)
    with closing(new_reader(Device.AUTO)) as reader:
        announce(reader, PRODUCTS)
    assert encoded == []


def test_a_snapshot_is_the_same_whatever_was_encoded_ahead(
    encoded: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_catalog(tmp_path / "catalog.jsonl")
    bare = IndexOptions(ranking=None)
    ahead = index_catalog(tmp_path / "catalog.jsonl", tmp_path / "ahead", bare)
    assert sorted(encoded) == sorted(map(passage, PRODUCTS))
    monkeypatch.setattr(passage_reader, "AHEAD_LEAST", 10**6)
    after = index_catalog(tmp_path / "catalog.jsonl", tmp_path / "after", bare)
    for name in ("vectors.npy", "passages/tokens-0.bin", "passages/places.npy"):
        assert (ahead.folder / name).read_bytes() == (after.folder / name).read_bytes()


def test_what_fails_ahead_fails_the_run_and_publishes_nothing(
    encoded: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_encoder: TransformerEncoder, _texts: Sequence[str]) -> object:
        raise CatalogError("no memory left")

    monkeypatch.setattr(TransformerEncoder, "read_passages", fail)
    write_catalog(tmp_path / "catalog.jsonl")
    with pytest.raises(CatalogError, match="no memory left"):
        index_catalog(tmp_path / "catalog.jsonl", tmp_path / "store", IndexOptions(ranking=None))
    assert not list((tmp_path / "store" / "snapshots").glob("0*"))
    assert encoded == []
