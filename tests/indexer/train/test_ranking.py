"""Fitting a final ranking: figures by hand, and queries whose right order is known."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from numpy.typing import NDArray

pytest.importorskip("scipy")
pytest.importorskip("lightgbm")

from engine.errors import EvaluationError, ModelError, SettingsError, TrainingError
from engine.manifest import ModelEntry, read_manifest, write_manifest
from engine.retrieval.features import FEEDBACK, SHELF_FEEDBACK
from engine.retrieval.fusion import from_best
from engine.retrieval.ranking import SHIPPED_RANKING, FittedOn, StageModel, load_ranking
from engine.search import SearchEngine
from engine.settings import Settings
from engine.snapshot import Snapshot
from engine.store import SnapshotStore
from engine.types import Stage
from indexer.evaluate.judgments import JudgedQueries, read_queries
from indexer.evaluate.seen import query_hash, read_training_hashes
from indexer.evaluate.statistics import Interval
from indexer.publish import publish
from indexer.train import ranking as recipe
from indexer.train.ranking import FORMS, train_ranking
from indexer.train.ranking_card import StageReport
from indexer.train.ranking_cutoff import MOST_REFUSED, fit_cutoff
from indexer.train.ranking_examples import (
    Example,
    fold_of,
    gather,
    ndcg,
    read_scores,
    read_unanswerable,
    varying,
)
from indexer.train.ranking_fit import _chosen, choose, fit_linear, fit_ranking, fit_trees
from tests.fakes import FakeReranker
from tests.rankings import info_for, write_ranking


def example(
    features: Mapping[str, Any],
    grades: Sequence[int],
    query_id: str = "q",
    candidates: int | None = None,
    ideal: Sequence[int] | None = None,
    *,
    query: str | None = None,
) -> Example:
    return Example(
        query_id=query_id,
        query=query_id if query is None else query,
        catalog="shop",
        features={name: np.asarray(column, np.float32) for name, column in features.items()},
        grades=np.array(grades, dtype=np.int64),
        tie=np.arange(len(grades)),
        candidates=len(grades) if candidates is None else candidates,
        ideal=tuple(ideal if ideal is not None else [grade for grade in grades if grade >= 0]),
    )


def made_up(count: int, seed: int, *, truth: str = "cosine") -> list[Example]:
    """Queries where one feature says everything and the others nothing."""
    rng = np.random.default_rng(seed)
    found = []
    for place in range(count):
        features = {name: rng.normal(size=30) for name in ("lexical", "cosine", "price")}
        told = features[truth] + 0.3 * rng.normal(size=30)
        grades = np.digitize(told, np.quantile(told, [0.6, 0.8, 0.9])).tolist()
        found.append(example(features, grades, f"q{place}"))
    return found


def test_ndcg_is_that_of_ir_measures() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        grades = rng.integers(-1, 4, size=25).tolist()
        scores = rng.permutation(25).astype(float)
        judged = {str(place): grade for place, grade in enumerate(grades) if grade >= 0}
        judged |= {"missed": 3}
        one = example({}, grades, ideal=list(judged.values()))
        run = {"q": {str(place): float(score) for place, score in enumerate(scores)}}
        (expected,) = ir_measures.iter_calc([ir_measures.nDCG @ 10], {"q": judged}, run)
        assert ndcg(one, scores) == pytest.approx(expected.value)


def test_what_was_not_found_is_not_ranked() -> None:
    one = example({}, [0, 3, 3], candidates=2)
    assert ndcg(one, np.array([0.0, 1.0, 9.0])) == pytest.approx(3 / (3 + 3 / np.log2(3)))
    tied = example({}, [3, 0])
    assert ndcg(tied, np.zeros(2)) == 1.0
    assert ndcg(example({}, [0, 0]), np.zeros(2)) == 0.0


def test_folds_hold_a_query_together() -> None:
    examples = [example({}, [1], f"q{place % 10}") for place in range(30)]
    fold = fold_of(examples, 5, seed=1)
    assert fold[:10].tolist() == fold[10:20].tolist() == fold[20:].tolist()
    assert sorted(set(fold.tolist())) == [0, 1, 2, 3, 4]
    assert fold_of(examples[::-1], 5, seed=1).tolist() == fold.tolist()[::-1]
    twice = [example({}, [1], f"p{place}", query=f"q{place % 10}") for place in range(20)]
    fold = fold_of(twice, 5, seed=1)
    assert fold[:10].tolist() == fold[10:].tolist()
    assert sorted(set(fold.tolist())) == [0, 1, 2, 3, 4]


def test_ids_that_share_their_words_are_one_query(shop_store: Path) -> None:
    texts = {"q1": "Travel Mug", "q2": " travel\u00a0 mu\u00adg", "q3": "travel mugs"}
    judged = JudgedQueries(texts, {query_id: {"m1": 3} for query_id in texts})
    engine = SearchEngine.open(shop_store, Settings())
    examples = [one for one, _ in gather(engine, judged, Stage.FUSED, {})]
    assert [one.query for one in examples] == ["travel mug", "travel mug", "travel mugs"]
    assert len({*fold_of(examples[:2], 2, seed=0).tolist()}) == 1


def test_features_that_are_the_same_everywhere_are_left_out() -> None:
    examples = [
        example({"a": [1, 2], "b": [3, 3]}, [0, 1]),
        example({"a": [0, 0], "b": [4, 4]}, [0, 1]),
    ]
    assert varying(examples, ["a", "b"]) == ("a",)


def test_weights_find_what_counts() -> None:
    examples = made_up(60, 1)
    fitted = fit_linear(examples, ["lexical", "cosine", "price"], Stage.FUSED)
    weights = dict(zip(fitted.weighed.names, fitted.weighed.weights, strict=True))
    assert weights["cosine"] > 5 * abs(weights["lexical"])
    assert weights["cosine"] > 5 * abs(weights["price"])
    fresh = made_up(30, 2)
    learned = np.mean([ndcg(one, fitted.score(one)) for one in fresh])
    untuned = np.mean(
        [ndcg(one, one.features["lexical"] + 0.6 * one.features["cosine"]) for one in fresh]
    )
    assert learned > untuned + 0.1


def test_pulled_hard_the_weights_are_the_prior() -> None:
    examples = made_up(40, 3)
    fitted = fit_linear(examples, ["lexical", "cosine", "price"], Stage.FUSED, pulls=[1e6])
    raw = np.array(fitted.weighed.weights) / np.array(fitted.weighed.scale)
    assert raw[1] == pytest.approx(0.6 * raw[0], rel=1e-3)
    assert raw[2] == 0.0


def test_trees_find_what_weights_cannot() -> None:
    rng = np.random.default_rng(4)

    def bent(count: int, first: int) -> list[Example]:
        found = []
        for place in range(count):
            cosine = rng.normal(size=30)
            grades = (3 * (np.abs(cosine) < 0.4)).tolist()
            found.append(
                example(
                    {"lexical": rng.normal(size=30), "cosine": cosine}, grades, f"{first + place}"
                )
            )
        return found

    examples = bent(60, 0)
    choice = choose(examples, ["lexical", "cosine"], Stage.FUSED, folds=3)
    assert choice.form == "lambdamart"
    assert choice.held_out["lambdamart"].mean() > choice.held_out["linear"].mean() + 0.2
    trees = fit_trees(examples, ["lexical", "cosine"])
    assert np.mean([ndcg(one, trees.score(one)) for one in bent(20, 100)]) > 0.9
    again = fit_trees(examples, ["lexical", "cosine"])
    assert again.score(examples[0]).tolist() == trees.score(examples[0]).tolist()


def test_without_a_clear_difference_weights_are_taken() -> None:
    choice = choose(made_up(40, 6), ["lexical", "cosine"], Stage.FUSED, folds=3)
    assert choice.form == "linear"
    assert set(choice.held_out) == {"linear", "lambdamart"}
    assert (
        choose(made_up(25, 6), ["cosine"], Stage.FUSED, forms=["lambdamart"]).form == "lambdamart"
    )


@pytest.mark.parametrize(
    ("form", "figure"), [("linear", "0.7500"), ("lambdamart", "0.7600"), ("untuned", "0.7000")]
)
def test_what_is_recorded_is_the_figure_of_what_was_taken(form: str, figure: str) -> None:
    untuned, linear, trees = (Interval(mean, 0.6, 0.8, 50) for mean in (0.70, 0.75, 0.76))
    held_out = {"linear": linear, "lambdamart": trees}
    report = StageReport(form, 50, untuned, held_out, held_out, None)
    model = StageModel(linear=recipe._plain("fused"), features=("fused",))
    info = info_for(FittedOn(encoder="e", lexical="l"), {Stage.FUSED: model})
    made = recipe._with_provenance(info, {Stage.FUSED: report}, 0, "", {})
    assert made.provenance["fused nDCG@10, held out"] == figure


def test_no_list_with_anything_to_find_leaves_the_prior() -> None:
    examples = [example({"lexical": [1, 2], "cosine": [2, 1]}, [0, 0], str(n)) for n in range(6)]
    fitted = fit_ranking(examples, ["lexical", "cosine"], Stage.FUSED, "linear")
    assert np.isfinite(fitted.score(examples[0])).all()


def test_the_cut_off_parts_what_can_be_parted() -> None:
    rng = np.random.default_rng(7)
    truth = [True] * 200 + [False] * 100
    rows = [
        {"best_exact": rng.normal(3.0 if fits else 0.0), "words_found": rng.uniform()}
        for fits in truth
    ]
    fit = fit_cutoff(rows, truth)
    assert fit.auroc.mean > 0.95
    assert fit.answerable_refused <= MOST_REFUSED
    assert fit.unanswerable_refused > 0.5
    assert 0 < fit.cutoff.threshold <= 0.5
    weights = dict(zip(fit.cutoff.statistics.names, fit.cutoff.statistics.weights, strict=True))
    assert weights["best_exact"] > 5 * abs(weights["words_found"])
    # Held-out probabilities mean what they say.
    assert fit.held_out.mean() == pytest.approx(2 / 3, abs=0.02)


QUERIES = {
    "q1": ("kettle", {"k1": 3, "k2": 3, "m1": 1}),
    "q2": ("travel mug", {"m2": 3, "m1": 2, "c1": 1}),
    "q3": ("headphones", {"h1": 3, "h2": 2}),
    "q4": ("tent", {"t1": 3, "t2": 1}),
    "q5": ("belt", {"b1": 3, "b2": 3}),
}


@pytest.fixture
def judged(tmp_path: Path) -> tuple[Path, Path]:
    """Twenty judged queries of the small shop: each of five, four times."""
    lines, qrels = [], []
    for turn in range(4):
        for query_id, (text, grades) in QUERIES.items():
            lines.append(f"{query_id}-{turn}\t{text}{' please' * turn}\n")
            qrels += [f"{query_id}-{turn} 0 {one} {grade}\n" for one, grade in grades.items()]
    (tmp_path / "queries.tsv").write_text("".join(lines))
    (tmp_path / "qrels.txt").write_text("".join(qrels))
    return tmp_path / "queries.tsv", tmp_path / "qrels.txt"


@pytest.fixture
def reranking_store(shop_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shop's store with a fake reranker."""
    store = shutil.copytree(shop_store, tmp_path / "store")
    folder = SnapshotStore(store).current()
    fake = FakeReranker()
    manifest = read_manifest(folder)
    entry = ModelEntry(name="fake", fingerprint=fake.fingerprint, precision="fp32")
    models = {**manifest.models, "reranker": entry}
    write_manifest(folder, manifest.model_copy(update={"models": models}))
    monkeypatch.setattr("engine.snapshot.load_reranker", lambda *_, **__: fake)
    return store


