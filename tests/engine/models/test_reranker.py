"""The reranker: an exported one keeps the contract, and its columns are the classes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from engine.errors import ModelError
from engine.models.folder import INFO_FILE, RerankerInfo, fingerprint_of, read_model_info
from engine.models.reranker import TransformerReranker, load_reranker, softmax
from engine.types import Relevance
from indexer.export.recipe import ExportReport
from tests.engine.contracts_models import KETTLE, PEGS, RerankerContract


@pytest.fixture(scope="module")
def reranker(exported_reranker: ExportReport) -> TransformerReranker:
    return load_reranker(exported_reranker.folder)


class TestExportedReranker(RerankerContract):
    pass


def relabelled(folder: Path, out: Path, **changes: object) -> Path:
    """A copy of a model folder that says something else of itself."""
    shutil.copytree(folder, out)
    info = read_model_info(folder, kind="reranker")
    changed = RerankerInfo.model_validate(info.model_dump() | changes)
    values = changed.model_dump(mode="json") | {"fingerprint": fingerprint_of(changed)}
    (out / INFO_FILE).write_text(json.dumps(values))
    return out


def test_columns_follow_the_labels_not_the_logits(
    exported_reranker: ExportReport, reranker: TransformerReranker, tmp_path: Path
) -> None:
    assert reranker.info.labels == ("exact", "substitute", "complement", "irrelevant")
    swapped = ("substitute", "exact", "complement", "irrelevant")
    other = load_reranker(relabelled(exported_reranker.folder, tmp_path / "other", labels=swapped))
    pair = (["kettle"], [KETTLE])
    moved = other.classify(*pair)[:, [0, 1, 3, 2]]
    np.testing.assert_allclose(moved, reranker.classify(*pair), atol=1e-6)
    assert other.fingerprint != reranker.fingerprint


def test_a_higher_temperature_is_less_sure_of_the_same_class(
    exported_reranker: ExportReport, reranker: TransformerReranker, tmp_path: Path
) -> None:
    calm = load_reranker(relabelled(exported_reranker.folder, tmp_path / "calm", temperature=9.0))
    sure, unsure = reranker.classify(["kettle"], [PEGS])[0], calm.classify(["kettle"], [PEGS])[0]
    assert sure.argmax() == unsure.argmax()
    assert sure.max() > unsure.max() > 1 / len(Relevance)


def test_a_query_survives_a_long_passage(reranker: TransformerReranker) -> None:
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
