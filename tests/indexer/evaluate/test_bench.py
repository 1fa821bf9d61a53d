"""The benchmark: its figures from given measurements, and a whole run on tiny models."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from engine.errors import EvaluationError
from engine.types import Product
from indexer.build import IndexOptions, index_catalog
from indexer.evaluate import peer_serving
from indexer.evaluate.bench import FUSED, RERANKED, Bench, BenchReport, write_products
from indexer.evaluate.bench_report import bench_to_json, bench_to_tables, draw_bench
from indexer.evaluate.cli import bench
from indexer.evaluate.load import Answers
from indexer.evaluate.peer_serving import read_products
from indexer.evaluate.peers import KEYWORD, ONNX, PEER, PEERS
from tests.checkpoints import PAIRS, PASSAGES, save_encoder
from tests.shop import PRODUCTS, write_catalog

_APP = typer.Typer()
_APP.command()(bench)


def answers(rate: float) -> Answers:
    return Answers([1 / rate] * 10, Counter({200: 10}), 10 / rate)


@pytest.fixture
def report() -> BenchReport:
    found = BenchReport("snapshot-1", 12, 2)
    rates = {PEER: ([1.0, 2.0], [1.5, 2.5]), RERANKED: ([10.0, 30.0], [15.0, 20.0])}
    rates[ONNX] = ([2.0, 4.0], [3.0, 5.0])
    rates[FUSED] = ([50.0, 100.0], [60.0, 100.0])
    for subject, (one, eight) in rates.items():
        found.search[subject] = {1: list(map(answers, one)), 8: list(map(answers, eight))}
        found.in_process[subject] = [0.01, 0.02]
        found.starts[subject] = [1.0, 2.0, 3.0]
        found.memory[subject] = 100.0
    found.index = {PEER: [10.0, 20.0], ONNX: [25.0, 40.0], RERANKED: [50.0, 80.0]}
    found.quality = {
        PEER: {"q1": 0.5, "q2": 0.7},
        ONNX: {"q1": 0.4, "q2": 0.6},
        RERANKED: {"q1": 0.6, "q2": 0.8},
        FUSED: {"q1": 0.6, "q2": 0.7},
    }
    found.overload = {"asked": 100.0, "failed": 0.0, "p99_ms": 300.0}
    return found


def test_ratios_are_taken_round_by_round(report: BenchReport) -> None:
    assert report.saturation(RERANKED) == pytest.approx([15.0, 30.0])
    ratios = report.ratios()
    assert ratios["search"].median == pytest.approx(11.0)
    assert (ratios["search"].low, ratios["search"].high) == pytest.approx((10.0, 12.0))
    assert ratios["search_fused"].median == pytest.approx(40.0)
    assert (ratios["index"].low, ratios["index"].high) == pytest.approx((4.0, 5.0))
    assert report.gain(RERANKED, FUSED)[0] == pytest.approx(0.05)


def test_ratios_are_taken_over_every_peer_that_was_measured(report: BenchReport) -> None:
    assert report.peers() == [PEER, ONNX]
    over = report.ratios(ONNX)
    assert over["search"].median == pytest.approx(5.5)
    assert (over["index"].low, over["index"].high) == pytest.approx((2.0, 2.0))


def test_json_has_the_ratios_and_what_they_are_made_of(report: BenchReport) -> None:
    found = json.loads(json.dumps(bench_to_json(report), allow_nan=False))
    assert found["ratios"] == pytest.approx({"search": 11.0, "search_fused": 40.0, "index": 4.5})
    assert found["ratios_over"].keys() == {ONNX}
    assert found["ratios_over"][ONNX]["search_fused"]["median"] == pytest.approx(20.0)
    assert found["latency_ms"][PEER]["1"]["p50"]["median"] == pytest.approx(750.0)
    assert found["searches_per_s"][RERANKED]["high"] == pytest.approx(30.0)
    assert found["ndcg@10"][PEER] == pytest.approx(0.6)
    assert found["ndcg@10_gain"]["daogou over peer"]["mean"] == pytest.approx(0.1)
    assert found["ndcg@10_gain"]["daogou over onnxruntime"]["mean"] == pytest.approx(0.2)


def test_tables_and_picture_show_them(report: BenchReport, tmp_path: Path) -> None:
    console = Console(width=160, record=True)
    with console.capture() as captured:
        console.print(bench_to_tables(report))
    text = captured.get()
    assert "11 [10, 12]" in text
    assert "5.5 [5, 6]" in text
    assert "+0.1000 (+0.1000 to +0.1000)" in text
    assert "p99 ms" in text
    draw_bench(report, tmp_path / "bench.svg")
    drawn = (tmp_path / "bench.svg").read_text(encoding="utf-8")
    assert "Searches a second" in drawn
    assert all(subject in drawn for subject in report.search)


def test_wrong_options_name_the_cure(tmp_path: Path) -> None:
    queries = tmp_path / "queries.txt"
    queries.write_text("\n \n", encoding="utf-8")
    (tmp_path / "folder.png").mkdir()
    for options, cure in (
        (["--queries", str(queries)], "has no query. Write one in each line"),
        (["--queries", str(tmp_path / "none")], "Name a text file"),
        (["--queries", str(queries), "--clients", "1,x"], "'x' is no number of clients"),
        (["--queries", str(queries), "--qrels", str(queries)], "theirs with --judged-queries"),
        *(
            (["--queries", str(queries), "--figure", str(tmp_path / name)], "folder that exists")
            for name in ("none/bench.png", "bench.doc", "folder.png", "queries.txt/bench.png")
        ),
    ):
        with pytest.raises(EvaluationError, match=cure):
            CliRunner().invoke(_APP, options, catch_exceptions=False)


def test_indexing_is_measured_by_the_catalog_that_is_named(
    shop_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read first: what is wrong with it shows before hours are spent."""

    def stop(_: Bench) -> None:
        raise EvaluationError("far enough")

    monkeypatch.setattr(Bench, "_prepare", stop)
    (tmp_path / "queries.txt").write_text("kettle\n", encoding="utf-8")
    work, other, empty = (tmp_path / name for name in ("work", "other.jsonl", "empty.jsonl"))
    other.write_text(
        "".join(f'{{"id": "o{each}", "title": "Lamp"}}\n' for each in range(5)), encoding="utf-8"
    )
    empty.write_text('{"id": "", "title": "Lamp"}\n', encoding="utf-8")

    def run(*options: object) -> list[str]:
        command = ["--store", shop_store, "--queries", tmp_path / "queries.txt", "--work", work]
        with pytest.raises(EvaluationError) as raised:
            CliRunner().invoke(_APP, list(map(str, [*command, *options])), catch_exceptions=False)
        (written,) = work.glob("*/some.jsonl")
        rows = map(json.loads, written.read_text(encoding="utf-8").splitlines())
        return [str(raised.value), *(row["id"] for row in rows)]

    assert run("--catalog", other, "--products", 3) == ["far enough", "o0", "o1", "o2"]
    assert run("--products", 2) == ["far enough", *(product.id for product in PRODUCTS[:2])]
    assert run("--catalog", empty) == [
        f"{empty} has no product to index. Name another with --catalog"
    ]


