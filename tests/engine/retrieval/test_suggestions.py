from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import SnapshotDamagedError
from engine.retrieval.phrases import BoundedCounter, PhraseCounter, naming_of
from engine.retrieval.suggestions import Kind, SuggestionBuilder, Suggestions, read_asked
from engine.types import Product

ASKED = {"coffee maker with grinder": 3, "jane doe main street": 5}
TITLES = (
    *["Stainless Steel Coffee Maker"] * 4,
    *["Coffee Mug, Blue"] * 2,
    *["Wireless Headphones"] * 3,
    "A Grinder with Handle",
)


def build(folder: Path) -> Suggestions:
    builder = SuggestionBuilder(folder, ASKED)
    for place, title in enumerate(TITLES):
        product = Product(str(place), title, brand="Öko & Co", category=("Kitchen", "Kettles"))
        builder.add(naming_of(product))
    builder.finish()
    return Suggestions(folder)


@pytest.fixture(scope="module")
def suggestions(tmp_path_factory: pytest.TempPathFactory) -> Suggestions:
    return build(tmp_path_factory.mktemp("suggest"))


def texts(suggestions: Suggestions, typed: str) -> list[str]:
    return [one.text for one in suggestions.complete(typed)]


def test_the_most_frequent_comes_first(suggestions: Suggestions) -> None:
    found = suggestions.complete("coff")

    assert [one.text for one in found[:3]] == [
        "coffee maker with grinder", "coffee", "coffee maker",
    ]  # fmt: skip
    assert found[0].kind is Kind.QUERY
    assert (found[2].kind, found[2].weight, found[2].corrected) == (Kind.PHRASE, 4, False)


def test_brands_and_shelves_are_written_as_the_catalog_writes_them(
    suggestions: Suggestions,
) -> None:
    assert [(one.text, one.kind) for one in suggestions.complete("oko")] == [
        ("Öko & Co", Kind.BRAND)
    ]
    assert [(one.text, one.kind) for one in suggestions.complete("KETT")] == [
        ("Kettles", Kind.CATEGORY)
    ]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("cofee ma", "coffee maker"),
        ("wireles hedph", "wireless headphones"),
        ("stainles stel", "stainless steel coffee maker"),
        ("ketlte", "Kettles"),
    ],
)
def test_edits_are_forgiven(suggestions: Suggestions, typed: str, meant: str) -> None:
    assert meant in texts(suggestions, typed)


def test_short_beginnings_are_taken_as_typed(suggestions: Suggestions) -> None:
    assert texts(suggestions, "xof") == []


def test_the_last_words_are_completed_where_all_of_them_begin_nothing(
    suggestions: Suggestions,
) -> None:
    assert "cheap new coffee maker" in texts(suggestions, "cheap new coffee ma")


def test_a_finished_word_is_not_gone_on_with(suggestions: Suggestions) -> None:
    assert all(text.startswith("coffee ") for text in texts(suggestions, "coffee "))


def test_a_phrase_that_never_stands_alone_is_left_out(suggestions: Suggestions) -> None:
    assert "stainless" not in texts(suggestions, "stain")


def test_old_queries_with_words_the_catalog_lacks_are_not_kept(tmp_path: Path) -> None:
    suggestions = build(tmp_path)

    assert texts(suggestions, "jane") == []
    assert read_asked(tmp_path) == {"coffee maker with grinder": 3}


def test_the_same_products_give_the_same_index_order(tmp_path: Path) -> None:
    one, other = build(tmp_path / "one"), build(tmp_path / "other")

    assert one.complete("coffee") == other.complete("coffee")


def test_words_nearby_are_found(suggestions: Suggestions) -> None:
    assert [word.text for word in suggestions.near("headfones", 2)] == ["headphones"]
    assert suggestions.phrases(["coffee maker", "maker coffee"]).keys() == {"coffee maker"}


def test_damage_is_named(tmp_path: Path) -> None:
    with pytest.raises(SnapshotDamagedError, match="daogou snapshots"):
        Suggestions(tmp_path)


@given(st.text(max_size=40))
def test_nothing_typed_fails(suggestions: Suggestions, typed: str) -> None:
    assert len(suggestions.complete(typed, 5)) <= 5


def test_a_counter_forgets_what_is_rare() -> None:
    counter = BoundedCounter(100)
    for place in range(1_000):
        counter.add(["often", f"once {place}"])

    assert len(dict(counter.items())) <= 100
    assert counter.get("often") == 1_000


def test_a_part_of_a_title_ends_a_phrase() -> None:
    counter = PhraseCounter()
    for _ in range(2):
        counter.add(naming_of(Product("1", "Red mug, blue lid")))

    assert "mug blue" not in {phrase for phrase, _, _ in counter.phrases()}
