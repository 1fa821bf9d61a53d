"""The encoder that a GPU runs, here on the CPU: its contract, and the serving one's vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import ModelError
from engine.models.encoder import SHIPPED_ENCODER, TransformerEncoder, load_encoder
from engine.models.folder import read_model_info
from engine.models.tokens import PASSAGE_TOKENS
from tests.checkpoints import PASSAGES, save_encoder
from tests.engine.contracts_models import TEXTS, EncoderContract
from tests.faults.tiny import save_tiny_encoder

pytest.importorskip("torch", reason="a GPU's encoder needs torch: pip install 'daogou[train]'")

import torch

from indexer.export import torch_encoder
from indexer.export.recipe import export_encoder
from indexer.export.torch_encoder import TorchEncoder, load_torch_encoder


@pytest.fixture(scope="module")
def encoder() -> TorchEncoder:
    return load_torch_encoder(SHIPPED_ENCODER, device="cpu")


@pytest.fixture(scope="module")
def half() -> TorchEncoder:
    """As on a GPU: multiplied in half precision."""
    info = read_model_info(SHIPPED_ENCODER, kind="encoder")
    return TorchEncoder(SHIPPED_ENCODER, info, device="cpu", half=True)


@pytest.fixture(scope="module")
def serving() -> TransformerEncoder:
    return load_encoder(SHIPPED_ENCODER, tokens=True)


class TestTorchEncoder(EncoderContract):
    pass


class TestInHalfPrecision(EncoderContract):
    texts = (*TEXTS[:9], *TEXTS[9::5])  # CPUs without its instructions multiply halves slowly

    @pytest.fixture
    def encoder(self, half: TorchEncoder) -> TorchEncoder:
        return half


def cosines(some: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of the rows of two matrices, in pairs."""
    lengths = np.linalg.norm(some, axis=1) * np.linalg.norm(others, axis=1)
    found: NDArray[np.float32] = (some * others).sum(axis=1) / lengths
    return found


@pytest.mark.parametrize("kind", ["encoder", "half"])
def test_it_gives_what_the_serving_encoder_gives(
    kind: str, serving: TransformerEncoder, request: pytest.FixtureRequest
) -> None:
    encoder: TorchEncoder = request.getfixturevalue(kind)
    assert (encoder.dim, encoder.fingerprint) == (serving.dim, serving.fingerprint)
    vectors, tokens = encoder.read_passages(TEXTS)
    served, kept = serving.read_passages(TEXTS)
    np.testing.assert_array_equal(vectors, encoder.encode_passages(TEXTS))
    found = cosines(vectors, served)
    assert found.min() >= 0.98
    assert found.mean() >= 0.99
    assert [each.shape for each in tokens] == [each.shape for each in kept]
    assert max(map(len, tokens)) == PASSAGE_TOKENS
    assert {each.dtype for each in tokens} == {np.dtype(np.float32)}
    of_tokens = cosines(np.concatenate(tokens), np.concatenate(kept))
    assert of_tokens.min() >= 0.97
    assert of_tokens.mean() >= 0.99


def test_a_text_is_read_the_same_alone_or_in_any_batch(
    encoder: TorchEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, tokens = encoder.read_passages(TEXTS)
    monkeypatch.setattr(torch_encoder, "BATCH_TOKENS", 1)
    alone, own = encoder.read_passages(TEXTS)
    assert np.abs(vectors - alone).max() <= 1e-4
    assert np.abs(np.concatenate(tokens) - np.concatenate(own)).max() <= 1e-4


def test_no_texts_give_no_tokens(encoder: TorchEncoder) -> None:
    vectors, tokens = encoder.read_passages([])
    assert (vectors.shape, tokens) == ((0, encoder.dim), [])


def test_what_half_precision_cannot_hold_is_read_in_full(
    encoder: TorchEncoder, half: TorchEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = TorchEncoder._forward

    def overflowing(
        self: TorchEncoder, ids: torch.Tensor, mask: torch.Tensor, *, half: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        vectors, hidden = plain(self, ids, mask, half=half)
        return (vectors * torch.nan, hidden * torch.inf) if half else (vectors, hidden)

    monkeypatch.setattr(TorchEncoder, "_forward", overflowing)
    np.testing.assert_array_equal(half.encode_passages(TEXTS), encoder.encode_passages(TEXTS))


def test_what_model_json_says_is_done(tmp_path: Path) -> None:
    """Prefix, maximum length and pooling; in full precision nothing is left to differ."""
    folder = export_encoder(
        save_encoder(tmp_path / "base"), tmp_path / "out", calibration=PASSAGES, max_length=16,
        precision="fp32", query_prefix="kettle ", passage_prefix="item for the ",
    ).folder  # fmt: skip
    encoder, serving = load_torch_encoder(folder, device="cpu"), load_encoder(folder, tokens=True)
    texts = [*PASSAGES[:20], "red kettle " * 40]
    vectors, tokens = encoder.read_passages(texts)
    served, kept = serving.read_passages(texts)
    np.testing.assert_allclose(vectors, served, atol=1e-4)
    np.testing.assert_allclose(np.concatenate(tokens), np.concatenate(kept), atol=1e-3)
    assert len(tokens[-1]) == 16
    np.testing.assert_allclose(
        encoder.encode_queries(texts), serving.encode_queries(texts), atol=1e-4
    )
    info = encoder.info.model_copy(update={"pooling": "cls"})
    first = np.stack([each[0] for each in tokens])
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    by_first = TorchEncoder(folder, info, device="cpu").encode_passages(texts)
    np.testing.assert_allclose(by_first, first, atol=1e-5)


def test_what_is_no_bert_is_refused(tmp_path: Path) -> None:
    folder = save_tiny_encoder(tmp_path / "tiny")
    with pytest.raises(ModelError, match=r"'tiny' cannot be put on a GPU.*--device cpu"):
        load_torch_encoder(folder, device="cpu")


def test_a_device_that_fails_is_named(
    encoder: TorchEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore of it")

    monkeypatch.setattr(TorchEncoder, "_forward", full)
    with pytest.raises(ModelError, match=r"CUDA out of memory\. Tried.*GiB\..*--device cpu"):
        encoder.encode_passages(["kettle"])