def test_products_that_were_cut_short_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run takes what lies in the folder of work."""

    def stopped() -> Iterator[Product]:
        yield PRODUCTS[0]
        raise KeyboardInterrupt

    def full(_source: Path, target: Path) -> None:
        target.write_text("{", encoding="utf-8")
        raise OSError("no space left")

    with pytest.raises(KeyboardInterrupt):
        write_products(tmp_path / "products.jsonl", stopped())
    assert not list(tmp_path.iterdir())
    given = tmp_path / "given.jsonl"
    assert write_products(given, PRODUCTS[:2]) == 2
    command = ["peer", "index", "--models", ".", "--products", str(given)]
    monkeypatch.setattr(sys, "argv", [*command, "--out", str(tmp_path / "index")])
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="no space left"):
        peer_serving.main(None, lambda *_: None, lambda *_: pytest.fail("it serves"))
    assert not list((tmp_path / "index").iterdir())


def test_a_product_with_any_line_break_is_one_line_to_peers(tmp_path: Path) -> None:
    product = replace(PRODUCTS[0], description="one\u2028two\x85three")
    write_products(tmp_path / "products.jsonl", [product])
    assert read_products(tmp_path / "products.jsonl") == [product.to_dict()]


@pytest.mark.slow
def test_a_whole_run_on_tiny_models(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the peer needs torch: pip install 'daogou[train]'")
    from indexer.export.recipe import export_encoder, export_token_reranker  # noqa: PLC0415
    from indexer.train import crossencoder  # noqa: PLC0415

    base = save_encoder(tmp_path / "tiny-bert")
    encoder = export_encoder(
        base, tmp_path / "encoder", calibration=PASSAGES, max_length=64, precision="fp32"
    ).folder
    crossencoder.save(tmp_path / "cross", *crossencoder.start(str(base)))
    reranker = export_token_reranker(
        tmp_path / "cross", encoder, tmp_path / "reranker", calibration=PAIRS, precision="fp32"
    ).folder
    store = tmp_path / "store"
    options = IndexOptions(encoder=encoder, reranker=reranker, ranking=None)
    index_catalog(write_catalog(tmp_path / "catalog.jsonl"), store, options)
    (tmp_path / "queries.txt").write_text("coffee mug\nkettle\ntent\n", encoding="utf-8")
    (tmp_path / "judged.tsv").write_text("q1\tgooseneck kettle\n", encoding="utf-8")
    (tmp_path / "qrels.txt").write_text("q1 0 k1 3\n", encoding="utf-8")
    command = ["--store", store, "--queries", tmp_path / "queries.txt"]
    command += ["--judged-queries", tmp_path / "judged.tsv", "--qrels", tmp_path / "qrels.txt"]
    command += ["--work", tmp_path / "work", "--clients", "1,2", "--seconds", "0.1"]
    command += ["--rounds", "1", "--starts", "0", "--products", "0", "--json"]
    command += ["--figure", tmp_path / "bench.png"]
    ran = CliRunner().invoke(_APP, list(map(str, command)), catch_exceptions=False)
    found = json.loads(ran.stdout)
    assert set(found["ratios"]) == {"search", "search_fused"}
    assert all(ratio > 0 for ratio in found["ratios"].values())
    installed = {peer.name for peer in PEERS if peer.installed()}
    assert installed >= {PEER, KEYWORD}
    assert set(found["ndcg@10"]) == installed | {RERANKED, FUSED}
    assert set(found["ratios_over"]) == installed - {PEER}
    assert found["ndcg@10"][KEYWORD] == 1.0
    assert found["ndcg@10"][FUSED] == 1.0
    assert found["overload"]["failed"] == 0
    assert (tmp_path / "bench.png").stat().st_size > 1_000
