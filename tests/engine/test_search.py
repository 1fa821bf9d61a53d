"""The pipeline on a small shop, with the shipped encoder and the real indexes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import (
    FilterError,
    ModelError,
    ProductNotFoundError,
    QueryError,
    SnapshotDamagedError,
)
from engine.manifest import ModelEntry
from engine.retrieval.filters import parse_filters
from engine.retrieval.fusion import (
    DENSE_WEIGHT,
    REFUSED_WEIGHT,
    UNKNOWN,
    dense_weight,
    fuse,
)
from engine.retrieval.ranking import StageModel
from engine.search import SearchEngine
from engine.settings import Settings
from engine.snapshot import Snapshot, fingerprints
from engine.store import SnapshotStore
from engine.types import Mode, Relevance, SearchResult, Stage
from tests.rankings import cutoff, info_for, stage_model, write_ranking
from tests.shop import PRODUCTS

ALL_IDS = [product.id for product in PRODUCTS]


@pytest.fixture(scope="module")
def engine(shop_store: Path) -> SearchEngine:
    return SearchEngine.open(shop_store, Settings())


def ids(result: SearchResult) -> list[str]:
    return [hit.product.id for hit in result.hits]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("keep my coffee hot at my desk", "m1"),
        ("noise cancelling headphones", "h1"),
        ("gooseneck kettle", "k1"),
        ("belt without buckle", "b1"),
        ("tent for two people", "t1"),
        ("保温杯", "c1"),
        ("WH900", "h1"),
    ],
)
def test_the_right_product_leads(engine: SearchEngine, query: str, first: str) -> None:
    assert ids(engine.search(query))[0] == first


def test_the_query_says_what_the_encoder_counts_for(engine: SearchEngine) -> None:
    for text, short in (("kettle", True), ("the kettle", True), ("red gooseneck kettle", False)):
        pool = engine.answer(text, stage=Stage.FUSED).pool
        assert pool is not None
        known = pool.pool.cosine.max()
        assert known > UNKNOWN
        assert (pool.pool.weight > DENSE_WEIGHT) == short
        assert pool.pool.weight == dense_weight(1 if short else 3, pool.pool.cosine)


def test_what_is_refused_costs_what_it_has_in_the_ranking(engine: SearchEngine) -> None:
    answer = engine.answer("belt without buckle", stage=Stage.FUSED)
    (row,) = engine.snapshot.products.rows_of(["b2"])
    assert answer.pool is not None
    at = answer.pool.rows.tolist().index(row)
    assert answer.pool.refused is not None
    assert answer.pool.refused.tolist() == [place == at for place in range(len(answer.pool.rows))]
    fused = answer.rankings[Stage.FUSED]
    (score,) = fused.scores[fused.rows == row]
    unrefused = fuse(answer.pool.keyword, answer.pool.cosine, answer.pool.pool.weight)[at]
    assert score == pytest.approx(unrefused - REFUSED_WEIGHT, abs=1e-5)


@pytest.mark.parametrize("printed", ["m2", "em-gk10", "77001", "2000000000015", " M2 "])
def test_what_is_printed_on_a_product_finds_it_first(engine: SearchEngine, printed: str) -> None:
    expected = {"em-gk10": "k1", "77001": "m1"}.get(printed, "m2")
    for stage in engine.stages:
        result = engine.search(printed, stage=stage)
        assert ids(result)[0] == expected
        scores = [hit.score for hit in result.hits]
        assert scores == sorted(scores, reverse=True)


def test_an_exact_product_that_the_filter_excludes_is_not_shown(engine: SearchEngine) -> None:
    assert "m2" not in ids(engine.search("m2", k=100, filters=parse_filters(["color=white"])))


@pytest.mark.parametrize("stage", [Stage.LEXICAL, Stage.DENSE, Stage.FUSED])
def test_pages_are_slices_of_one_ranking(engine: SearchEngine, stage: Stage) -> None:
    whole = engine.search("coffee mug", k=100, stage=stage)
    pages = [engine.search("coffee mug", k=2, offset=at, stage=stage) for at in range(0, 14, 2)]
    assert [hit for page in pages for hit in page.hits] == list(whole.hits)
    assert [hit.rank for hit in whole.hits] == list(range(1, len(whole.hits) + 1))
    ends = {page.candidates if page.total is None else page.total for page in pages}
    assert ends == {len(whole.hits)}


def test_filters_exclude_at_every_stage(engine: SearchEngine) -> None:
    condition = parse_filters(["brand=emberly", "price<=50"])
    for stage in engine.stages:
        assert ids(engine.search("kettle", k=100, filters=condition, stage=stage)) == ["k2"]
    nothing = parse_filters(["brand=emberly", "brand!=Emberly"])
    assert engine.search("kettle", filters=nothing).hits == ()


def test_stages_tell_where_a_hit_came_from(engine: SearchEngine) -> None:
    first = engine.search("gooseneck kettle").hits[0]
    assert set(first.stages) == {Stage.LEXICAL, Stage.DENSE, Stage.FUSED}
    assert [first.stages[stage].rank for stage in first.stages] == [1, 1, 1]
    assert first.stages[Stage.FUSED].score == pytest.approx(first.score)
    assert first.probabilities is None
    keyword = engine.search("gooseneck kettle", stage=Stage.LEXICAL)
    assert {"understand", "lexical", "list", "fetch"} == set(keyword.timings)
    assert keyword.total is None


def test_candidates_are_all_ranked_and_nothing_besides(engine: SearchEngine) -> None:
    wanted = ["t2", "k1", "z1", "no such product", "k1"]
    for stage in engine.stages:
        (result,) = engine.search_many(["kettle"], k=10, stage=stage, candidates=[wanted])
        assert sorted(ids(result)) == ["k1", "t2", "z1"]
        assert ids(result)[0] == "k1"
    (tied,) = engine.search_many(["kettle"], stage=Stage.LEXICAL, candidates=[["z1", "t2"]])
    assert ids(tied) == ["t2", "z1"]  # neither holds the word: ties go to the lower id
    (exact,) = engine.search_many(["m2"], candidates=[["k1", "k2"]])
    assert sorted(ids(exact)) == ["k1", "k2"]  # a product that was asked for but is no candidate
    (filtered,) = engine.search_many(
        ["kettle"], candidates=[ALL_IDS], filters=parse_filters(["brand=Emberly"])
    )
    assert sorted(ids(filtered)) == ["k1", "k2"]


@pytest.mark.parametrize("stage", [Stage.LEXICAL, Stage.DENSE, Stage.FUSED])
@pytest.mark.parametrize("given", [ALL_IDS, ALL_IDS[::2], ["m2"]])
def test_a_candidate_scores_as_in_a_search_whatever_else_is_given(
    engine: SearchEngine, stage: Stage, given: list[str]
) -> None:
    texts = ["kettle", "green mug"]
    searched = engine.search("green mug", k=100, stage=stage)
    other, ranked = engine.search_many(texts, k=100, stage=stage, candidates=[["k1"], given])
    assert ids(other) == ["k1"]
    assert sorted(ids(ranked)) == sorted(given)
    assert [hit.score for hit in ranked.hits] == sorted(
        (hit.score for hit in ranked.hits), reverse=True
    )
    scores = {hit.product.id: hit for hit in searched.hits}
    found = [hit for hit in ranked.hits if hit.product.id in scores]
    assert found
    for hit in found:
        alike = scores[hit.product.id]
        assert hit.score == alike.score
        for each in alike.stages:
            assert hit.stages[each].score == alike.stages[each].score


def test_what_retrieval_did_not_bring_is_scored_like_it(shop_store: Path) -> None:
    """Keyword score and cosine of a candidate do not depend on how far retrieval goes."""
    far, near = (
        SearchEngine.open(shop_store, Settings(lexical_depth=depth, dense_depth=depth, cache=0))
        for depth in (1, 100)
    )
    (one,), (other,) = (
        engine.search_many(["green mug"], k=100, candidates=[ALL_IDS]) for engine in (far, near)
    )
    own = {hit.product.id: hit.stages for hit in one.hits}
    for hit in other.hits:
        for stage in (Stage.LEXICAL, Stage.DENSE):
            assert own[hit.product.id][stage].score == hit.stages[stage].score


def test_given_candidates_are_measured_within_the_filter(engine: SearchEngine) -> None:
    filters = parse_filters(["brand=Emberly"])
    searched = engine.search("kettle", k=100, filters=filters)
    (ranked,) = engine.search_many(["kettle"], k=100, filters=filters, candidates=[ALL_IDS])
    assert {hit.product.id: hit.score for hit in ranked.hits} == {
        hit.product.id: hit.score for hit in searched.hits
    }


def test_a_batch_answers_as_each_query_alone(engine: SearchEngine) -> None:
    texts = [
        "kettle",
        "a very long question about something to sleep in outdoors " * 5,
        "m2",
        "belt",
    ]
    for text, together in zip(texts, engine.search_many(texts, k=100), strict=True):
        alone = engine.search(text, k=100)
        assert ids(alone) == ids(together)
        assert [hit.score for hit in alone.hits] == pytest.approx(
            [hit.score for hit in together.hits], abs=1e-3
        )
    assert engine.search_many([]) == []


def test_threads_do_not_mix_answers(engine: SearchEngine) -> None:
    texts = ["kettle", "headphones", "tent", "belt"] * 10
    expected = {text: ids(engine.search(text)) for text in set(texts)}
    with ThreadPoolExecutor(8) as pool:
        for text, result in zip(texts, pool.map(engine.search, texts), strict=True):
            assert ids(result) == expected[text]


@pytest.mark.parametrize(
    "text",
    [
        "🎁🎁🎁",
        "\u202eabc",
        "' OR 1=1 --",
        "title:kettle AND (",
        "*",
        "\ud800x",
        "a" * 1000,
        "((((",
        "NOT",
        "。",
    ],
)
def test_odd_queries_are_answered(engine: SearchEngine, text: str) -> None:
    assert engine.search(text).hits


@pytest.mark.parametrize("text", ["", " \n ", "\x00", "x" * 1001])
def test_queries_that_cannot_be_searched(engine: SearchEngine, text: str) -> None:
    with pytest.raises(QueryError):
        engine.search(text)


def test_counts_of_products_cannot_be_negative(engine: SearchEngine) -> None:
    for k, offset in ((-1, 0), (1, -1)):
        with pytest.raises(ValueError, match="negative"):
            engine.search("kettle", k=k, offset=offset)
    assert engine.search("kettle", k=0).hits == ()


def test_an_open_engine_outlives_its_files(shop_store: Path, tmp_path: Path) -> None:
    store = copy_of(shop_store, tmp_path)
    engine = SearchEngine.open(store, Settings())
    shutil.rmtree(store)
    with ThreadPoolExecutor(6) as pool:
        found = pool.map(lambda _: ids(engine.search("gooseneck kettle"))[0], range(30))
        assert set(found) == {"k1"}


def test_a_short_limit_on_queries_does_not_stop_the_engine(shop_store: Path) -> None:
    engine = SearchEngine.open(shop_store, Settings(max_query_chars=3))
    assert engine.search("mug").hits


def test_unknown_filter_field(engine: SearchEngine) -> None:
    with pytest.raises(FilterError, match="brand"):
        engine.search("kettle", filters=parse_filters(["brnd=x"]))


def test_products_by_id(engine: SearchEngine) -> None:
    assert engine.product("k1") == PRODUCTS[0]
    with pytest.raises(ProductNotFoundError, match=r"'nope'\. .* search for it"):
        engine.product("nope")


def test_reranking_without_a_reranker_names_the_cure(engine: SearchEngine) -> None:
    assert engine.stages == (Stage.LEXICAL, Stage.DENSE, Stage.FUSED)
    with pytest.raises(ModelError, match="--reranker"):
        engine.search("kettle", stage=Stage.RERANKED)


class ShortTitlesFirst:
    """A reranker whose opinion is easy to check: the shorter the passage, the more Exact."""

    fingerprint = "short"

    def classify(self, queries: Sequence[str], passages: Sequence[str]) -> NDArray[np.float32]:
        assert len(queries) == len(passages)
        exact = np.array([1 / (1 + len(text)) for text in passages], dtype=np.float32)
        rest = (1 - exact) / 3
        return np.stack([rest, rest, rest, exact], axis=1)


@pytest.fixture(scope="module")
def reranking(shop_store: Path) -> SearchEngine:
    snapshot = Snapshot.open(SnapshotStore(shop_store).current())
    entry = ModelEntry(name="short", fingerprint="short", precision="fp32")
    models = {**snapshot.manifest.models, "reranker": entry}
    snapshot.manifest = snapshot.manifest.model_copy(update={"models": models})
    snapshot.reranker = ShortTitlesFirst()
    return SearchEngine(snapshot, Settings(rerank=True, rerank_depth=4))


def test_the_head_is_reordered_by_expected_gain(reranking: SearchEngine) -> None:
    fused = ids(reranking.search("kettle for coffee", k=100, stage=Stage.FUSED))
    result = reranking.search("kettle for coffee", k=100)
    assert result.stage is Stage.RERANKED
    head, rest = result.hits[:4], result.hits[4:]
    assert sorted(hit.product.id for hit in head) == sorted(fused[:4])
    assert [hit.product.id for hit in rest] == fused[4:]
    exact = [(hit.probabilities or {})[Relevance.EXACT] for hit in head]
    assert exact == sorted(exact, reverse=True)
    assert exact[0] > exact[-1]
    assert all(hit.probabilities is None for hit in rest)
    scores = [hit.score for hit in result.hits]
    assert scores == sorted(scores, reverse=True)


def test_given_candidates_are_reranked_to_the_last(reranking: SearchEngine) -> None:
    (result,) = reranking.search_many(["kettle"], k=100, candidates=[ALL_IDS])
    assert all(hit.probabilities for hit in result.hits)
    assert ids(result)[0] == "z1"


def test_a_batch_is_reranked_query_by_query(reranking: SearchEngine) -> None:
    texts = ["kettle", "tent", "m2"]
    for text, together in zip(texts, reranking.search_many(texts), strict=True):
        assert ids(reranking.search(text)) == ids(together)


def copy_of(store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store, tmp_path / "copy"))


def test_another_encoder_than_the_one_that_made_the_vectors_is_refused(
    shop_store: Path,
) -> None:
    snapshot = Snapshot.open(SnapshotStore(shop_store).current())
    entry = snapshot.manifest.models["encoder"].model_copy(update={"fingerprint": "other"})
    snapshot.manifest = snapshot.manifest.model_copy(update={"models": {"encoder": entry}})
    with pytest.raises(ModelError, match="Index the catalog again"):
        _ = snapshot.encoder


def test_open_finds_a_flipped_byte_in_any_file(shop_store: Path, tmp_path: Path) -> None:
    store = SnapshotStore(copy_of(shop_store, tmp_path))
    folder = store.current()
    rng = np.random.default_rng(11)
    files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
    assert len(files) > 12
    for path in sorted(files):
        content = bytearray(path.read_bytes())
        place = int(rng.integers(len(content)))
        content[place] ^= 1 << int(rng.integers(8))
        whole = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(SnapshotDamagedError):
            Snapshot.open(folder)
        assert store.verify(), f"{path.name} at {place}"
        path.write_bytes(whole)
    assert store.verify() == []


def with_ranking(
    store: Path, folder: Path, stages: dict[Stage, StageModel], *, reranker: bool = False
) -> SearchEngine:
    """An engine whose snapshot holds this ranking."""
    snapshot = Snapshot.open(SnapshotStore(store).current())
    if reranker:
        entry = ModelEntry(name="short", fingerprint="short", precision="fp32")
        models = {**snapshot.manifest.models, "reranker": entry}
        snapshot.manifest = snapshot.manifest.model_copy(update={"models": models})
        snapshot.reranker = ShortTitlesFirst()
    snapshot.ranking = write_ranking(folder, info_for(snapshot.manifest, stages))
    return SearchEngine(snapshot, Settings(rerank=True, rerank_depth=4))


def test_a_learned_ranking_orders_the_head(
    shop_store: Path, reranking: SearchEngine, tmp_path: Path
) -> None:
    backwards = {Stage.RERANKED: stage_model({"gain": -1.0})}
    learned = with_ranking(shop_store, tmp_path / "r", backwards, reranker=True)
    plain = ids(reranking.search("kettle for coffee", k=100))
    result = learned.search("kettle for coffee", k=100)
    assert ids(result) == plain[:4][::-1] + plain[4:]
    scores = [hit.score for hit in result.hits]
    assert scores == sorted(scores, reverse=True)
    assert result.fits is None
    assert not result.nothing_fits
    fused = ids(reranking.search("kettle for coffee", k=100, stage=Stage.FUSED))
    assert ids(learned.search("kettle for coffee", k=100, stage=Stage.FUSED)) == fused
    (given,) = learned.search_many(["kettle"], k=100, candidates=[ALL_IDS])
    (untuned,) = reranking.search_many(["kettle"], k=100, candidates=[ALL_IDS])
    assert (ids(given)[-1], ids(given)[0]) == (ids(untuned)[0], ids(untuned)[-1])


def test_a_learned_fusion_orders_the_fused_stage(
    engine: SearchEngine, shop_store: Path, tmp_path: Path
) -> None:
    by_cosine = {Stage.FUSED: stage_model({"cosine": 1.0})}
    learned = with_ranking(shop_store, tmp_path / "r", by_cosine)
    dense = ids(engine.search("green mug", k=100, stage=Stage.DENSE))
    found = ids(learned.search("green mug", k=100))
    assert found == [one for one in dense if one in found]  # what does not match is left out
    assert found[:3] == dense[:3]
    with pytest.raises(ModelError, match="--reranker"):
        learned.search("green mug", stage=Stage.RERANKED)


WEIGHTS = {"fused": 1.0, "logit_from_best": 0.7, "popularity": 0.2, "price": 0.3, "price_known": 1}


def test_a_learned_ranking_depends_on_neither_page_nor_batch(
    shop_store: Path, tmp_path: Path
) -> None:
    cut = cutoff({"best_exact": 1.0, "words_found": 1.0, "best_cosine": 2.0})
    stages = {
        Stage.FUSED: stage_model({"lexical": 0.9, "cosine": 0.8, "price": 0.1}),
        Stage.RERANKED: stage_model(WEIGHTS, cut),
    }
    learned = with_ranking(shop_store, tmp_path / "r", stages, reranker=True)
    texts = ["kettle", "something to sleep in outdoors", "m2", "belt", "zzz"]
    for text, together in zip(texts, learned.search_many(texts, k=100), strict=True):
        alone = learned.search(text, k=100)
        assert ids(alone) == ids(together)
        assert alone.fits == pytest.approx(together.fits, abs=1e-5)
        pages = [learned.search(text, k=2, offset=start) for start in range(0, 12, 2)]
        assert [one for page in pages for one in ids(page)] == ids(alone)
        assert {page.fits for page in pages} == {alone.fits}


def test_the_cut_off_says_when_nothing_fits(shop_store: Path, tmp_path: Path) -> None:
    cut = cutoff({"words_found": 8.0}, bias=-4.0)
    stages = {Stage.FUSED: stage_model({"fused": 1.0}, cut)}
    learned = with_ranking(shop_store, tmp_path / "r", stages)
    good, poor = learned.search_many(["kettle", "mortgage"])
    assert good.fits == pytest.approx(1 / (1 + np.exp(-4)))
    assert poor.fits == pytest.approx(1 / (1 + np.exp(4)))
    assert (good.nothing_fits, poor.nothing_fits) == (False, True)
    assert poor.hits  # the nearest there is
    assert learned.search("m2").fits == 1.0  # asked for by its id
    (given,) = learned.search_many(["mortgage"], candidates=[["k1"]])
    assert (given.fits, given.nothing_fits) == (None, False)
    assert learned.search("kettle", stage=Stage.LEXICAL).fits is None
    nobody = learned.search("kettle", filters=parse_filters(["brand=Emberly", "price<=1"]))
    assert (nobody.fits, nobody.nothing_fits) == (0.0, True)


def test_a_ranking_of_other_models_is_refused(shop_store: Path, tmp_path: Path) -> None:
    snapshot = Snapshot.open(SnapshotStore(shop_store).current())
    folder = Path(shutil.copytree(snapshot.folder, tmp_path / "copy"))
    for field in ("encoder", "lexical", "reranker"):
        here = fingerprints(snapshot.manifest).model_copy(update={field: "other"})
        stage = Stage.RERANKED if field == "reranker" else Stage.FUSED
        ranking = write_ranking(
            folder / "ranking", info_for(here, {stage: stage_model({"fused": 1.0})})
        )
        entry = ModelEntry(name="x", fingerprint=ranking.fingerprint, precision="fp64")
        manifest = snapshot.manifest.model_copy(update={"ranking": entry})
        with pytest.raises(ModelError, match=rf"another {field} .*daogou train ranking"):
            _ = Snapshot(folder, manifest).ranking
    other = entry.model_copy(update={"fingerprint": "f" * 64})
    with pytest.raises(ModelError, match="the manifest names ffff"):
        _ = Snapshot(folder, snapshot.manifest.model_copy(update={"ranking": other})).ranking


def test_numbers_by_row(engine: SearchEngine) -> None:
    products = list(engine.snapshot.products)
    for name in ("price", "rating", "rating_count"):
        expected = [getattr(product, name) for product in products]
        found = engine.snapshot.facets.numbers(name).tolist()
        assert [None if np.isnan(one) else pytest.approx(one) for one in found] == expected
    assert np.isnan(engine.snapshot.facets.numbers("weather")).all()


class Slow(ShortTitlesFirst):
    """Takes 20 ms a pair."""

    def classify(self, queries: Sequence[str], passages: Sequence[str]) -> NDArray[np.float32]:
        time.sleep(0.02 * len(queries))
        return super().classify(queries, passages)


def test_a_mode_says_how_many_are_reranked(reranking: SearchEngine) -> None:
    fused = reranking.search("kettle for coffee", k=100, stage=Stage.FUSED)
    for mode in Mode:
        found = reranking.search("kettle for coffee", k=100, mode=mode)
        reranked = [hit for hit in found.hits if hit.probabilities is not None]
        assert found.stage is (Stage.RERANKED if mode.depth else Stage.FUSED)
        assert len(reranked) == min(mode.depth, len(fused.hits))
    by_stage = reranking.search("kettle for coffee", stage=Stage.LEXICAL, mode=Mode.BEST)
    assert by_stage.stage is Stage.LEXICAL


def test_a_mode_asks_for_no_more_than_the_snapshot_has(engine: SearchEngine) -> None:
    assert engine.search("kettle", mode=Mode.BEST).stage is Stage.FUSED


def test_reranking_that_would_end_late_is_left_out(shop_store: Path) -> None:
    snapshot = Snapshot.open(SnapshotStore(shop_store).current())
    entry = ModelEntry(name="slow", fingerprint="slow", precision="fp32")
    models = {**snapshot.manifest.models, "reranker": entry}
    snapshot.manifest = snapshot.manifest.model_copy(update={"models": models})
    snapshot.reranker = Slow()
    slow = SearchEngine(snapshot, Settings(rerank=True, rerank_depth=4))
    whole = slow.search("kettle for coffee", k=5)  # it teaches how long four pairs take
    assert (whole.stage, whole.degraded) == (Stage.RERANKED, False)
    fused = slow.search("coffee kettle", k=5, stage=Stage.FUSED)
    late = slow.search("coffee kettle", k=5, deadline=time.monotonic() + 0.04)
    assert (late.stage, late.degraded) == (Stage.FUSED, True)
    assert ids(late) == ids(fused)
    assert all(hit.probabilities is None for hit in late.hits)
    in_time = slow.search("coffee kettle", k=5, deadline=time.monotonic() + 30)
    assert (in_time.stage, in_time.degraded) == (Stage.RERANKED, False)  # nothing late was kept


def test_a_search_asked_again_is_answered_from_memory(shop_store: Path) -> None:
    engine = SearchEngine.open(shop_store, Settings())
    first = engine.search("gooseneck kettle", k=3)
    again = engine.search("  gooseneck   kettle ", k=3)
    assert again.timings == {"cached": 0.0}
    assert again.hits == first.hits
    assert again.query_id != first.query_id
    others = [
        engine.search("gooseneck kettle", k=4),
        engine.search("gooseneck kettle", k=3, offset=1),
        engine.search("gooseneck kettle", k=3, stage=Stage.DENSE),
        engine.search("gooseneck kettle", k=3, filters=parse_filters(["price<=50"])),
        engine.search("Gooseneck kettle", k=3),  # not every encoder is blind to case
    ]
    assert all("cached" not in other.timings for other in others)
    with pytest.raises(QueryError):
        engine.search("gooseneck kettle" + " " * 2_000, k=3)