def test_a_ranking_is_trained_and_served(
    reranking_store: Path, judged: tuple[Path, Path], tmp_path: Path
) -> None:
    nothing = tmp_path / "nothing.txt"
    nothing.write_text("u1\tmortgage rates\nu2\tflight to mars\nused tractor engine\nplumber\n" * 3)
    out = tmp_path / "ranking"
    report = train_ranking(reranking_store, *judged, out, unanswerable=nothing, form="linear")

    assert set(report.stages) == {Stage.FUSED, Stage.RERANKED}
    for stage in report.stages.values():
        assert stage.queries == 20
        assert stage.cutoff is not None
        assert stage.cutoff.auroc.mean > 0.8
    assert load_ranking(out).info == report.info
    asked = read_queries(judged[0]).values()
    unanswerable = ("mortgage rates", "flight to mars", "used tractor engine", "plumber")
    assert read_training_hashes(out) == {query_hash(text) for text in (*asked, *unanswerable)}
    assert len(read_training_hashes(out)) == 20 + 4
    written = (out / "README.md").read_text()
    assert "The reranked stage: nDCG@10 over 20 queries, held out" in written
    assert "AUROC" in written
    assert not list(tmp_path.glob(".ranking*"))

    publish(reranking_store, ranking=out)
    engine = SearchEngine.open(reranking_store, Settings(rerank=True))
    found = engine.search("kettle")
    assert found.stage is Stage.RERANKED
    assert found.hits[0].product.id in {"k1", "k2"}
    assert found.fits is not None
    assert not found.nothing_fits
    poor = engine.search("mortgage rates")
    assert poor.fits is not None
    assert poor.fits < found.fits
    assert poor.hits  # they stay, whatever is said of them

    # Trained again on a store that has a ranking, the result is the same: it is not used.
    again = train_ranking(reranking_store, *judged, out, unanswerable=nothing, form="linear")
    assert again.info.fingerprint == report.info.fingerprint


