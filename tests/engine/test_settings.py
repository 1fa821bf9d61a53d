"""Settings come from options and the environment, and a bad one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import SettingsError
from engine.settings import load_settings
from engine.types import Mode


def test_an_option_overrules_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAOGOU_THREADS", "3")
    monkeypatch.setenv("DAOGOU_STORE", "/srv/shop")
    settings = load_settings(threads=1)
    assert (settings.threads, settings.store) == (1, Path("/srv/shop"))


def test_a_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAOGOU_THREADS", "abc")
    with pytest.raises(SettingsError, match=r"DAOGOU_THREADS cannot be 'abc': .*integer"):
        load_settings()
    assert load_settings(threads=2).threads == 2


def test_a_bad_option_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^port cannot be 70000: .*65535"):
        load_settings(port=70_000)


@pytest.mark.parametrize(
    ("mode", "rerank", "depth"), [("fast", False, 20), ("balanced", True, 10), ("best", True, 50)]
)
def test_a_mode_stands_for_reranking_and_its_depth(
    monkeypatch: pytest.MonkeyPatch, mode: str, rerank: bool, depth: int
) -> None:
    monkeypatch.setenv("DAOGOU_MODE", mode)
    settings = load_settings()
    assert (settings.mode, settings.rerank, settings.rerank_depth) == (Mode(mode), rerank, depth)
    monkeypatch.setenv("DAOGOU_RERANK_DEPTH", "7")
    assert load_settings(rerank=False).rerank_depth == 7
    assert not load_settings(rerank=False).rerank


def test_an_unknown_mode_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAOGOU_MODE", "slow")
    with pytest.raises(SettingsError, match="DAOGOU_MODE cannot be 'slow'"):
        load_settings()
