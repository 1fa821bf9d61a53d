"""The encoder: the shipped one keeps the contract, and reads meaning."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from engine.errors import ModelError
from engine.models.encoder import SHIPPED_ENCODER, TransformerEncoder, load_encoder
from engine.models.folder import read_model_info, verify_model
from engine.text import PASSAGE_TEMPLATE
from tests.engine.contracts_models import KETTLE, PEGS, TEXTS, EncoderContract


@pytest.fixture(scope="module")
def encoder() -> TransformerEncoder:
    return load_encoder(SHIPPED_ENCODER)


class TestShippedEncoder(EncoderContract):
    pass


def test_meaning_counts_where_no_word_is_shared(encoder: TransformerEncoder) -> None:
    queries = encoder.encode_queries(["boil water for tea", "sleep outdoors in the woods"])
    scores = queries @ encoder.encode_passages([PEGS, KETTLE]).T
    assert scores.argmax(axis=1).tolist() == [1, 0]


def test_markers_in_a_text_are_plain_words(encoder: TransformerEncoder) -> None:
    """`[SEP]` from a shopper must not act as the model's own separator."""
    marked, plain = encoder.encode_queries(["red [SEP] kettle", "red [ sep ] kettle"])
    np.testing.assert_allclose(marked, plain, atol=1e-6)


def test_what_lies_beyond_the_maximum_length_is_not_read(encoder: TransformerEncoder) -> None:
    long = "kettle " * (2 * encoder.info.max_length)
    first, second = encoder.encode_passages([long + "tent", long + "shoe"])
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_one_thread_and_many_agree() -> None:
    one = load_encoder(SHIPPED_ENCODER, threads=1).encode_passages(TEXTS)
    four = load_encoder(SHIPPED_ENCODER, threads=4).encode_passages(TEXTS)
    assert (one * four).sum(axis=1).min() >= 1 - 1e-3


def test_the_shipped_encoder_is_whole_and_says_where_it_comes_from() -> None:
    info = verify_model(SHIPPED_ENCODER)
    assert info == read_model_info(SHIPPED_ENCODER, kind="encoder")
    assert info.passage_template == PASSAGE_TEMPLATE
    assert info.provenance["base"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert info.provenance["license"] == "Apache-2.0"
    assert info.quantisation["cosine_min"] >= 0.98
    card = (SHIPPED_ENCODER / "README.md").read_text(encoding="utf-8")
    assert info.fingerprint in card


def test_the_shipped_encoder_leaves_room_for_a_reranker() -> None:
    assert sum(path.stat().st_size for path in SHIPPED_ENCODER.iterdir()) <= 24 * 2**20


def test_a_folder_that_says_another_width_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(SHIPPED_ENCODER, folder)
    info = read_model_info(folder, kind="encoder").model_copy(update={"dim": 7})
    with pytest.raises(ModelError, match="384"):
        TransformerEncoder(folder, info)
