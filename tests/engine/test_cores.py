"""What a CPU says it can do, and what follows for models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.cores import adds_bytes, cpu_features
from engine.models.encoder import SHIPPED_ENCODER, load_encoder
from engine.types import Vectors

TEXTS = ["a kettle of steel, 1.7 litres", "piano black headphones"]


@pytest.mark.parametrize(
    ("features", "adding"),
    [
        ("fpu sse2 avx2 fma", False),
        ("fpu avx2 avx512f avx512bw", False),
        ("fpu avx2 avx512f avx512_vnni", True),
        ("fpu avx2 avx_vnni", True),
        ("fp asimd asimddp", True),
        ("fp asimd", False),
        ("", True),
    ],
)
def test_int8_is_for_cpus_that_say_they_add_bytes(
    monkeypatch: pytest.MonkeyPatch, features: str, adding: bool
) -> None:
    monkeypatch.setattr("engine.cores.cpu_features", lambda: frozenset(features.split()))
    assert adds_bytes() is adding


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="only Linux says it")
def test_the_features_of_this_cpu_are_read() -> None:
    assert cpu_features() & {"sse2", "asimd"}


def test_where_the_cpu_does_not_the_encoder_computes_in_full(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And what was compiled for the one is not taken for the other."""
    vectors: dict[bool, Vectors] = {}
    for adding in (True, False, True, False):
        monkeypatch.setattr("engine.models.runtime.adds_bytes", lambda adding=adding: adding)
        encoder = load_encoder(SHIPPED_ENCODER, kept=tmp_path)
        given = vectors.setdefault(adding, encoder.encode_passages(TEXTS))
        np.testing.assert_array_equal(encoder.encode_passages(TEXTS), given)
        said = load_encoder(SHIPPED_ENCODER, rounded=adding)
        np.testing.assert_array_equal(said.encode_passages(TEXTS), given)
    assert np.abs(vectors[True] - vectors[False]).max() > 1e-4
    assert (vectors[True] * vectors[False]).sum(axis=1).min() > 0.97
