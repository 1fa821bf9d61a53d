"""What serves can be gone on from: its weights come back out of the graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.errors import ModelError
from engine.models.encoder import SHIPPED_ENCODER, load_encoder
from engine.models.folder import Precision
from engine.models.reranker import TokenReranker, load_reranker, softmax
from engine.models.tokens import pack
from indexer.evaluate.seen import read_training_hashes, trained_before
from tests.checkpoints import PAIRS, PASSAGES, QUERIES, save_cross_encoder, save_encoder

pytest.importorskip("torch", reason="training needs torch: pip install 'daogou[train]'")

import torch

from indexer.export.recipe import export_encoder, export_reranker, export_token_reranker
from indexer.train import crossencoder
from indexer.train.reranker import Texts, logits
from indexer.train.shipped import restore


def test_the_shipped_encoder_comes_back(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - heavy

    texts = ["red dog bowl", "a kettle that whistles", "4 pack of AA batteries, rechargeable"]
    folder = restore("encoder", tmp_path / "encoder")
    given = SentenceTransformer(str(folder), device="cpu").encode(texts, normalize_embeddings=True)
    served = load_encoder(SHIPPED_ENCODER).encode_queries(texts)
    assert (given * served).sum(axis=1).min() > 0.98
    assert trained_before(folder) == read_training_hashes(SHIPPED_ENCODER) != frozenset()


@pytest.mark.parametrize(("precision", "off"), [("fp32", 2e-2), ("int8", 0.1)])
def test_a_served_reranker_comes_back(tmp_path: Path, precision: Precision, off: float) -> None:
    model, tokenizer = crossencoder.start(str(save_encoder(tmp_path / "tiny-bert")))
    with torch.no_grad():
        model.gate.copy_(torch.tensor([-2.0]))
        model.classifier.bias.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    crossencoder.save(tmp_path / "checkpoint", model, tokenizer)
    encoder = export_encoder(
        tmp_path / "tiny-bert", tmp_path / "encoder", calibration=PASSAGES, max_length=64,
        precision=precision,
    ).folder  # fmt: skip
    served = export_token_reranker(
        tmp_path / "checkpoint", encoder, tmp_path / "served", calibration=PAIRS, temperature=4.0,
        precision=precision,
    ).folder  # fmt: skip
    folder = restore("reranker", tmp_path / "reranker", served, encoder)
    again, written = crossencoder.load(folder)
    assert again.gate.tolist() == pytest.approx([-2.0])
    queries, passages = [QUERIES[3]] * len(PASSAGES), PASSAGES
    given = softmax(logits(again, Texts(again, written), queries, passages) / np.float32(4.0))
    reranker = load_reranker(served)
    assert isinstance(reranker, TokenReranker)
    _, tokens = load_encoder(encoder, tokens=True).read_passages(passages)
    assert np.abs(given - reranker.classify_read(QUERIES[3], pack(tokens))).max() < off


def test_another_classifier_is_refused(tmp_path: Path) -> None:
    base = save_cross_encoder(tmp_path / "four", labels="ICSE")
    served = export_reranker(
        base, tmp_path / "out", calibration=PAIRS, labels="ICSE", max_length=64, precision="fp32"
    ).folder
    with pytest.raises(ModelError, match="holds no BERT"):
        restore("reranker", tmp_path / "reranker", served)


def test_what_does_not_ship_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no ranker ships"):
        restore("ranker", tmp_path / "out")
