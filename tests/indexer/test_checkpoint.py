from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from engine.models.encoder import SHIPPED_ENCODER, TransformerEncoder
from engine.models.folder import EncoderInfo, read_model_info
from engine.store import SnapshotStore
from engine.types import Vectors
from indexer import encode, making
from indexer.build import IndexOptions, IndexReport, index_catalog
from indexer.checkpoint import FOLDER, Checkpoint
from indexer.plan import plan_index
from tests.shop import PRODUCTS, write_catalog


class StoppedError(Exception):
    """The run is killed."""


class Meter:
    """Counts the texts that are encoded, and stops the run after some chunks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.texts = 0
        self.chunks_left: int | None = None
        plain, reading = TransformerEncoder.encode_passages, TransformerEncoder.read_passages

        def encode_passages(encoder: TransformerEncoder, texts: Sequence[str]) -> Vectors:
            self._count(texts)
            return plain(encoder, texts)

        def read_passages(
            encoder: TransformerEncoder, texts: Sequence[str]
        ) -> tuple[Vectors, list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]]:
            self._count(texts)
            return reading(encoder, texts)

        monkeypatch.setattr(encode, "ENCODE_CHUNK", 4)
        monkeypatch.setattr(making, "ENCODE_CHUNK", 4)
        monkeypatch.setattr(TransformerEncoder, "encode_passages", encode_passages)
        monkeypatch.setattr(TransformerEncoder, "read_passages", read_passages)

    def _count(self, texts: Sequence[str]) -> None:
        if self.chunks_left == 0:
            raise StoppedError
        if self.chunks_left is not None and texts:
            self.chunks_left -= 1
        self.texts += len(texts)


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Meter:
    return Meter(monkeypatch)


def index(folder: Path, *, tokens: bool = False) -> IndexReport:
    catalog = folder / "catalog.jsonl"
    if not catalog.exists():
        write_catalog(catalog)
    bare = IndexOptions(ranking=None) if tokens else IndexOptions(ranking=None, reranker=None)
    return index_catalog(catalog, folder / "store", bare)


def stop_after(meter: Meter, folder: Path, chunks: int, *, tokens: bool = False) -> None:
    meter.chunks_left = chunks
    with pytest.raises(StoppedError):
        index(folder, tokens=tokens)
    meter.chunks_left, meter.texts = None, 0


@pytest.mark.parametrize("tokens", [False, True])
def test_a_run_goes_on_where_the_one_before_was_stopped(
    meter: Meter, tmp_path: Path, tokens: bool
) -> None:
    (tmp_path / "whole").mkdir()
    whole = index(tmp_path / "whole", tokens=tokens)
    assert whole.changes.taken_up == 0
    (tmp_path / "cut").mkdir()
    stop_after(meter, tmp_path / "cut", 2, tokens=tokens)
    assert not list((tmp_path / "cut" / "store" / "snapshots").glob("*"))
    report = index(tmp_path / "cut", tokens=tokens)
    assert meter.texts == len(PRODUCTS) - 8
    assert (report.changes.encoded, report.changes.taken_up) == (len(PRODUCTS) - 8, 8)
    for name in (
        "vectors.npy",
        *(("passages/tokens-0.bin", "passages/places.npy") if tokens else ()),
    ):
        assert (report.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    assert not (tmp_path / "cut" / "store" / FOLDER).exists()


def test_texts_are_taken_up_wherever_they_stand_now(meter: Meter, tmp_path: Path) -> None:
    stop_after(meter, tmp_path, 2)
    write_catalog(tmp_path / "catalog.jsonl", PRODUCTS[::-1][:9])
    report = index(tmp_path)
    known = {product.id for product in PRODUCTS[:8]}
    new = [product for product in PRODUCTS[::-1][:9] if product.id not in known]
    assert meter.texts == len(new)
    assert report.changes.taken_up == 9 - len(new)


@pytest.mark.parametrize("torn", [False, True])
def test_a_dry_run_counts_what_is_taken_up_and_leaves_it(
    meter: Meter, tmp_path: Path, torn: bool
) -> None:
    stop_after(meter, tmp_path, 2)
    store = tmp_path / "store"
    if torn:
        first = min((store / FOLDER).glob("*.npz"))
        first.write_bytes(first.read_bytes()[:100])
    files = sorted(store.rglob("*"))
    write_catalog(tmp_path / "catalog.jsonl", PRODUCTS[::-1])
    bare = IndexOptions(ranking=None, reranker=None)
    plan = plan_index(tmp_path / "catalog.jsonl", store, bare)
    other = plan_index(tmp_path / "catalog.jsonl", store, IndexOptions(ranking=None))
    assert sorted(store.rglob("*")) == files
    assert (other.changes.encoded, other.changes.taken_up) == (len(PRODUCTS), 0)
    assert plan.changes.taken_up == (4 if torn else 8)
    assert plan.changes == index(tmp_path).changes


def test_a_torn_block_is_encoded_again(meter: Meter, tmp_path: Path) -> None:
    stop_after(meter, tmp_path, 2)
    first, second = sorted((tmp_path / "store" / FOLDER).glob("*.npz"))
    first.write_bytes(first.read_bytes()[:100])
    data = bytearray(second.read_bytes())
    data[len(data) // 2] ^= 1  # in the vectors: the digests are whole
    second.write_bytes(bytes(data))
    report = index(tmp_path)
    assert report.changes.encoded == meter.texts == len(PRODUCTS)
    assert SnapshotStore(tmp_path / "store").verify() == []


def test_whatever_byte_of_a_block_flips_it_is_whole_or_not_there(tmp_path: Path) -> None:
    info = read_model_info(SHIPPED_ENCODER, kind="encoder")
    assert isinstance(info, EncoderInfo)
    texts, vectors = ["kettle", "mug"], np.eye(2, dtype=np.float16)
    Checkpoint(tmp_path, info, tokens=False).add(texts, vectors, [])
    (block,) = (tmp_path / FOLDER).glob("*.npz")
    whole = block.read_bytes()
    for place in range(len(whole)):
        for flipped in (1, 32, 64, 128):  # encrypted, patched, strongly encrypted
            content = bytearray(whole)
            content[place] ^= flipped
            block.write_bytes(content)
            taken = Checkpoint(tmp_path, info, tokens=False).take(texts)
            assert len(taken.places) in {0, 2}
            np.testing.assert_array_equal(
                taken.vectors, vectors[: len(taken.places)].reshape(taken.vectors.shape)
            )


def test_what_another_model_made_is_not_taken_up(meter: Meter, tmp_path: Path) -> None:
    stop_after(meter, tmp_path, 2)
    info = read_model_info(SHIPPED_ENCODER, kind="encoder")
    assert isinstance(info, EncoderInfo)
    same = shutil.copytree(tmp_path / "store", tmp_path / "same")
    assert len(Checkpoint(same, info, tokens=False)) == 8
    assert len(Checkpoint(same, info, tokens=True)) == 0
    assert not (same / FOLDER).exists()


def test_what_was_encoded_is_taken_up_however_few_are_left(
    meter: Meter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(meter, tmp_path, 2)
    monkeypatch.setattr(encode, "ENCODE_CHUNK", 100)
    monkeypatch.setattr(making, "ENCODE_CHUNK", 100)
    report = index(tmp_path)
    assert (report.changes.taken_up, meter.texts) == (8, len(PRODUCTS) - 8)


def test_a_small_catalog_leaves_nothing(
    meter: Meter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encode, "ENCODE_CHUNK", 100)
    monkeypatch.setattr(making, "ENCODE_CHUNK", 100)
    meter.chunks_left = 0
    with pytest.raises(StoppedError):
        index(tmp_path)
    assert not (tmp_path / "store" / FOLDER).exists()