def test_without_a_reranker_the_fusion_alone_is_fitted(
    shop_store: Path, judged: tuple[Path, Path], tmp_path: Path
) -> None:
    report = train_ranking(shop_store, *judged, tmp_path / "ranking", form="linear")
    assert set(report.stages) == {Stage.FUSED}
    assert report.info.fitted_on.reranker is None
    assert report.stages[Stage.FUSED].cutoff is None
    linear = report.info.stages[Stage.FUSED].linear
    assert linear is not None  # no judged query excludes anything, and those to come may
    assert linear.parts({name: np.ones(1) for name in linear.names})["refused"] < 0


def test_another_than_the_usual_is_chosen_where_it_is_better_by_more_than_chance() -> None:
    draw = np.random.default_rng(1)
    usual = draw.uniform(0.4, 0.9, 100)
    noise = draw.normal(0, 0.1, 100)
    noise -= noise.mean()
    lucky, better = usual + noise + 0.005, usual + noise + 0.02  # a standard error is 0.01
    assert _chosen([lucky, usual], usual=1) == 1
    assert _chosen([better, usual], usual=1) == 0
    assert _chosen([usual, usual - 0.1], usual=1) == 0
    assert _chosen([usual, usual], usual=1) == 1


def test_held_out_probabilities_stand_for_the_rerankers(
    reranking_store: Path, judged: tuple[Path, Path], tmp_path: Path
) -> None:
    columns: dict[str, list[Any]] = {name: [] for name in ("query_id", "product_id", "p0", "p3")}
    for turn in range(4):
        for query_id, (_, grades) in QUERIES.items():
            for one in grades:
                columns["query_id"].append(f"{query_id}-{turn}")
                columns["product_id"].append(one)
                columns["p0"].append(0.9)
                columns["p3"].append(0.1)
    zeros = np.zeros(len(columns["p0"]))
    path = tmp_path / "scores.npz"
    table = {name: np.array(each) for name, each in columns.items()}
    np.savez(path, **(table | {"p1": zeros, "p2": zeros}))  # type: ignore[arg-type]
    found = read_scores(path)
    assert found["q1-0"]["k1"].tolist() == pytest.approx([0.9, 0, 0, 0.1])

    engine = recipe._untuned_engine(reranking_store)
    given = engine.features("kettle", known=found["q1-0"])
    own = engine.features("kettle")
    assert given.rows.tolist() == own.rows.tolist()
    (row,) = engine.snapshot.products.rows_of(["k1"])
    place = given.rows.tolist().index(row)
    assert given.values["exact"][place] == pytest.approx(0.1)
    assert own.values["exact"][place] > 0.5
    report = train_ranking(
        reranking_store, *judged, tmp_path / "ranking", form="linear", scores=path
    )
    assert report.info.provenance["class probabilities"] == "held out, given"
    assert report.info.provenance["class probabilities given for"] == "20 of 20 queries"
    assert "20 of 20 queries" in (tmp_path / "ranking" / "README.md").read_text()


