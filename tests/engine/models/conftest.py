"""Tiny checkpoints with random weights, exported through the real code. They need torch."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.export.recipe import (
    ExportReport,
    export_encoder,
    export_reranker,
    export_token_reranker,
)
from tests.checkpoints import PAIRS, PASSAGES, save_cross_encoder, save_encoder


@pytest.fixture(scope="session")
def exported_reranker(tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    """A four-class cross-encoder in int8 with labels in an order of its own."""
    pytest.importorskip("torch", reason="exporting needs torch: pip install 'daogou[train]'")
    folder = tmp_path_factory.mktemp("reranker")
    base: Path = save_cross_encoder(folder / "base", labels=("E", "S", "C", "I"))
    return export_reranker(base, folder / "out", calibration=PAIRS, max_length=64, temperature=1.5)


@pytest.fixture(scope="session")
def exported_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An encoder, and a cross-encoder of ours that reads what it makes of passages; both int8."""
    pytest.importorskip("torch", reason="exporting needs torch: pip install 'daogou[train]'")
    from indexer.train import crossencoder  # noqa: PLC0415 - needs torch

    folder = tmp_path_factory.mktemp("pair")
    base = save_encoder(folder / "base")
    crossencoder.save(folder / "cross", *crossencoder.start(str(base)))
    encoder = export_encoder(base, folder / "encoder", calibration=PASSAGES, max_length=64).folder
    reranker = export_token_reranker(
        folder / "cross", encoder, folder / "reranker", calibration=PAIRS, temperature=4.0
    ).folder
    return encoder, reranker
