from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.routes.page import WEB

SOURCES = {"href", "src", "action", "srcset", "poster"}


class Elements(HTMLParser):
    """Collects (tag, attributes) of every element."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def elements(client: TestClient) -> list[tuple[str, dict[str, str | None]]]:
    return Elements(client.get("/").text).found


def test_the_page_is_served_under_a_strict_policy(client: TestClient) -> None:
    response = client.get("/")
    policy = dict(
        part.strip().split(" ", 1)
        for part in response.headers["Content-Security-Policy"].split(";")
    )

    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"


def test_nothing_is_inline_and_nothing_comes_from_elsewhere(
    client: TestClient, elements: list[tuple[str, dict[str, str | None]]]
) -> None:
    for tag, attributes in elements:
        assert tag != "style"
        assert tag != "script" or attributes.get("src")
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in SOURCES & set(attributes):
            address = attributes[name] or ""
            assert address.startswith("/")
            assert not address.startswith("//")
            assert client.get(address).status_code == 200


def test_the_script_never_writes_markup() -> None:
    script = (WEB / "assets" / "app.js").read_text(encoding="utf-8")

    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)
    assert not re.search(r"https?://", script)


def run_in_node(script: str) -> Any:  # noqa: ANN401 - what it prints, from JSON
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def function(name: str) -> str:
    """The source of one of the page's functions."""
    script = (WEB / "assets" / "app.js").read_text(encoding="utf-8")
    found = re.search(rf"^(?:async )?function {name}\(.*?^}}", script, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[0]


needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node runs the page's script")


BROWSER = """
const element = new Proxy(() => {}, { get: () => element, apply: () => element, set: () => true });
const asked = [];
Object.assign(globalThis, {
  document: element, location: { hash: HASH }, addEventListener: () => {},
  fetch: (address, given) => asked.push([address, given?.body]) && new Promise(() => {}),
});
process.on("exit", () => console.log(JSON.stringify(asked)));
"""
"""A page of nothing, whose requests are noted and never answered."""


@needs_node
@pytest.mark.parametrize("field", ["constructor", "toString", "__proto__", "brand"])
def test_a_filter_may_be_called_anything(field: str) -> None:
    script = (WEB / "assets" / "app.js").read_text(encoding="utf-8")
    browser = BROWSER.replace("HASH", json.dumps(f"#q=x&f.{field}=1&f.{field}=2"))
    search, greeting = run_in_node(browser + script)

    assert greeting == ["/readyz", None]
    assert search[0] == "/v1/search"
    assert json.loads(search[1])["filters"] == {field: ["1", "2"]}


GIVEN_UP = [
    ({}, ["price=..4"], {}, True),
    ({"brand": ["Fern"], "color": ["Nope"]}, ["color=Nope"], {"brand": ["Fern"]}, False),
    ({"brand": ["Fern", "Oak and Sons"]}, ["brand=Fern or brand=Oak and Sons"], {}, False),
    ({"brand": ["Fern"], "color": ["Red"]}, ["brand=Fern", "color=Red"], {}, False),
    (
        {"brand": ["Fern and Oak"], "color": ["Red"]},
        ["brand=Fern and Oak"],
        {"color": ["Red"]},
        False,
    ),
    ({"brand": ["Fern"]}, ["brand=Fern", "color!=black"], {}, True),
]


@needs_node
@pytest.mark.parametrize(("chosen", "given_up", "left", "as_typed"), GIVEN_UP)
def test_what_is_given_up_is_dropped_and_nothing_else(
    chosen: dict[str, list[str]], given_up: list[str], left: dict[str, list[str]], *, as_typed: bool
) -> None:
    run = (
        f"const state = {{filters: new Map(Object.entries({json.dumps(chosen)})), asTyped: false}};"
        f"{function('giveUp')}giveUp({json.dumps(given_up)});"
        "console.log(JSON.stringify({...state, filters: Object.fromEntries(state.filters)}))"
    )

    assert run_in_node(run) == {"filters": left, "asTyped": as_typed}


@needs_node
@pytest.mark.parametrize(
    ("hits", "said"),
    [
        ([{"product": {"id": "S-1"}, "explanation": {"summary": "by boots"}}], "by boots"),
        ([{"product": {"id": "S-1"}, "explanation": {"summary": ""}}], "by no word in particular"),
        (
            [{"product": {"id": "S-2"}, "explanation": {"summary": "by boots"}}],
            "The results have changed. Search again.",
        ),
        ([], "The results have changed. Search again."),
    ],
)
def test_no_other_product_is_explained(hits: list[dict[str, Any]], said: str) -> None:
    run = (
        f"const ask = async () => ({{hits: {json.dumps(hits)}}}), request = () => ({{}});"
        "const lines = [], line = {replaceChildren: (words) => lines.push(words)};"
        f"{function('explain')}"
        "explain(line, 'S-1', 3).then(() => console.log(JSON.stringify(lines)))"
    )

    assert run_in_node(run) == ["…", said]


def test_every_field_has_a_label(elements: list[tuple[str, dict[str, str | None]]]) -> None:
    labelled = {attributes.get("for") for tag, attributes in elements if tag == "label"}
    fields = {attributes.get("id") for tag, attributes in elements if tag == "input"}

    assert fields
    assert fields <= labelled


def test_assets_are_cached_by_their_content(client: TestClient) -> None:
    first = client.get("/assets/app.js")
    again = client.get("/assets/app.js", headers={"If-None-Match": first.headers["ETag"]})

    assert first.headers["Content-Type"].startswith("text/javascript")
    assert again.status_code == 304
