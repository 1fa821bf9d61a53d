from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from fastapi.testclient import TestClient

import daogou
from api.app import create_app
from api.schemas import SearchResponse
from engine.guide.guide import ShoppingGuide
from engine.settings import Settings
from tests.api.conftest import wait_until_ready

ROOT = Path(__file__).parents[2]

Run = Callable[..., "Outcome"]


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `daogou` in this process."""
    monkeypatch.setenv("COLUMNS", "100")

    def daogou_main(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["daogou", *arguments])
        with pytest.raises(SystemExit) as ended:
            daogou.main()
        return Outcome(int(ended.value.code or 0), *capsys.readouterr())

    return daogou_main


def test_json_is_what_the_api_answers(run: Run, shop_store: Path) -> None:
    done = run("search", "kettle for pour-over", "--store", str(shop_store), "-k", "2", "--json")
    app = create_app(lambda: ShoppingGuide.open(shop_store), Settings())
    with TestClient(app) as client:
        wait_until_ready(client)
        served = client.get("/v1/search", params={"q": "kettle for pour-over", "k": 2}).json()

    assert done.status == 0, done.err
    printed = json.loads(done.out)
    SearchResponse.model_validate(printed)
    for answer in (printed, served):
        del answer["timings"], answer["query_id"]
    assert printed == served
    assert printed["hits"][0]["product"]["id"] == "k1"


def test_the_table_shows_products_in_order(run: Run, shop_store: Path) -> None:
    done = run("search", "headphones", "--store", str(shop_store), "--filter", "brand=aurio")

    assert done.status == 0, done.err
    heading, first, *_ = done.out.splitlines()
    assert heading.split() == ["#", "title", "brand", "price", "score", "id"]
    assert "Aurio WH-900" in first
    assert "199.00 USD" in first
    assert "results" in done.out
    assert "Emberly" not in done.out


def test_hits_are_explained(run: Run, shop_store: Path) -> None:
    done = run("search", "red kettle", "--store", str(shop_store), "-k", "2", "--explain")

    assert done.status == 0, done.err
    assert "\n 1 matches: " in done.out


def test_more_hits_than_can_be_explained_exit_2(run: Run, shop_store: Path) -> None:
    done = run("search", "kettle", "--store", str(shop_store), "-k", "11", "--explain")

    assert done.status == 2
    assert "k=10" in done.err


def test_nothing_found_is_an_answer(run: Run, shop_store: Path) -> None:
    found = ("search", "kettle", "--store", str(shop_store), "--filter", "price>=100000")

    table, answer = run(*found), run(*found, "--json")

    assert (table.status, answer.status) == (0, 0)
    assert table.out.startswith("Nothing found.")
    assert json.loads(answer.out)["hits"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("search", "kettle", "--filter", "brnd=x"), "brnd"),
        (("search", "kettle", "--filter", "x"), "x"),
        (("search", "kettle", "-k", "0"), "-k"),
        (("search", "kettle", "--stage", "best"), "lexical"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_usage_exits_2_without_a_traceback(
    run: Run, shop_store: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = run(*arguments, "--store", str(shop_store))

    assert done.status == 2
    assert words in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


def test_serving_a_store_that_is_not_there_exits_2(tmp_path: Path) -> None:
    done = subprocess.run(  # a process of its own: serving sets up logging
        [sys.executable, "-m", "daogou", "serve", "--store", str(tmp_path / "none"), "--port", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert str(tmp_path / "none") in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_serving_at_a_taken_port_exits_2(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--port", str(port))

    assert done.status == 2
    assert f"cannot listen on 127.0.0.1:{port}" in done.err
    assert "--port" in done.err


def test_the_command_line_imports_nothing_heavy() -> None:
    code = "import api.cli, json, sys; print(json.dumps(sorted(sys.modules)))"
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout

    heavy = {"fastapi", "starlette", "uvicorn", "prometheus_client", "faiss", "openvino", "tantivy"}
    assert not heavy & set(json.loads(output))


def test_a_history_of_nothing_that_is_there_is_said(run: Run, shop_store: Path) -> None:
    found = run("recommend", "--history", "k1,nothing", "--store", str(shop_store), "-k", "3")
    assert (found.status, found.err) == (0, "")
    assert "bought by many" not in found.out

    lost = run("recommend", "--history", "nothing,neither", "--store", str(shop_store))
    assert lost.status == 2
    assert "has none of the products 'nothing,neither'" in lost.err


def test_more_results_than_are_counted_are_said_to_be_more(
    run: Run, shop_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.retrieval.matching.MOST", 2)
    done = run("search", "kettle", "--store", str(shop_store))
    assert "2+ results" in done.out
