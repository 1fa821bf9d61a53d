"""The fakes keep the contracts of what they stand in for."""

from __future__ import annotations

import pytest

from engine.protocols import Encoder, Reranker
from tests.engine.contracts_models import EncoderContract, RerankerContract
from tests.fakes import FakeEncoder, FakeReranker


class TestFakeEncoder(EncoderContract):
    @pytest.fixture
    def encoder(self) -> Encoder:
        return FakeEncoder()


class TestFakeReranker(RerankerContract):
    @pytest.fixture
    def reranker(self) -> Reranker:
        return FakeReranker()