def _scores(path: Path, query_ids: list[Any], product_ids: list[Any]) -> Path:
    """A Parquet file that calls every pair exact."""
    ones, zeros = [1.0] * len(query_ids), [0.0] * len(query_ids)
    classes = {"p0": zeros, "p1": zeros, "p2": zeros, "p3": ones}
    table = {"query_id": query_ids, "product_id": product_ids} | classes
    pyarrow.parquet.write_table(pyarrow.table(table), path)
    return path


def test_ids_that_are_numbers_are_read_as_the_catalog_reads_them(tmp_path: Path) -> None:
    path = _scores(tmp_path / "scores.parquet", [1.0, 2.0, None, 3.0], [7.0, 8.0, 9.0, None])
    found = read_scores(path)
    assert {one: list(products) for one, products in found.items()} == {"1": ["7"], "2": ["8"]}
    assert list(read_scores(_scores(path, [" q1"], ["k1 "]))["q1"]) == ["k1"]
    with pytest.raises(TrainingError, match=r"scores\.parquet: an id is none .*Write ids as text"):
        read_scores(_scores(path, [True], ["k1"]))


@pytest.mark.parametrize(("query_id", "product_id"), [("q9", "k1"), ("q1-0", "k9")])
def test_probabilities_that_fit_nothing_are_refused(
    query_id: str, product_id: str,
    reranking_store: Path, judged: tuple[Path, Path], tmp_path: Path,
) -> None:  # fmt: skip
    path = _scores(tmp_path / "scores.parquet", [query_id], [product_id])
    with pytest.raises(TrainingError, match=r"scores\.parquet: no row is .* as .*queries\.tsv has"):
        train_ranking(reranking_store, *judged, tmp_path / "ranking", form="linear", scores=path)
    assert not (tmp_path / "ranking").exists()


