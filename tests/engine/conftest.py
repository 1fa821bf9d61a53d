"""What tests of the engine share."""

from __future__ import annotations

import pytest


@pytest.fixture
def sparing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frequent words are spared wherever they may be, however few products have them."""
    monkeypatch.setattr("engine.retrieval.lexical._MANY", 0)
    monkeypatch.setattr("engine.retrieval.lexical._PROBED", 10)
    monkeypatch.setattr("engine.retrieval.essential._LOOKED_UP", 0)
