from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.exclusion import Request, absent, read_request


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Dining chairs without arms", {"¬arm"}),
        ("Baby monitor w/o wifi", {"¬wifi"}),
        ("No batteries required", {"¬batteri"}),
        ("Non-slip rubber base", {"¬slip"}),
        ("non stick steel pan, non-toxic", {"¬stick", "¬toxic"}),
        ("Batteries not included", {"¬batteri"}),
        ("2 AAA batteries (not included); charger isn't supplied", {"¬batteri", "¬charger"}),
        ("Lid sold separately. This is not included", {"¬lid"}),
        ("Not only waterproof but also breathable", set()),
        ("Not made of plastic", {"¬plastic"}),
        ("does not include batteries", {"¬batteri"}),
        ("Sugar-free, gluten free syrup", {"¬sugar", "¬gluten"}),
        ("Stemless wine glasses", {"¬stem"}),
        ("Does not include a mattress", {"¬mattress"}),
        ("Free from artificial colours and flavours", {"¬artifici", "¬colour"}),
        ("Cable with two plugs", set()),
    ],
)
def test_what_a_product_says_it_does_without(text: str, terms: set[str]) -> None:
    assert set(absent(text)) == terms


def everything(_: str) -> bool:
    return True


def nothing(_: str) -> bool:
    return False


@pytest.mark.parametrize(
    ("query", "wanted", "excluded"),
    [
        ("brown belt without buckle", "brown belt", ("buckl",)),
        ("Wine Glasses w/o stem", "wine glasses", ("stem",)),
        ("lights without wiring with switch", "lights with switch", ("wire",)),
        ("chair covers without arms for kids", "chair covers for kids", ("arm",)),
        ("wine glasses (without stem)", "wine glasses (", ("stem",)),
        ("baby monitor no wifi", "baby monitor", ("wifi",)),
        ("laundry soap NOT detergent", "laundry soap", ("deterg",)),
        ("do not disturb sign without string", "do not disturb sign", ("string",)),
        ("jacket without a hood that is slim", "jacket that is slim", ("hood",)),
        ("picture without the frame", "picture", ("frame",)),
        ("cup without any handle", "cup", ("handl",)),
        ("cutlery not made in china", "cutlery", ("china",)),
    ],
)
def test_what_a_query_excludes(query: str, wanted: str, excluded: tuple[str, ...]) -> None:
    assert read_request(query, everything) == Request(wanted, excluded)


@pytest.mark.parametrize(
    "query",
    [
        "wine glasses",
        "watch the game not your phone",  # a slogan
        "no country for old men",
        "do not disturb sign",  # "not" denies a verb
        "we're not really strangers",
        "they were not divided dvd",
        "without a trace",  # nothing is wished for before it
        "dress without",
        "with or without you",  # function words
        "",
    ],
)
def test_queries_that_exclude_nothing_stay_whole(query: str) -> None:
    assert read_request(query, everything) == Request(query)


def test_later_words_are_excluded_only_if_some_product_does_without_them() -> None:
    query = "listen without prejudice shirt"
    assert read_request(query, nothing) == Request("listen shirt", ("prejudic",))
    assert read_request("tortillas without soybean oil", everything).excluded == ("soybean", "oil")


def test_after_an_article_too_words_are_excluded_only_if_some_product_does_without_them() -> None:
    query = "rebel without a cause"
    assert read_request(query, nothing) == Request(query)
    assert read_request(query, everything) == Request("rebel", ("caus",))


def test_no_and_not_exclude_only_what_some_product_does_without() -> None:
    for query in ("pugs not drugs", "baby monitor no wifi", "n95 not kn95 masks"):
        assert read_request(query, nothing) == Request(query)
    few = {"¬leather"}
    found = read_request("sofa no leather cushions without zip", few.__contains__)
    assert found == Request("sofa cushions without zip", ("leather",))


@given(st.text())
def test_never_raises(text: str) -> None:
    absent(text)
    read_request(text, nothing)
