from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.errors import ProductNotFoundError, QueryError
from engine.guide.explain import MOST_EXPLAINED, Explanation
from engine.guide.guide import ShoppingGuide
from engine.guide.naming import MOST_NAMED, key_of
from engine.guide.occlusion import Blotted, ProductWording
from engine.models.encoder import TransformerEncoder
from engine.retrieval.fusion import REFUSED_WEIGHT
from engine.settings import load_settings
from engine.types import Product, SearchResult, Stage, Vectors
from indexer.build import IndexOptions, index_catalog
from tests.shop import PRODUCTS, write_catalog

QUERIES = (
    "cordless kettle for pour over coffee",
    "warm waterproof boots",
    "something to read in bed",
)


@pytest.fixture(scope="module")
def guide(demo_store: Path) -> ShoppingGuide:
    return ShoppingGuide.open(demo_store, load_settings(cache=0))


@pytest.fixture(scope="module")
def shop_guide(shop_store: Path) -> ShoppingGuide:
    return ShoppingGuide.open(shop_store)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that the encoder is given from now on."""
    texts: list[str] = []
    plain = TransformerEncoder.encode_passages

    def noted(encoder: TransformerEncoder, given: Sequence[str]) -> Vectors:
        texts.extend(given)
        return plain(encoder, given)

    monkeypatch.setattr(TransformerEncoder, "encode_passages", noted)
    return texts


def explained(
    guide: ShoppingGuide, text: str, stage: Stage, k: int = 3
) -> tuple[SearchResult, list[Explanation]]:
    result = guide.search(text, k=k, stage=stage)
    return result, guide.explain(text, [hit.product.id for hit in result.hits], stage=stage)


@pytest.mark.parametrize("stage", list(Stage))
def test_the_features_add_up_to_the_score(guide: ShoppingGuide, stage: Stage) -> None:
    result, found = explained(guide, QUERIES[0], stage)
    for hit, why in zip(result.hits, found, strict=True):
        assert why.score == pytest.approx(hit.score, abs=1e-4)
        assert sum(part.adds for part in why.features.values()) == pytest.approx(why.score)


@pytest.mark.parametrize("text", QUERIES)
def test_the_named_words_carry_the_score(guide: ShoppingGuide, text: str) -> None:
    result, found = explained(guide, text, Stage.FUSED)
    answer = guide.answer(text, stage=Stage.FUSED)
    draw = np.random.default_rng(3)
    for hit, why in zip(result.hits, found, strict=True):
        wording = ProductWording.of(hit.product)
        keys = [key_of(one.word) for one in why.named]
        assert 0 < len(keys) <= MOST_NAMED
        assert set(keys) <= wording.words.keys()
        others = list(wording.words)
        random = [
            wording.without([others[at] for at in draw.choice(len(others), len(keys))])
            for _ in range(5)
        ]
        (row,) = guide.snapshot.products.rows_of([hit.product.id])
        altered = [wording.product, wording.only(()), wording.only(keys), wording.without(keys)]
        (scores,) = guide.explainer.occlusion.scores(
            answer, Stage.FUSED, [Blotted(row or 0, wording.product, [*altered, *random])]
        )
        whole = scores[0] - scores[1]
        assert (scores[2] - scores[1]) / whole == pytest.approx(why.kept, abs=1e-3)
        assert (scores[0] - scores[3]) / whole == pytest.approx(why.lost, abs=1e-3)
        assert why.lost > 2 * (scores[0] - scores[4:].mean()) / whole


def test_what_is_met_and_what_is_missing(guide: ShoppingGuide) -> None:
    result, (why,) = explained(guide, "purple cordless kettle", Stage.FUSED, k=1)
    assert "kettle" in result.hits[0].product.title.casefold()
    assert {one.meets for one in why.named if one.literally} <= {"cordless", "kettle"}
    assert why.missing == ("purple",)
    assert why.summary.startswith("matches: ")
    assert why.summary.endswith("; missing: purple")


def test_what_was_asked_for_by_its_number_is_said_to_be(shop_guide: ShoppingGuide) -> None:
    gtin = "2000000000015"
    (led, other) = shop_guide.navigate(gtin, k=2, explain=True, stage=Stage.FUSED).explanations
    assert led.summary == "asked for by its id, SKU or GTIN"
    assert led.missing == ()
    assert not other.by_number
    assert sum(part.adds for part in led.features.values()) == pytest.approx(led.score)


def test_what_is_refused_is_met_where_the_product_says_so(shop_guide: ShoppingGuide) -> None:
    without, having = shop_guide.explain("belt without buckle", ["b1", "b2"])
    assert "without buckle" in {one.meets for one in without.named}
    assert without.missing == ()
    assert having.missing == ("without buckle",)
    (said,) = shop_guide.explain("belt no buckle", ["b2"])  # as some product does without
    assert said.missing == ("without buckle",)
    assert said.features["refused"].adds < 0


def test_an_explanation_keeps_to_the_filters_and_the_stage(guide: ShoppingGuide) -> None:
    found = guide.navigate("kettle under $40", k=2, stage=Stage.FUSED, explain=True)
    assert len(found.explanations) == len(found.result.hits) == 2
    for hit, why in zip(found.result.hits, found.explanations, strict=True):
        assert why.score == pytest.approx(hit.score, abs=1e-4)


def test_a_product_that_is_no_candidate_is_explained_too(guide: ShoppingGuide) -> None:
    kettle = guide.search("kettle", k=1).hits[0].product
    (why,) = guide.explain("snow boots", [kettle.id])
    assert "snow" in why.missing
    assert np.isfinite(why.score)


def test_too_many_and_unknown_products_are_refused(guide: ShoppingGuide) -> None:
    with pytest.raises(QueryError, match="at most 10"):
        guide.explain("kettle", ["x"] * (MOST_EXPLAINED + 1))
    with pytest.raises(QueryError, match="k=10"):
        guide.navigate("kettle", k=MOST_EXPLAINED + 1, explain=True)
    with pytest.raises(ProductNotFoundError):
        guide.explain("kettle", ["no such product"])
    assert guide.explain("kettle", []) == []


def test_words_are_blotted_out_everywhere() -> None:
    product = Product(
        "x", "Red kettle", description="A kettle, really: kettles boil.", brand="Kettle & Co",
        bullet_points=("kettle",), category=("Kitchen", "Kettles"), price=3.0,
        attributes={"kettle_type": "gooseneck kettle", "litres": 1.5, "cordless": True,
                    "lights": ["red", "blue"], "noisy": False},
    )  # fmt: skip
    wording = ProductWording.of(product)
    assert "kettl" in {term for key in wording.words for term in key}
    without = wording.without([key_of("kettle"), key_of("cordless")])
    assert without == replace(
        product, title="Red", description="A  really:  boil.", brand="& Co", bullet_points=(),
        category=("Kitchen",),
        attributes={"kettle_type": "gooseneck", "litres": 1.5, "lights": ["red", "blue"],
                    "noisy": False},
    )  # fmt: skip
    assert wording.without([]).title == product.title
    only = wording.only([key_of("1.5"), key_of("litres"), key_of("red")])
    assert only.title == "Red"
    assert only.attributes == {"litres": 1.5, "": ["red"]}


def test_a_product_without_its_words_has_what_is_refused_as_little(
    shop_guide: ShoppingGuide,
) -> None:
    answer = shop_guide.answer("belt without buckle", stage=Stage.FUSED)
    product = shop_guide.product("b2")
    (row,) = shop_guide.snapshot.products.rows_of(["b2"])
    without = ProductWording.of(product).without([key_of("buckle")])
    (scores,) = shop_guide.explainer.occlusion.scores(
        answer, Stage.FUSED, [Blotted(row or 0, product, [product, without])]
    )
    fused = answer.rankings[Stage.FUSED]
    assert scores[0] == pytest.approx(fused.scores[fused.rows == row][0], abs=1e-4)
    assert scores[1] > scores[0] + REFUSED_WEIGHT / 2  # but for what the vector loses of it


def test_keyword_scores_of_altered_products_are_exact(shop_guide: ShoppingGuide) -> None:
    lexical, text = shop_guide.snapshot.lexical, "elastic belt without buckle"
    (row,) = shop_guide.snapshot.products.rows_of(["b1"])
    product = shop_guide.product("b1")
    wording = ProductWording.of(product)
    elastic, belt = key_of("elastic"), key_of("belt")
    altered = [product, wording.only(()), wording.only([elastic]), wording.only([belt])]
    rows = np.array([row], dtype=np.int64)
    whole, nothing, first, second = lexical.score_altered(text, row or 0, product, altered)
    assert whole == pytest.approx(lexical.score(text, rows)[0], rel=1e-5)
    assert nothing == 0
    assert first == pytest.approx(lexical.score("elastic", rows)[0], rel=1e-5)
    assert second == pytest.approx(lexical.score("belt", rows)[0], rel=1e-5)


SPECIFIED = Product(
    id="s1",
    title="Steel kettle",
    description="A kettle of brushed steel for the stove, with a whistle.",
    attributes={"finish": "ultramarine"},
)


def test_words_of_attributes_are_words_of_the_product() -> None:
    """Though the encoder does not read them: keyword search does."""
    words = ProductWording.of(SPECIFIED).words
    assert key_of("ultramarine") in words
    assert all(word in words for word in ProductWording.of(replace(SPECIFIED, attributes={})).words)


def test_a_product_whose_description_is_blotted_out_is_not_read_by_attributes(
    shop_guide: ShoppingGuide, encoded: list[str]
) -> None:
    answer = shop_guide.answer("blue kettle", stage=Stage.DENSE)
    bare = replace(SPECIFIED, description="")
    shop_guide.explainer.occlusion.scores(answer, Stage.DENSE, [Blotted(0, SPECIFIED, [bare])])
    assert encoded == ["Steel kettle"]


def test_words_that_the_encoder_does_not_read_are_not_tried_for_it(
    shop_store: Path, encoded: list[str]
) -> None:
    ShoppingGuide.open(shop_store).explain("something to listen with", ["h1"], stage=Stage.DENSE)
    assert "multipoint" in encoded  # of its description
    assert not any("battery_h" in text for text in encoded)


def test_what_an_attribute_denies_is_not_missing(tmp_path: Path) -> None:
    belt = Product(
        "b9", "Web belt", description="Woven cotton.", attributes={"closure": "no buckle"}
    )
    catalog = write_catalog(tmp_path / "catalog.jsonl", [*PRODUCTS, belt])
    index_catalog(catalog, tmp_path / "store", IndexOptions(reranker=None, ranking=None))
    (why,) = ShoppingGuide.open(tmp_path / "store").explain("belt without buckle", ["b9"])
    assert why.missing == ()
