"""The learned final ranking: its features by hand-computed cases, its folder, its scores."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.errors import MissingExtraError, ModelError
from engine.retrieval.features import (
    FEATURES,
    STATISTICS,
    Column,
    Signals,
    compute_features,
    compute_statistics,
    make_pool,
)
from engine.retrieval.fusion import (
    DENSE_WEIGHT,
    REFUSED_WEIGHT,
    SHORT_WEIGHT,
    dense_weight,
    from_best,
    fuse,
    saturated,
)
from engine.retrieval.ranking import (
    INFO_FILE,
    FittedOn,
    Ranker,
    RankingInfo,
    StageModel,
    Weighed,
    fingerprint_of,
    load_ranking,
)
from engine.types import Rows, Scores, Stage
from tests.rankings import cutoff, info_for, stage_model, weighed, write_ranking

FITTED_ON = FittedOn(encoder="e", lexical="l", reranker="r")
NUMBERS = {
    "price": [10.0, 40.0, np.nan, 20.0],
    "rating": [4.0, 5.0, np.nan, 3.0],
    "rating_count": [0.0, 99.0, np.nan, 9.0],
}


def numbers(name: str) -> Column:
    return np.array(NUMBERS[name], dtype=np.float32)


def floats(*values: float) -> Column:
    return np.array(values, dtype=np.float32)


def likeness(rows: Rows, among: Rows) -> Scores:
    """The nearer two row numbers, the liker the products."""
    distances = np.abs(rows[:, None] - among[None, :]).sum(axis=1)
    others = len(among) - np.isin(rows, among)
    return np.asarray(1 - distances / np.maximum(others, 1) / 10, dtype=np.float32)


@pytest.fixture
def signals() -> Signals:
    rows = np.arange(4)
    keyword, cosine = floats(8, 4, 0, 2), floats(0.5, 0.9, 0.1, 0.3)
    order = np.arange(4, dtype=np.int32)
    pool = make_pool(rows, keyword, cosine, order, terms=3, words=floats(5, 0, 3))
    return Signals(rows, keyword, cosine, pool, numbers, likeness, likeness)


CLASSES = np.array(
    [[0, 0, 0, 1], [0.7, 0.1, 0.1, 0.1], [1, 0, 0, 0], [0.25, 0.25, 0.25, 0.25]], dtype=np.float32
)


def test_features_of_retrieval(signals: Signals) -> None:
    values = compute_features(signals)
    assert set(values) == {feature.name for feature in FEATURES if not feature.reranked}
    assert values["lexical"].tolist() == [0.0, -0.5, -1.0, -0.75]
    assert values["cosine"] == pytest.approx([-0.5, 0.0, -1.0, -0.75])
    assert values["cosine_raw"].tolist() == signals.cosine.tolist()
    assert values["words"].tolist() == saturated(values["lexical"]).tolist()
    assert values["meaning"].tolist() == values["cosine"].tolist()
    assert values["fused"].tolist() == fuse(signals.keyword, signals.cosine).tolist()
    assert values["popularity"] == pytest.approx([0, np.log(100), 0, np.log(10)])
    assert values["rating"].tolist() == [0.0, 1.0, 0.0, -1.0]
    assert values["price_known"].tolist() == [1.0, 1.0, 0.0, 1.0]
    assert values["price"] == pytest.approx([-np.log(2), np.log(2), 0, 0])
    assert all(column.dtype == np.float32 for column in values.values())


def test_of_a_lone_word_the_meaning_counts_more(signals: Signals) -> None:
    order = np.arange(4, dtype=np.int32)
    pool = make_pool(signals.rows, signals.keyword, signals.cosine, order, terms=1)
    assert pool.weight == dense_weight(1, signals.cosine) == SHORT_WEIGHT
    values = compute_features(replace(signals, pool=pool), ["cosine", "meaning", "fused"])
    assert values["meaning"] == pytest.approx(SHORT_WEIGHT / DENSE_WEIGHT * values["cosine"])
    whole = fuse(signals.keyword, signals.cosine, SHORT_WEIGHT)
    assert values["fused"] == pytest.approx(whole)


def test_what_the_query_excludes_takes_off(signals: Signals) -> None:
    refused = np.array([True, False, False, True])
    values = compute_features(replace(signals, refused=refused), ["refused", "fused"])
    assert values["refused"].tolist() == [1.0, 0.0, 0.0, 1.0]
    before = compute_features(signals, ["refused", "fused"])
    assert not before["refused"].any()
    assert before["fused"] - values["fused"] == pytest.approx(REFUSED_WEIGHT * values["refused"])


def test_feedback_is_likeness_to_the_best_of_untuned_fusion() -> None:
    rows = np.arange(60)
    falling = np.linspace(1, 0, 60, dtype=np.float32)
    pool = make_pool(rows, falling, falling, np.arange(60, dtype=np.int32), terms=3)
    given = Signals(rows, falling, falling, pool, numbers, likeness, likeness)
    values = compute_features(given, ["feedback"])["feedback"]
    # Distances to rows 0 to 4: the sum of 2 is 6 over four others, of 49, the 50th, 235 over five.
    assert values[2] == 0.0
    assert values[49] == pytest.approx(-1.0)
    assert values[5] == pytest.approx(-(15 / 5 - 6 / 4) / (235 / 5 - 6 / 4), abs=1e-5)
    assert values[59] < -1.0


def test_features_of_the_reranker(signals: Signals) -> None:
    values = compute_features(signals.reranked(CLASSES, head=4))
    assert set(values) == {feature.name for feature in FEATURES}
    assert values["gain"] == pytest.approx([1.0, 0.111, 0.0, 0.2775])
    assert values["grade"] == pytest.approx([3.0, 0.6, 0.0, 1.5])
    assert values["exact"].tolist() == CLASSES[:, 3].tolist()
    assert values["logit"][3] == pytest.approx(0.0, abs=1e-6)
    assert values["logit"][1] == pytest.approx(np.log(0.1) - np.log(0.7), abs=1e-5)
    assert np.isfinite(values["logit"]).all()
    assert values["logit_from_best"].tolist() == from_best(values["logit"]).tolist()
    with pytest.raises(ValueError, match="not reranked"):
        compute_features(signals, ["gain"])


def test_what_is_measured_beside_the_pool_stays_on_its_scales(signals: Signals) -> None:
    beside = replace(signals, rows=np.array([0, 2]), keyword=floats(8, 16), cosine=floats(0.5, 0.9))
    values = compute_features(beside, ["lexical", "cosine", "fused", "price"])
    assert values["lexical"].tolist() == [0.0, 1.0]
    assert values["cosine"] == pytest.approx([-0.5, 0.0])
    assert values["fused"] == pytest.approx([-0.5 * DENSE_WEIGHT, saturated(floats(1))[0]])
    assert values["price"][0] == pytest.approx(-np.log(2))
    reranked = signals.reranked(CLASSES, head=2)
    best, second = compute_features(reranked)["logit_from_best"][:2]
    assert (best, second) == (0.0, -1.0)


def test_unknown_fields_say_nothing(signals: Signals) -> None:
    def unknown(name: str) -> Column:
        return np.full(4, np.nan, dtype=np.float32)

    bare = replace(signals, numbers=unknown)
    values = compute_features(bare)
    for name in ("popularity", "rating", "price_known", "price"):
        assert values[name].tolist() == [0.0] * 4


def test_statistics_of_a_query(signals: Signals) -> None:
    values = compute_statistics(signals.reranked(CLASSES, head=4))
    assert set(values) == {statistic.name for statistic in STATISTICS}
    assert values["words_found"] == pytest.approx(2 / 3)
    assert values["words_covered"] == pytest.approx(1.0)
    assert values["best_cosine"] == pytest.approx(0.9)
    assert values["best_exact"] == values["best_gain"] == 1.0
    none = signals.asked(floats())
    assert compute_statistics(none, ["words_found"]) == {"words_found": 0.0}


def test_a_candidate_scores_the_same_in_any_list() -> None:
    rng = np.random.default_rng(3)
    names = [f"f{place}" for place in range(13)]
    weights = Weighed(
        names=tuple(names),
        weights=tuple(rng.normal(size=13)),
        centre=tuple(rng.normal(size=13)),
        scale=tuple(rng.uniform(0.1, 3, size=13)),
    )
    values = {name: rng.normal(size=64).astype(np.float32) for name in names}
    ranker = Ranker(Stage.RERANKED, StageModel(linear=weights, features=tuple(names)))
    together = ranker.score(values)
    for place in range(64):
        alone = ranker.score({name: column[place : place + 1] for name, column in values.items()})
        assert alone[0] == together[place]
    assert len(ranker.score({name: floats() for name in names})) == 0


def test_the_cut_off_is_a_probability() -> None:
    cut = cutoff({"best_exact": 4.0}, bias=-2.0, threshold=0.3)
    ranker = Ranker(Stage.RERANKED, stage_model({"gain": 1.0}, cut))
    assert ranker.statistics == ("best_exact",)
    assert ranker.fits({"best_exact": 0.5}) == pytest.approx(0.5)
    low = ranker.fits({"best_exact": 0.0})
    assert low == pytest.approx(1 / (1 + np.exp(2)))
    assert ranker.nothing_fits(low)
    assert not ranker.nothing_fits(0.3)
    without = Ranker(Stage.FUSED, stage_model({"fused": 1.0}))
    assert without.statistics == ()
    assert not without.nothing_fits(0.0)
    with pytest.raises(ValueError, match="no cut-off"):
        without.fits({})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    info = info_for(
        FITTED_ON,
        {
            Stage.FUSED: stage_model({"lexical": 1.0, "cosine": 2.0}),
            Stage.RERANKED: stage_model({"fused": 1.0, "logit": 0.5}, cutoff({"best_exact": 1.0})),
        },
    )
    write_ranking(tmp_path / "ranking", info)
    return tmp_path / "ranking"


def test_a_folder_is_read_as_it_was_written(folder: Path) -> None:
    ranking = load_ranking(folder)
    assert ranking.info.fitted_on == FITTED_ON
    assert set(ranking.rankers) == {Stage.FUSED, Stage.RERANKED}
    assert ranking.rankers[Stage.FUSED].features == ("lexical", "cosine")
    assert ranking.info.stages[Stage.FUSED].form == "linear"
    assert ranking.fingerprint == fingerprint_of(ranking.info)
    ranking.load()
    renamed = ranking.info.model_copy(update={"name": "other", "provenance": {"a": "b"}})
    assert fingerprint_of(renamed) == ranking.fingerprint


def test_another_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is no final ranking"):
        load_ranking(tmp_path / "nowhere")
    (folder / "README.md").write_text("other")
    with pytest.raises(ModelError, match=r"README.md was altered"):
        load_ranking(folder)
    (folder / "README.md").unlink()
    with pytest.raises(ModelError, match=r"README.md is missing"):
        load_ranking(folder)
    (folder / INFO_FILE).write_text("{}")
    with pytest.raises(ModelError, match="damaged or of another version: name"):
        load_ranking(folder)


def test_an_edited_weight_is_noticed(folder: Path) -> None:
    path = folder / INFO_FILE
    about = json.loads(path.read_text())
    about["stages"]["fused"]["linear"]["weights"][0] = 7.0
    path.write_text(json.dumps(about))
    with pytest.raises(ModelError, match="was edited"):
        load_ranking(folder)


@pytest.mark.parametrize(
    ("stage", "model", "message"),
    [
        (Stage.FUSED, stage_model({"gain": 1.0}), "reads gain, which .* fused stage"),
        (Stage.RERANKED, stage_model({"weather": 1.0}), "reads weather"),
        (Stage.FUSED, stage_model({"fused": 1.0}, cutoff({"best_exact": 1})), "reads best_exact"),
    ],
)
def test_what_is_not_computed_is_refused(
    tmp_path: Path, stage: Stage, model: StageModel, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        write_ranking(tmp_path / "ranking", info_for(FITTED_ON, {stage: model}))


def test_models_that_make_no_sense_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="differ in number"):
        Weighed(names=("a",), weights=(1.0, 2.0), centre=(0.0,), scale=(1.0,))
    with pytest.raises(ValueError, match="scale positive"):
        Weighed(names=("a",), weights=(1.0,), centre=(0.0,), scale=(0.0,))
    with pytest.raises(ValueError, match="either weights or trees"):
        StageModel(features=("a",))
    with pytest.raises(ValueError, match="not those of the features"):
        StageModel(linear=weighed({"a": 1.0}), features=("b",))
    bare = FITTED_ON.model_copy(update={"reranker": None})
    with pytest.raises(ValueError, match="name it"):
        RankingInfo(name="x", stages={Stage.RERANKED: stage_model({"gain": 1.0})}, fitted_on=bare)


def test_trees_without_lightgbm_name_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    ranker = Ranker(Stage.FUSED, StageModel(trees="trees.txt", features=("fused",)))
    with pytest.raises(MissingExtraError, match=r"daogou\[train\]"):
        ranker.score({"fused": floats(1, 2)})


def test_a_file_of_no_trees_is_named(tmp_path: Path) -> None:
    pytest.importorskip("lightgbm")
    (tmp_path / "trees.txt").write_text("nonsense")
    model = StageModel(trees="trees.txt", features=("fused",))
    with pytest.raises(ModelError, match=r"trees.txt holds no trees"):
        Ranker(Stage.FUSED, model, tmp_path).score({"fused": floats(1, 2)})
