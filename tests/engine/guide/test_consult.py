from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.errors import ProductNotFoundError, QueryError
from engine.guide.consult import Checked, Consultation, compare
from engine.guide.guide import MOST_TURNS, ShoppingGuide
from engine.guide.pieces import pieces_of
from engine.retrieval.filters import parse_filters
from engine.types import Product
from indexer.build import IndexOptions, index_catalog
from tests.shop import write_catalog

KETTLE, LARGER = "DGCB144B9", "DG5AFF96E"


@pytest.fixture(scope="module")
def guide(demo_store: Path) -> ShoppingGuide:
    return ShoppingGuide.open(demo_store)


def test_an_answer_is_the_catalogs_own_text(guide: ShoppingGuide) -> None:
    (answer,) = guide.ask("is it cordless?", products=[KETTLE]).answers
    assert answer.answered
    best = answer.evidence[0]
    assert best.piece.text.casefold() == "cordless: yes"
    assert best.piece in pieces_of(answer.product)
    assert best.probability > 0.5
    assert 0.5 < answer.probability <= 1


def test_what_the_catalog_does_not_say_is_not_made_up(guide: ShoppingGuide) -> None:
    (answer,) = guide.ask("does it come with a warranty card?", products=[KETTLE]).answers
    assert not answer.answered
    assert {one.piece for one in answer.evidence} <= set(pieces_of(answer.product))


def test_two_products_are_compared(guide: ShoppingGuide) -> None:
    found = guide.ask("which holds more water?", products=[KETTLE, LARGER])
    assert found.comparison is not None
    assert found.comparison.products == (KETTLE, LARGER)
    assert found.comparison.rows["capacity_l"] == (1.0, 1.7)
    assert "brand" not in found.comparison.rows  # the same
    assert len(found.answers) == 2


def needs_of(found: Consultation, place: int = 0) -> dict[str, Checked]:
    return {one.need: one for one in found.suggestions[place].checked}


def test_advice_meets_what_was_stated(guide: ShoppingGuide) -> None:
    found = guide.ask("a quiet fan for a small bedroom under $50, not black")
    assert len(found.suggestions) == 3
    for suggestion in found.suggestions:
        assert suggestion.product.price is not None
        assert suggestion.product.price <= 50
        assert "black" not in suggestion.product.color.casefold()
    checked = needs_of(found)
    assert checked["under $50"].met
    assert checked["quiet fan"].met
    said = {piece.text for one in checked.values() for piece in one.evidence}
    assert said <= {piece.text for piece in pieces_of(found.suggestions[0].product)}


def test_what_a_product_lacks_is_said(guide: ShoppingGuide) -> None:
    found = guide.ask("electric kettle with temperature control")
    lacking = [
        one
        for suggestion in found.suggestions
        for one in suggestion.checked
        if one.need == "temperature control" and one.met is False
    ]
    meeting = [needs_of(found, place)["temperature control"].met for place in range(3)]
    assert meeting == sorted(meeting, key=lambda met: met is False)
    assert all(one.evidence[0].text == "temperature control: no" for one in lacking)


@pytest.mark.parametrize(
    ("said", "wish"),
    [
        ({"description": "Batteries not included."}, "batteries"),
        ({"description": "Needs 2 AAA batteries (not included)."}, "batteries"),
        ({"attributes": {"Bluetooth": "No"}}, "bluetooth"),
        ({"attributes": {"Bluetooth": "N"}}, "bluetooth"),
        ({"bullet_points": ("Case sold separately",)}, "case"),
        ({"bullet_points": ("Waterproof: no",)}, "waterproof"),
        ({"bullet_points": ("Waterproof: No.",)}, "waterproof housing"),
        ({"description": "Dimmable: none"}, "dimmable light"),
    ],
)
def test_what_is_denied_is_not_met_by_its_denial(
    tmp_path: Path, said: dict[str, Any], wish: str
) -> None:
    lamp, other = Product("1", "Flashlight", **said), Product("2", "Kettle")
    catalog = write_catalog(tmp_path / "catalog.jsonl", (lamp, other))
    index_catalog(catalog, tmp_path / "store", IndexOptions(reranker=None, ranking=None))
    found = ShoppingGuide.open(tmp_path / "store").ask(f"a flashlight with {wish}")
    first = next(one for one in found.suggestions if one.product.id == "1")
    assert [check.met for check in first.checked if check.need == wish] == [False]


def test_what_is_behind_a_compound_with_non_is_there(tmp_path: Path) -> None:
    board = Product("1", "Cutting board", bullet_points=("Non-slip rubber feet",))
    catalog = write_catalog(tmp_path / "catalog.jsonl", (board, Product("2", "Kettle")))
    index_catalog(catalog, tmp_path / "store", IndexOptions(reranker=None, ranking=None))
    found = ShoppingGuide.open(tmp_path / "store").ask("a cutting board with rubber feet")
    (met,) = (one.met for one in found.suggestions[0].checked if one.need == "rubber feet")
    assert (found.suggestions[0].product.id, met) == ("1", True)


def test_a_number_that_may_be_no_price_is_a_wish(guide: ShoppingGuide) -> None:
    needs = guide.ask("a tent for up to 4").needs
    assert needs is not None
    assert needs.constraints == ()
    assert "up to 4" in {wish.words for wish in needs.wishes}


def test_prices_that_are_refused_are_not_suggested(guide: ShoppingGuide) -> None:
    found = guide.ask("an electric kettle, not between $20 and $40")
    assert found.suggestions
    for one in found.suggestions:
        assert one.product.price is not None
        assert not 20 <= one.product.price <= 40
        assert one.checked[0] == Checked("not between $20 and $40", True, one.checked[0].evidence)


