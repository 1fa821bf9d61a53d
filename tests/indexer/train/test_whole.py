"""The whole recipe, step by step: what each learns from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.models.encoder import SHIPPED_ENCODER
from indexer.evaluate.seen import query_hash
from indexer.progress import Silent
from indexer.train.sources import Sources
from tests.checkpoints import save_encoder
from tests.shop import write_catalog

pytest.importorskip("torch", reason="training needs torch: pip install 'daogou[train]'")

from indexer.train import ranking
from indexer.train.record import Stage
from indexer.train.reranker import train_reranker
from indexer.train.whole import Whole

JUDGED = "q1 0 k1 3\nq1 0 t1 0\nq2 0 t1 3\nq2 0 m1 0\nq2 0 t2 1\n"
LABELS = "query,product_id,label\nmug,m1,S\nmug,m2,E\nmug,t1,I\nbelt,b1,E\nbelt,h1,I\n"
RECORDS = (
    "query,product_id,clicked,purchased\n"
    "Kettle,k1,0,1\nKettle,k2,1,0\n ten\u00adt ,t1,1,1\nrug,b1,1,0\nrug,m1,0,1\n"
)


def test_the_reranker_is_calibrated_on_what_people_judged_and_learns_from_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt: list[str] = []

    def watched(base: str, stages: Sequence[Stage], out: Path, **options: Any) -> Path:  # noqa: ANN401
        learnt.extend(each.query for stage in stages for each in stage.lists)
        return train_reranker(base, stages, out, **options)

    monkeypatch.setattr("indexer.train.reranker.train_reranker", watched)
    write_catalog(tmp_path / "shop.jsonl")
    for name, text in (
        ("queries.tsv", "q1\tkettle\nq2\ttent\n"),
        ("qrels.txt", JUDGED),
        ("labels.csv", LABELS),
        ("records.csv", RECORDS),
    ):
        (tmp_path / name).write_text(text)
    entry = {
        "name": "shop",
        "products": tmp_path / "shop.jsonl",
        "queries": tmp_path / "queries.tsv",
        "qrels": tmp_path / "qrels.txt",
        "labels": [{"file": tmp_path / "labels.csv", "machine_made": True}],
        "records": [tmp_path / "records.csv"],
    }
    out = tmp_path / "out"
    save_encoder(out / "encoder" / "checkpoint")
    shutil.copytree(SHIPPED_ENCODER, out / "base")  # whose searches teach
    said: list[str] = []
    whole = Whole(
        Sources.model_validate({"catalog": [entry]}),
        "a base that this step does not read",
        out,
        progress=Silent(),
        say=said.append,
    )
    whole.run(["reranker"])
    record = json.loads((out / "reranker" / "training.json").read_text(encoding="utf-8"))
    (stage,) = record["stages"]
    assert stage["name"] == "lists"
    assert stage["origins"]["machine: labels.csv"] == 5
    assert stage["origins"]["records: records.csv"] == 2  # of the query that nobody judged
    assert {origin.partition(":")[0] for origin in stage["origins"]} <= {
        "machine", "teacher", "mined", "records",
    }  # fmt: skip
    assert record["temperature"] not in (None, 1.0)
    hashes = (out / "reranker" / "training_queries.txt").read_text(encoding="ascii").split()
    assert set(map(query_hash, ("mug", "belt"))) <= set(hashes)
    assert not {"kettle", "tent"} & set(learnt)
    assert set(hashes) == set(map(query_hash, ("kettle", "tent", *learnt)))
    whole.run(["reranker"])
    assert said[-1] == "reranker: done before"


def test_the_ranking_is_fitted_again_for_other_queries_without_an_answer_or_where_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[Path | None] = []

    def fit(*given: Path, unanswerable: Path | None, **_: object) -> None:
        fitted.append(unanswerable)
        given[3].mkdir(exist_ok=True)

    monkeypatch.setattr(ranking, "train_ranking", fit)
    monkeypatch.setattr(Whole, "_index", lambda *_: None)
    write_catalog(tmp_path / "shop.jsonl")
    (tmp_path / "queries.tsv").write_text("q1\tkettle\nq2\ttent\n")
    (tmp_path / "qrels.txt").write_text(JUDGED)
    sources = Sources.for_one_shop(
        tmp_path / "shop.jsonl",
        queries=tmp_path / "queries.tsv",
        judgments=tmp_path / "qrels.txt",
    )
    said: list[str] = []
    nothing = tmp_path / "nothing.txt"

    def run(unanswerable: Path | None = None) -> None:
        Whole(
            sources, "base", tmp_path / "out",
            progress=Silent(), say=said.append, unanswerable=unanswerable,
        ).run(["ranking"])  # fmt: skip

    run()
    run()
    assert fitted == [None]
    nothing.write_text("mortgage rates\n")
    run(nothing)
    nothing.write_text("flight to mars\n")
    run(nothing)
    run(nothing)
    assert fitted == [None, nothing, nothing]
    shutil.rmtree(tmp_path / "out" / "ranking")
    run(nothing)
    assert len(fitted) == 4
    assert said.count("ranking: done before") == 2
