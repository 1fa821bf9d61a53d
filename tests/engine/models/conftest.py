"""Tiny checkpoints with random weights, exported through the real code. They need torch."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.export.recipe import ExportReport, export_reranker
from tests.checkpoints import PAIRS, save_cross_encoder


@pytest.fixture(scope="session")
def exported_reranker(tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    """A four-class cross-encoder in int8 with labels in an order of its own."""
    pytest.importorskip("torch", reason="exporting needs torch: pip install 'daogou[train]'")
    folder = tmp_path_factory.mktemp("reranker")
    base: Path = save_cross_encoder(folder / "base", labels=("E", "S", "C", "I"))
    return export_reranker(base, folder / "out", calibration=PAIRS, max_length=64, temperature=1.5)
