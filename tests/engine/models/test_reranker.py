"""The reranker: an exported one keeps the contract, and its columns are the classes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from engine.errors import ModelError
from engine.models.encoder import load_encoder
from engine.models.folder import INFO_FILE, RerankerInfo, fingerprint_of, read_model_info
from engine.models.reranker import PairReranker, load_adapted, load_reranker, softmax
from engine.models.tokens import PASSAGE_TOKENS, pack
from engine.protocols import PassageReranker
from engine.types import ReadPassages, Relevance
from indexer.export.recipe import ExportReport
from tests.engine.contracts_models import (
    KETTLE,
    PEGS,
    TEXTS,
    PassageRerankerContract,
    RerankerContract,
)


@pytest.fixture(scope="module")
def reranker(exported_reranker: ExportReport) -> PairReranker:
    return loaded(exported_reranker.folder)


def loaded(folder: Path) -> PairReranker:
    reranker = load_reranker(folder)
    assert isinstance(reranker, PairReranker)
    return reranker


class TestExportedReranker(RerankerContract):
    pass


class TestExportedTokenReranker(PassageRerankerContract):
    pass


@pytest.fixture(scope="module")
def passage_reranker(exported_pair: tuple[Path, Path]) -> PassageReranker:
    reranker = load_reranker(exported_pair[1])
    assert isinstance(reranker, PassageReranker)
    return reranker


@pytest.fixture(scope="module")
def read(exported_pair: tuple[Path, Path]) -> ReadPassages:
    return pack(load_encoder(exported_pair[0], tokens=True).read_passages(TEXTS)[1])


def test_an_encoder_reads_tokens_beside_the_vectors_it_gives(
    exported_pair: tuple[Path, Path],
) -> None:
    plain, reading = load_encoder(exported_pair[0]), load_encoder(exported_pair[0], tokens=True)
    vectors, tokens = reading.read_passages(TEXTS)
    np.testing.assert_array_equal(vectors, plain.encode_passages(TEXTS))
    assert max(map(len, tokens)) == PASSAGE_TOKENS
    short = tokens[0].mean(axis=0)  # mean pooling: what of a short text is kept is all of it
    np.testing.assert_allclose(short / np.linalg.norm(short), vectors[0], atol=1e-4)


def relabelled(folder: Path, out: Path, **changes: object) -> Path:
    """A copy of a model folder that says something else of itself."""
    shutil.copytree(folder, out)
    info = read_model_info(folder, kind="reranker")
    changed = RerankerInfo.model_validate(info.model_dump() | changes)
    values = changed.model_dump(mode="json") | {"fingerprint": fingerprint_of(changed)}
    (out / INFO_FILE).write_text(json.dumps(values))
    return out


def test_columns_follow_the_labels_not_the_logits(
    exported_reranker: ExportReport, reranker: PairReranker, tmp_path: Path
) -> None:
    assert reranker.info.labels == ("exact", "substitute", "complement", "irrelevant")
    swapped = ("substitute", "exact", "complement", "irrelevant")
    other = loaded(relabelled(exported_reranker.folder, tmp_path / "other", labels=swapped))
    pair = (["kettle"], [KETTLE])
    moved = other.classify(*pair)[:, [0, 1, 3, 2]]
    np.testing.assert_allclose(moved, reranker.classify(*pair), atol=1e-6)
    assert other.fingerprint != reranker.fingerprint


def test_a_higher_temperature_is_less_sure_of_the_same_class(
    exported_reranker: ExportReport, reranker: PairReranker, tmp_path: Path
) -> None:
    calm = loaded(relabelled(exported_reranker.folder, tmp_path / "calm", temperature=9.0))
    sure, unsure = reranker.classify(["kettle"], [PEGS])[0], calm.classify(["kettle"], [PEGS])[0]
    assert sure.argmax() == unsure.argmax()
    assert sure.max() > unsure.max() > 1 / len(Relevance)


def test_a_query_survives_a_long_passage(reranker: PairReranker) -> None:
    """The passage is cut, the query is not: two queries differ whatever the passage's length."""
    first, second = reranker.classify(["kettle", "pegs"], [PEGS * 50] * 2)
    assert np.abs(first - second).max() > 1e-4


def test_labels_that_are_not_the_classes_are_refused(
    exported_reranker: ExportReport, tmp_path: Path
) -> None:
    labels = ("exact", "exact", "complement", "irrelevant")
    folder = relabelled(exported_reranker.folder, tmp_path / "twice", labels=labels)
    with pytest.raises(ModelError, match="exact, exact, complement, irrelevant"):
        load_reranker(folder)


def test_softmax_of_large_logits_is_finite() -> None:
    probabilities = softmax(np.array([[1000.0, 0.0, -1000.0, 1000.0]], dtype=np.float32))
    np.testing.assert_allclose(probabilities, [[0.5, 0.0, 0.0, 0.5]])


def test_what_is_added_to_a_layer_changes_what_is_said(
    exported_pair: tuple[Path, Path], read: ReadPassages
) -> None:
    width = read.hidden.shape[2]
    random = np.random.default_rng(0)
    inner = random.normal(size=(2, width)).astype(np.float32)
    layer = "upper.0.attention.self.value"
    nothing, much = (np.full((width, 2), size, np.float32) for size in (0.0, 1.0))
    plain = load_adapted(exported_pair[1], {}).score_read(KETTLE, read)
    same = load_adapted(exported_pair[1], {layer: (nothing, inner)}).score_read(KETTLE, read)
    other = load_adapted(exported_pair[1], {layer: (much, inner)}).score_read(KETTLE, read)
    np.testing.assert_allclose(plain, same, atol=0.05)  # rounded anew
    assert np.abs(plain - other).max() > 0.1


def test_a_layer_that_is_not_there_is_named(exported_pair: tuple[Path, Path]) -> None:
    thin = np.zeros((1, 1), np.float32)
    with pytest.raises(ModelError, match=r"no layer upper\.99"):
        load_adapted(exported_pair[1], {"upper.99": (thin, thin)})


def test_what_reads_pairs_is_not_adapted(exported_reranker: ExportReport) -> None:
    with pytest.raises(ModelError, match="in pairs"):
        load_adapted(exported_reranker.folder, {})
