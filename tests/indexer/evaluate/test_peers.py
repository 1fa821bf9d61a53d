"""The peers of the benchmark: what they share, and each that is installed on tiny models."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from engine.retrieval.features import GAINS
from indexer.evaluate.peer_pipeline import (
    BATCH,
    DEPTH,
    ENCODER,
    RERANKER,
    Pipeline,
    Reranker,
    max_length,
    tokenizer_of,
    write_vectors,
)
from indexer.evaluate.peer_serving import PRODUCTS, texts_of
from indexer.evaluate.peers import ONNX, PEER, PEERS, Peer
from tests.checkpoints import save_encoder
from tests.shop import write_catalog

INSTALLED = [peer for peer in PEERS if peer.installed()]
RERANKING = [peer for peer in INSTALLED if peer.name in {PEER, ONNX}]


def write_products(path: Path, titles: Sequence[str]) -> Path:
    rows = [{"id": f"p{place}", "title": title} for place, title in enumerate(titles)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny checkpoints, as the benchmark restores those of a snapshot."""
    pytest.importorskip("torch", reason="the peers need torch: pip install 'daogou[train]'")
    from indexer.train import crossencoder  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("models")
    encoder = save_encoder(folder / ENCODER)
    crossencoder.save(folder / RERANKER, *crossencoder.start(str(encoder)))
    return folder


@pytest.fixture(scope="module")
def indexed(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Peer], Path]:
    """The small shop as the command of a peer indexes it, once for each."""
    shop = write_catalog(tmp_path_factory.mktemp("shop") / "catalog.jsonl")

    @cache
    def index(peer: Peer) -> Path:
        out = tmp_path_factory.mktemp(peer.name)
        paths = ["--products", str(shop), "--out", str(out)]
        command = [*peer.command("index", models), *paths]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return out

    return index


def test_a_peer_reads_all_texts_of_a_product() -> None:
    attributes = {"watts": 1200.0, "cordless": True}
    product = {"id": "k", "title": "Kettle", "description": "Of steel.", "attributes": attributes}
    assert texts_of([product]) == ["Kettle. Of steel. watts: 1200. cordless"]


class FakeModels:
    """Vectors and logits by the last word of a text, a number."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.reranker = Reranker(tokenizer, self.classify)
        self.shapes: list[tuple[int, int]] = []

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The higher the number, the nearer to the query, which has none."""
        numbers = [text.split()[-1] for text in texts]
        angles = [np.pi / 2 - int(one) / 100 if one.isdecimal() else 0.0 for one in numbers]
        return np.array([(np.cos(one), np.sin(one)) for one in angles], dtype=np.float32)

    def classify(self, *inputs: NDArray[np.int64]) -> NDArray[np.float32]:
        """The more tokens a passage has, the surer it is irrelevant."""
        query, _, passages, mask = inputs
        assert len(query) == len(passages)
        self.shapes.append(passages.shape)
        logits = np.zeros((len(passages), len(GAINS)), dtype=np.float32)
        logits[:, int(GAINS.argmin())] = mask.sum(axis=1) / 4
        return logits


def test_the_nearest_fifty_are_reranked_in_batches_of_like_length(
    models: Path, tmp_path: Path
) -> None:
    fake = FakeModels(tokenizer_of(models / RERANKER))
    titles = ["kettle " * (1 + place % 7) + str(place) for place in range(80)]
    products = write_products(tmp_path / PRODUCTS, titles)
    write_vectors(products, fake.encode, tmp_path)
    found = Pipeline(tmp_path, fake.encode, fake.reranker).search("any tent", k=60)
    assert {hit["product"]["id"] for hit in found} == {f"p{place}" for place in range(30, 80)}
    assert len(found) == DEPTH
    words = [len(hit["product"]["title"].split()) for hit in found]
    assert words == sorted(words)
    assert [rows for rows, _ in fake.shapes] == [BATCH, DEPTH - BATCH]
    assert fake.shapes[0][1] > fake.shapes[1][1]
    scores = [hit["score"] for hit in found]
    assert scores == sorted(scores, reverse=True)


def test_without_a_reranker_the_nearest_are_the_answer(models: Path, tmp_path: Path) -> None:
    fake = FakeModels(tokenizer_of(models / RERANKER))
    write_vectors(
        write_products(tmp_path / PRODUCTS, ["tent 5", "tent 9", "tent 7"]), fake.encode, tmp_path
    )
    found = Pipeline(tmp_path, fake.encode, None).search("any tent", k=2)
    assert [hit["product"]["id"] for hit in found] == ["p1", "p2"]


def test_no_more_is_read_than_the_model_can(models: Path) -> None:
    assert max_length(models / ENCODER) == 64
    assert len(tokenizer_of(models / ENCODER).encode("kettle " * 200)) == 64


def test_a_peer_is_installed_with_all_that_it_needs() -> None:
    assert Peer("any", "indexer.evaluate.peer", ()).installed()
    assert not Peer("any", "indexer.evaluate.peer", ("json", "no_such_package")).installed()


@pytest.mark.slow
@pytest.mark.parametrize("peer", INSTALLED, ids=lambda peer: peer.name)
def test_every_installed_peer_indexes_and_answers(
    peer: Peer, models: Path, indexed: Callable[[Peer], Path]
) -> None:
    pipeline = peer.load(indexed(peer), models)
    found = pipeline.search("gooseneck kettle", k=3)
    assert 0 < len(found) <= 3
    scores = [hit["score"] for hit in found]
    assert scores == sorted(scores, reverse=True)
    assert "k1" in [hit["product"]["id"] for hit in pipeline.search("gooseneck kettle", k=100)]


@pytest.mark.slow
@pytest.mark.parametrize("peer", RERANKING, ids=lambda peer: peer.name)
def test_whatever_runs_the_models_gives_the_same_order(
    peer: Peer, models: Path, indexed: Callable[[Peer], Path], tmp_path: Path
) -> None:
    from indexer.evaluate import peer as in_torch  # noqa: PLC0415 - needs torch

    index = indexed(peer)
    bare = tmp_path / "models"  # without a reranker
    shutil.copytree(models, bare, ignore=shutil.ignore_patterns(f"{RERANKER}*"))
    for given in (models, bare):
        found = peer.load(index, given).search("red kettle", k=5)
        expected = in_torch.load(index, given).search("red kettle", k=5)
        assert [hit["product"] for hit in found] == [hit["product"] for hit in expected]
        scores = [hit["score"] for hit in expected]
        assert [hit["score"] for hit in found] == pytest.approx(scores, abs=1e-5)
