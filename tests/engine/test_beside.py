"""Parts of one search side by side give what they give in turn."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.answer import Answer
from engine.beside import Beside
from engine.cache import AnswerCache
from engine.clock import Clock
from engine.listing import TELLING, View
from engine.retrieval.filters import allowed_rows, parse_filters
from engine.retrieval.lexical import LexicalIndex
from engine.retrieval.matching import MOST
from engine.search import SearchEngine
from engine.settings import load_settings
from engine.snapshot import Snapshot
from engine.types import Mode, SearchResult, Sort, Stage

QUERIES = (
    "kettle", "quiet fan for bedroom", "black coffee for the office kitchen", "乌龙茶",
    "rug without fringe", "qwertz", "DGCB144B9", "coffee",
)  # fmt: skip


@pytest.fixture(scope="module")
def snapshot(demo_store: Path) -> Snapshot:
    return SearchEngine.open(demo_store, load_settings(cache=0)).snapshot


@pytest.fixture(params=[1, 2], ids=["in turn", "side by side"])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("engine.beside.usable_cores", lambda: request.param)
    return int(request.param)


def test_work_is_done_and_its_failure_raised(cores: int) -> None:
    beside = Beside(worthwhile=True)
    done = beside.begin(lambda: threading.current_thread() is not threading.main_thread())
    assert done() is (cores > 1)
    assert done() is done()

    def fail() -> None:
        raise KeyError("gone")

    if cores == 1:
        with pytest.raises(KeyError, match="gone"):
            beside.begin(fail)
    else:
        failed = beside.begin(fail)
        with pytest.raises(KeyError, match="gone"):
            failed()


def without_times(result: SearchResult) -> SearchResult:
    return replace(result, timings={}, query_id="")


ASKED: Sequence[dict[str, Any]] = (
    {},
    {"view": View(facets=("brand", TELLING))},
    {"view": View(facets=("brand",), collapse=True), "offset": 2},
    {"view": View(sort=Sort.PRICE)},
    {"filters": parse_filters(["price<=9"]), "view": View(facets=("brand",))},
    {"stage": Stage.LEXICAL},
    {"stage": Stage.DENSE},
    {"mode": Mode.FAST},
)


@pytest.mark.usefixtures("sparing")
@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_a_large_catalog_is_searched_alike_and_once(
    monkeypatch: pytest.MonkeyPatch, snapshot: Snapshot, asked: dict[str, Any]
) -> None:
    """Whatever runs beside and is spared, answers are the same; nothing is looked for twice."""
    settings = load_settings(lexical_depth=3)
    monkeypatch.setattr("engine.search.AnswerCache", lambda _hits: AnswerCache(0))
    small = SearchEngine(snapshot, settings)
    expected = [without_times(small.search(text, k=30, **asked)) for text in QUERIES]
    monkeypatch.setattr("engine.candidates._SMALL", 0)
    monkeypatch.setattr("engine.candidates._COLLECTED", 200)
    calls: list[str] = []
    for name in ("search", "search_and_collect"):
        plain = getattr(LexicalIndex, name)

        def counted(
            index: LexicalIndex,
            *given: Any,  # noqa: ANN401
            plain: Any = plain,  # noqa: ANN401
            **named: Any,  # noqa: ANN401
        ) -> Any:  # noqa: ANN401
            calls.append(plain.__name__)
            return plain(index, *given, **named)

        monkeypatch.setattr(LexicalIndex, name, counted)
    stage = asked.get("stage")
    anew = "search" if stage is Stage.LEXICAL else "search_and_collect"
    for cores in (1, 2):
        monkeypatch.setattr("engine.beside.usable_cores", lambda cores=cores: cores)
        engine = SearchEngine(snapshot, settings)
        for name in (anew, "search"):  # what matches is known when they are asked again
            calls.clear()
            found = [without_times(engine.search(text, k=30, **asked)) for text in QUERIES]
            assert found == expected
            assert calls == ([] if stage is Stage.DENSE else [name] * len(QUERIES))
    assert any(result.hits for result in expected)


def test_what_is_known_is_not_looked_for_again(
    monkeypatch: pytest.MonkeyPatch, snapshot: Snapshot
) -> None:
    monkeypatch.setattr("engine.candidates._SMALL", 0)
    monkeypatch.setattr("engine.candidates._COLLECTED", 3)
    monkeypatch.setattr("engine.search.AnswerCache", lambda _hits: AnswerCache(0))
    engine = SearchEngine(snapshot, load_settings(lexical_depth=3))
    calls: list[tuple[str, int]] = []
    plain = LexicalIndex.search_and_collect

    def counted(
        index: LexicalIndex,
        query: str,
        *given: Any,  # noqa: ANN401
        **named: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        calls.append((query, named["most"]))
        return plain(index, query, *given, **named)

    monkeypatch.setattr(LexicalIndex, "search_and_collect", counted)
    first = engine.search("kettle", k=5)
    again = engine.search("kettle", k=5, offset=5)
    assert calls == [("kettle", MOST + 1)]  # one more tells that there are more
    assert first.total == again.total


@pytest.mark.usefixtures("sparing")
def test_what_only_a_filter_lets_in_counts_by_its_words_too(
    monkeypatch: pytest.MonkeyPatch, snapshot: Snapshot
) -> None:
    """It is among the best that are allowed, and not among the few that were collected."""
    settings = load_settings(cache=0, lexical_depth=10, dense_depth=5)
    cheap = parse_filters(["price<=9"])
    small = SearchEngine(snapshot, settings)
    monkeypatch.setattr("engine.candidates._SMALL", 0)
    monkeypatch.setattr("engine.candidates.MOST", 2)
    large = SearchEngine(snapshot, settings)
    for text in QUERIES:
        expected = small.answer(text, filters=cheap, stage=Stage.FUSED)
        answer = Answer(expected.query)
        allowed = allowed_rows(cheap, snapshot.facets)
        large._finder.retrieve([answer], Stage.FUSED, allowed, Clock(1), counted=True)
        found, right = answer.rankings[Stage.FUSED], expected.rankings[Stage.FUSED]
        np.testing.assert_array_equal(found.rows, right.rows)
        np.testing.assert_array_equal(found.scores, right.scores)


def test_a_fault_beside_is_the_searchs(monkeypatch: pytest.MonkeyPatch, snapshot: Snapshot) -> None:
    monkeypatch.setattr("engine.beside.usable_cores", lambda: 2)
    monkeypatch.setattr("engine.candidates._SMALL", 0)
    engine = SearchEngine(snapshot, load_settings(cache=0))

    def fail(*_: object, **_named: object) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr(LexicalIndex, "search_and_collect", fail)
        with pytest.raises(OSError, match="the disk is gone"):
            engine.search("kettle")
    assert engine.search("kettle").hits


@pytest.mark.parametrize("small", [0, 20_000])
def test_a_filter_counts_the_same_asked_first_or_later(
    monkeypatch: pytest.MonkeyPatch, snapshot: Snapshot, small: int
) -> None:
    """What matches is found without the filter, whichever search finds it."""
    monkeypatch.setattr("engine.candidates._SMALL", small)
    cheap, totals = parse_filters(["price<=9"]), []
    for text in QUERIES:
        first = SearchEngine(snapshot, load_settings(cache=0)).search(text, filters=cheap)
        engine = SearchEngine(snapshot, load_settings(cache=0))
        engine.search(text)
        later = engine.search(text, filters=cheap)
        assert without_times(first) == without_times(later)
        totals.append(first.total)
    assert any(totals)