def test_probabilities_cut_off_are_named(tmp_path: Path) -> None:
    path = tmp_path / "scores.npz"
    one = np.ones(1000)
    np.savez_compressed(path, query_id=one, product_id=one, p0=one, p1=one, p2=one, p3=one)
    whole = path.read_bytes()
    short = whole.replace(b"query_id.npy", b"query_no.npy")
    for content in (b"", whole[:40], whole[:-100], whole[:60] + bytes(40) + whole[100:], short):
        path.write_bytes(content)
        with pytest.raises(TrainingError, match=r"scores\.npz holds no class probabilities"):
            read_scores(path)


def test_unanswerable_queries_are_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "nothing.txt"
    path.write_text("\ufeffflight to mars\n\nu2\tmortgage\u2028rates\r\n", encoding="utf-8")
    assert read_unanswerable(path) == ["flight to mars", "mortgage\u2028rates"]


def test_what_cannot_be_trained_on_is_refused(
    shop_store: Path, judged: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "ranking"
    with pytest.raises(TrainingError, match="no form 'svm'"):
        train_ranking(shop_store, *judged, out, form="svm")
    with pytest.raises(TrainingError, match="no feature 'weather'"):
        train_ranking(shop_store, *judged, out, features=["weather"])
    with pytest.raises(TrainingError, match="none of the features rating"):
        train_ranking(shop_store, *judged, out, features=["rating"])
    few = tmp_path / "few.tsv"
    few.write_text("q1-0\tkettle\n")
    with pytest.raises(TrainingError, match="1 judged queries are too few"):
        train_ranking(shop_store, few, judged[1], out)
    rows = [line.split() for line in judged[1].read_text().splitlines()]
    ids = sorted({row[0] for row in rows})
    for kept in (19, 1, 0):  # queries with a product graded above 0
        poor = [[*row[:3], row[3] if row[0] in ids[:kept] else "0"] for row in rows]
        (tmp_path / "poor.txt").write_text("\n".join(map(" ".join, poor)))
        with pytest.raises(TrainingError, match=f"^{kept} judged .* {20 - kept} others have no"):
            train_ranking(shop_store, judged[0], tmp_path / "poor.txt", out)
    with pytest.raises(TrainingError, match="holds no class probabilities"):
        read_scores(tmp_path / "none.parquet")
    np.savez(
        tmp_path / "bad.npz", query_id=["q"], product_id=["p"], p0=[2.0], p1=[0], p2=[0], p3=[0]
    )
    with pytest.raises(TrainingError, match="must sum to 1"):
        read_scores(tmp_path / "bad.npz")
    with pytest.raises(TrainingError, match="cannot be read"):
        train_ranking(shop_store, *judged, out, unanswerable=tmp_path / "none.txt")
    (tmp_path / "blank.txt").write_text("\nu1\t\n")
    with pytest.raises(TrainingError, match=r"blank\.txt has no query.* --unanswerable"):
        train_ranking(shop_store, *judged, out, unanswerable=tmp_path / "blank.txt")
    assert not out.exists()
    assert FORMS["auto"] == ("linear", "lambdamart")


def test_a_folder_that_holds_something_else_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    queries = tmp_path / "none.tsv", tmp_path / "none.txt"
    with pytest.raises(SettingsError, match=r"holds 'notes\.txt'"):
        train_ranking(tmp_path, *queries, tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=r"^--out: \. cannot be replaced"):
        train_ranking(tmp_path, *queries, Path())
    former = shutil.copytree(SHIPPED_RANKING, tmp_path / "former")
    (former / "trees-fused.txt").write_text("of a former one")
    with pytest.raises(EvaluationError, match=r"none\.tsv"):  # what it read next
        train_ranking(tmp_path, *queries, former)


def test_features_are_those_of_serving(reranking_store: Path) -> None:
    snapshot = Snapshot.open(SnapshotStore(reranking_store).current())
    engine = SearchEngine(snapshot, Settings(rerank_depth=5))
    found = engine.features("kettle for coffee", beside=["b1", "k1"])
    assert found.head == 5
    assert len(found.rows) == len(set(found.rows.tolist()))
    fused = engine.search("kettle for coffee", k=5, stage=Stage.FUSED)
    assert found.values["fused"][:5] == pytest.approx([hit.score for hit in fused.hits])
    reranked = engine.search("kettle for coffee", k=5, stage=Stage.RERANKED)
    gains = sorted(found.values["gain"][:5], reverse=True)
    assert gains == pytest.approx([hit.score for hit in reranked.hits])
    (given, *_) = engine.features("kettle", ["k1", "z1"], stage=Stage.FUSED)
    assert len(given) == 2


def test_feedback_compares_with_the_best_of_the_fusion(reranking_store: Path) -> None:
    snapshot = Snapshot.open(SnapshotStore(reranking_store).current())
    found = SearchEngine(snapshot, Settings()).features("kettle for coffee", stage=Stage.FUSED)
    vectors = snapshot.vectors[found.rows].astype(np.float32)
    cosines = vectors @ vectors[:FEEDBACK].T  # (candidates, 5); candidates are best fused first
    means = [
        np.mean([cosine for place, cosine in enumerate(own) if place != row])
        for row, own in enumerate(cosines)
    ]
    expected = from_best(np.array(means, dtype=np.float32))
    assert found.values["feedback"] == pytest.approx(expected, abs=5e-3)  # float16 vectors
    nearest = snapshot.shelves.likeness(found.rows, found.rows[:SHELF_FEEDBACK])
    assert found.values["shelf"] == pytest.approx(nearest - nearest[:SHELF_FEEDBACK].max())
    assert np.ptp(found.values["shelf"]) > 0.3


def test_trees_rank_as_they_did_when_they_were_fitted(tmp_path: Path) -> None:
    examples = made_up(30, 8)
    fitted = fit_trees(examples, ["lexical", "cosine", "price"], rounds=[20])
    model = recipe._stage_model(Stage.FUSED, fitted, tmp_path)
    here = FittedOn(encoder="e", lexical="l")
    ranking = write_ranking(tmp_path, info_for(here, {Stage.FUSED: model}))
    assert ranking.info.stages[Stage.FUSED].form == "lambdamart"
    ranking.load()
    for one in examples[:3]:
        served = ranking.rankers[Stage.FUSED].score(one.features)
        assert served == pytest.approx(fitted.score(one), rel=1e-5)
    (tmp_path / "trees-fused.txt").write_text("other")
    with pytest.raises(ModelError, match=r"trees-fused.txt was altered"):
        load_ranking(tmp_path)


def test_a_reranker_that_tells_nothing_changes_no_order(
    reranking_store: Path, judged: tuple[Path, Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    class Blind(FakeReranker):
        def classify(self, queries: Sequence[str], passages: Sequence[str]) -> NDArray[np.float32]:
            return np.full((len(queries), 4), 0.25, dtype=np.float32)

    monkeypatch.setattr("engine.snapshot.load_reranker", lambda *_, **__: Blind())
    out = tmp_path / "ranking"
    report = train_ranking(reranking_store, *judged, out, form="linear")
    assert report.stages[Stage.RERANKED].form == "fused"
    assert report.info.stages[Stage.RERANKED] == report.info.stages[Stage.FUSED]
    assert "Taken: the order of the fused stage" in (out / "README.md").read_text()
    publish(reranking_store, ranking=out)
    engine = SearchEngine.open(reranking_store, Settings(rerank=True))
    for query in ("kettle", "coffee mug", "belt without buckle"):
        fused, reranked = (engine.search(query, stage=stage) for stage in list(Stage)[-2:])
        assert [hit.product.id for hit in reranked.hits] == [hit.product.id for hit in fused.hits]
        assert reranked.hits[0].probabilities is not None