def test_turns_before_still_hold(guide: ShoppingGuide) -> None:
    found = guide.ask("and not in white", before=["a fan under $20"])
    assert found.needs is not None
    assert {one.field for one in found.needs.constraints} == {"price", "color"}
    for suggestion in found.suggestions:
        assert (suggestion.product.price or 0) <= 20
        assert suggestion.product.color != "White"


def test_what_nothing_meets_is_given_up_and_named(guide: ShoppingGuide) -> None:
    found = guide.ask("an electric kettle under $0.50")
    assert [one.words for one in found.given_up] == ["under $0.50"]
    assert found.suggestions
    assert needs_of(found)["under $0.50"].met is False


def test_what_nothing_of_the_words_meets_is_given_up_too(guide: ShoppingGuide) -> None:
    """Some products are under $5, and some are headphones: none is both."""
    filters = parse_filters(["in_stock=true"])
    found = guide.ask("wireless headphones under 5 dollars, not black", filters=filters)
    assert [one.words for one in found.given_up] == ["under 5 dollars"]
    assert len(found.suggestions) == 3
    for place, suggestion in enumerate(found.suggestions):
        assert "Headphones" in suggestion.product.category
        assert suggestion.product.color.casefold() != "black"
        assert suggestion.product.in_stock
        assert needs_of(found, place)["under 5 dollars"].met is False


def test_of_very_many_constraints_the_earlier_are_given_up_at_once(guide: ShoppingGuide) -> None:
    brands = sorted({product.brand for product in guide.snapshot.products if product.brand})[:12]
    refused = ", ".join(f"not {brand}" for brand in brands)
    found = guide.ask(f"wireless headphones, {refused}, under 5 dollars")
    assert len(found.suggestions) == 3
    assert found.needs is not None
    assert "under 5 dollars" in {one.words for one in found.given_up}
    assert 0 < len(found.needs.constraints) <= 6


def test_either_of_two_colors_will_do(guide: ShoppingGuide) -> None:
    found = guide.ask("boots in brown or black")
    assert found.given_up == ()
    assert {one.product.color for one in found.suggestions} <= {"Brown", "Black"}
    assert all(needs_of(found, place)["brown or black"].met for place in range(3))


def test_filters_hold_beside_what_is_stated(guide: ShoppingGuide) -> None:
    found = guide.ask("a kettle", filters=parse_filters(["price<=30"]))
    assert all((one.product.price or 0) <= 30 for one in found.suggestions)


def test_what_cannot_be_asked_is_named(guide: ShoppingGuide) -> None:
    with pytest.raises(QueryError, match="empty"):
        guide.ask(" ")
    with pytest.raises(QueryError, match="turns"):
        guide.ask("a", before=["b"] * (MOST_TURNS + 1))
    with pytest.raises(QueryError, match="characters"):
        guide.ask("a", before=["b" * 2_000])
    with pytest.raises(ProductNotFoundError):
        guide.ask("a", products=["nothing"])


@pytest.mark.parametrize("text", ["?", "the", "红色 水壶", "🙂", "not", "under", "not under $5"])
def test_odd_questions_are_answered(guide: ShoppingGuide, text: str) -> None:
    assert guide.ask(text).question == text
    assert guide.ask(text, products=[KETTLE]).answers


def test_without_an_evidence_ranker_cosines_rank(shop_store: Path) -> None:
    guide = ShoppingGuide.open(shop_store)
    vars(guide.consultant)["_ranker"] = None
    product = guide.search("shoes").hits[0].product
    (answer,) = guide.ask(product.title, products=[product.id]).answers
    assert answer.evidence[0].piece.field == "title"


def test_without_the_reranker_that_was_adapted_the_head_ranks(demo_store: Path) -> None:
    guide = ShoppingGuide.open(demo_store)
    vars(guide.consultant)["_reranker"] = None
    (answer,) = guide.ask("is it cordless?", products=[KETTLE], explain=True).answers
    assert answer.evidence[0].piece.text.casefold() == "cordless: yes"
    why = answer.evidence[0].explanation
    assert why is not None
    assert "across" not in why.features


def test_a_product_of_nothing_but_a_title_is_compared() -> None:
    found = compare([Product("a", "A", price=1.0), Product("b", "B")])
    assert found.rows == {"price": (1.0, None)}


def test_an_answer_says_by_which_words_it_was_found(guide: ShoppingGuide) -> None:
    (plain,) = guide.ask("is it cordless?", products=[KETTLE]).answers
    (answer,) = guide.ask("is it cordless?", products=[KETTLE], explain=True).answers
    why = answer.evidence[0].explanation
    assert why is not None
    assert plain.evidence[0].explanation is None
    assert answer.evidence[0].piece == plain.evidence[0].piece
    assert [(one.word, one.meets) for one in why.named][:1] == [("cordless", "cordless")]
    assert sum(part.adds for part in why.features.values()) == pytest.approx(why.score, abs=1e-4)
    assert why.lost > 0.3


def test_without_an_evidence_ranker_the_cosine_is_explained(shop_store: Path) -> None:
    guide = ShoppingGuide.open(shop_store)
    vars(guide.consultant)["_ranker"] = None
    (answer,) = guide.ask("is it wireless?", products=["h1"], explain=True).answers
    why = answer.evidence[0].explanation
    assert why is not None
    assert why.features.keys() == {"cosine"}


def test_suggestions_say_why_search_found_them(guide: ShoppingGuide) -> None:
    found = guide.ask("a quiet fan for a small bedroom under $50", explain=True)
    whys = [one.explanation for one in found.suggestions if one.explanation is not None]
    assert len(whys) == len(found.suggestions)
    assert "fan" in {one.meets for one in whys[0].named}
