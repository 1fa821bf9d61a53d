from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import unicodedata
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import pytest
from fastapi.testclient import TestClient
from structlog.typing import EventDict

from api.app import create_app
from api.denial import deny_alike
from api.phrasing import Phraser, supported
from api.schemas_ask import AskResponse
from engine.errors import SettingsError
from engine.settings import Settings, load_settings
from tests.api.conftest import wait_until_ready
from tests.api.fakes import FakeEngine


def test_a_question_on_a_product(client: TestClient) -> None:
    response = client.post("/v1/ask", json={"question": "is it light?", "products": ["S-1"]})
    assert response.status_code == 200
    answer = AskResponse.model_validate(response.json())
    (one,) = answer.answers
    assert one.answered
    assert (one.evidence[0].text, one.evidence[0].field) == ("Light and quick.", "description")
    assert (one.evidence[0].start, one.evidence[0].end) == (0, 16)
    assert answer.phrased is None


def test_products_side_by_side(client: TestClient) -> None:
    body = {"question": "which is cheaper?", "products": ["S-1", "S-2"]}
    answer = AskResponse.model_validate(client.post("/v1/ask", json=body).json())
    assert answer.comparison is not None
    assert answer.comparison.rows["price"] == [79.5, 49.0]


def test_advice(client: TestClient) -> None:
    body = {"question": "under 60", "before": ["running shoes"], "k": 1}
    answer = AskResponse.model_validate(client.post("/v1/ask", json=body).json())
    assert [one.product.id for one in answer.suggestions] == ["S-2"]
    assert answer.needs is not None
    assert answer.needs.constraints[0].high == 60
    assert answer.suggestions[0].checked[0].met is None


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"question": ""}, 422),
        ({"question": "x" * 20_000}, 422),
        ({"question": "x", "k": 99}, 422),
        ({"question": "x", "products": [""]}, 422),
        ({"question": "x", "products": ["nothing"]}, 404),
        ({"question": "x", "before": ["y"] * 21}, 422),
        ({"question": "x", "shopper": "y"}, 422),
        ({"question": "x", "filters": {"wheels": 4}}, 422),
    ],
)
def test_what_cannot_be_asked_is_refused(
    client: TestClient, body: dict[str, Any], status: int
) -> None:
    assert client.post("/v1/ask", json=body).status_code == status


class StandIn(BaseHTTPRequestHandler):
    """A chat endpoint that says what it is told to."""

    says = ""
    status = 200
    asked: ClassVar[list[dict[str, Any]]] = []
    keys: ClassVar[list[str | None]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).asked.append(body)
        type(self).keys.append(self.headers["Authorization"])
        answer = {"choices": [{"message": {"role": "assistant", "content": self.says}}]}
        content = json.dumps(answer).encode() if self.status == 200 else b"no"
        self.send_response(self.status)
        if self.status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        type(self).keys.append(self.headers["Authorization"])
        self.send_error(404)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401
        """Nothing."""


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), StandIn)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    StandIn.asked, StandIn.keys, StandIn.status = [], [], 200
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def phrasing(engine: FakeEngine, endpoint: str) -> Iterator[TestClient]:
    settings = load_settings(llm_url=endpoint, llm_key="secret", llm_timeout_ms=2_000)
    with TestClient(create_app(lambda: engine, settings)) as client:
        wait_until_ready(client)
        yield client


ASKED = {"question": "is it light?", "products": ["S-1"]}


def test_an_answer_is_phrased_from_the_evidence_alone(phrasing: TestClient) -> None:
    StandIn.says = "It is light and quick. It weighs 212 g. It is not light. Buy two!"
    phrased = phrasing.post("/v1/ask", json=ASKED).json()["phrased"]
    assert phrased == {"text": "It is light and quick.", "dropped": 3}
    assert StandIn.keys == ["Bearer secret"]
    sent = StandIn.asked[0]["messages"][1]["content"]
    assert "Light and quick." in sent
    assert "is it light?" in sent


@pytest.mark.parametrize(
    "said",
    [b"garbage not http\r\n\r\n", b"", b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 100_000],
    ids=["garbage", "nothing", "nested"],
)
def test_an_endpoint_that_says_nothing_of_use_costs_the_phrasing_only(
    engine: FakeEngine, said: bytes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        settings = load_settings(llm_url=url, llm_timeout_ms=2_000)
        with TestClient(create_app(lambda: engine, settings)) as client:
            wait_until_ready(client)
            answered = client.post("/v1/ask", json=ASKED)
        thread.join()
    assert (answered.status_code, answered.json()["phrased"]) == (200, None)


@pytest.mark.parametrize(
    "begun",
    [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"],
    ids=["status", "headers", "content"],
)
def test_an_endpoint_that_answers_by_drops_is_late(
    engine: FakeEngine, logged: list[EventDict], begun: bytes
) -> None:
    all_sent = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65_536)
                connection.sendall(begun)
                for _ in range(60):
                    connection.sendall(b"H")
                    time.sleep(0.05)
                all_sent.set()

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        phraser = Phraser(url, "default", "", timeout=0.3)
        assert phraser.phrase(engine.ask("is it light?", products=["S-1"])) is None
        assert not all_sent.is_set()
        assert [one["kind"] for one in logged] == ["TimeoutError"]
        thread.join()


def test_no_key_is_sent_elsewhere(phrasing: TestClient) -> None:
    StandIn.status = 302
    assert phrasing.post("/v1/ask", json=ASKED).json()["phrased"] is None
    assert StandIn.keys == ["Bearer secret"]


def test_what_nothing_supports_is_not_shown(phrasing: TestClient) -> None:
    StandIn.says = "It is made of carbon."
    assert phrasing.post("/v1/ask", json=ASKED).json()["phrased"] is None


def test_where_the_catalog_does_not_say_nothing_is_phrased(phrasing: TestClient) -> None:
    answer = phrasing.post("/v1/ask", json=ASKED | {"products": ["S-2"]}).json()
    assert answer["phrased"] is None
    assert StandIn.asked == []


def test_an_endpoint_that_fails_costs_the_phrasing_only(phrasing: TestClient) -> None:
    StandIn.status = 500
    answer = phrasing.post("/v1/ask", json=ASKED).json()
    assert answer["phrased"] is None
    assert answer["answers"][0]["answered"]


def test_an_endpoint_that_is_gone_costs_the_phrasing_only(engine: FakeEngine) -> None:
    settings = load_settings(llm_url="http://127.0.0.1:9/v1", llm_timeout_ms=500)
    with TestClient(create_app(lambda: engine, settings)) as client:
        wait_until_ready(client)
        assert client.post("/v1/ask", json=ASKED).json()["phrased"] is None


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="llm_url"):
        load_settings(llm_url="file:///etc/passwd")
    assert Settings().llm_url == ""


@pytest.mark.parametrize(
    ("sentence", "held"),
    [
        ("The capacity is 1.7 l.", True),
        ("The capacity is 2 l.", False),
        ("It is dishwasher safe.", False),  # the statement denies it
        ("It is not dishwasher safe.", True),
        ("It is not cordless.", False),
        ("The kettle is cordless.", True),
        ("It was made in Portugal by happy people.", False),
        ("Yes.", False),
        ("", False),
    ],
)
def test_a_sentence_needs_a_statement(sentence: str, held: bool) -> None:
    statements = ["capacity: 1.7 l", "cordless: yes", "Not dishwasher safe."]
    assert supported(sentence, [("Bramwick Kettle", statements)]) is held


DENIALS = [
    ("The shoes are waterproof.", "The shoes aren’t waterproof."),
    ("这款鞋防水。", "这款鞋不防水。"),
    ("这款鞋有鞋带。", "这款鞋没有鞋带。"),
    ("這款鞋含塑膠。", "這款鞋無塑膠。"),
    ("防水：是", "防水：否"),
    ("この靴は防水です。", "この靴は防水ではありません。"),
    ("食洗機で洗える。", "食洗機で洗えない。"),
    ("この靴は食洗機対応です。", "この靴は食洗機非対応です。"),
    ("이 신발은 방수입니다.", "이 신발은 방수가 아닙니다."),
    ("이 신발은 방수가 됩니다.", "이 신발은 방수가 안 됩니다."),
    ("끈이 있습니다.", "끈이 없습니다."),
    ("Die Schuhe sind wasserdicht.", "Die Schuhe sind nicht wasserdicht."),
    ("Die Schuhe haben einen Absatz.", "Die Schuhe haben keinen Absatz."),
    ("Les chaussures sont imperméables.", "Les chaussures ne sont pas imperméables."),
    ("Le sac peut être lavé en machine.", "Le sac ne peut être lavé en machine."),
    ("Piles incluses dans la boîte.", "Piles non incluses dans la boîte."),
    ("Los zapatos son impermeables.", "Los zapatos no son impermeables."),
    ("Los zapatos llevan cordones.", "Los zapatos van sin cordones."),
    ("Os sapatos são impermeáveis.", "Os sapatos não são impermeáveis."),
    ("O estojo cabe no bolso.", "O estojo não cabe no bolso."),
    ("Le scarpe sono impermeabili.", "Le scarpe non sono impermeabili."),
    ("Il cavo è compreso.", "Il cavo non è compreso."),
    ("De schoenen zijn waterdicht.", "De schoenen zijn niet waterdicht."),
    ("De schoenen hebben een hak.", "De schoenen hebben geen hak."),
    ("Туфли водонепроницаемые.", "Туфли не водонепроницаемые."),
    ("В комплекте есть шнурки.", "В комплекте нет шнурков."),
    ("Te buty są wodoodporne.", "Te buty nie są wodoodporne."),
    ("Sapato leve e quente.", unicodedata.normalize("NFD", "Sapato não leve e quente.")),
    ("Buty ze sznurówkami.", "Buty bez sznurówek."),
]


@pytest.mark.parametrize(("asserted", "denied"), DENIALS)
def test_a_denial_needs_one_in_its_own_language(asserted: str, denied: str) -> None:
    assert supported(asserted, [("Kettle", [asserted])])
    assert supported(denied, [("Kettle", [denied])])
    assert not supported(denied, [("Kettle", [asserted, asserted])])
    assert not supported(asserted, [("Kettle", [denied, denied])])
    assert not deny_alike(asserted, denied)


@pytest.mark.parametrize(
    ("asserted", "denied"),
    [
        ("不锈钢保温杯，可以放洗碗机。", "不锈钢保温杯，不可以放洗碗机。"),
        ("无线耳机，非常轻，防水。", "无线耳机，非常轻，不防水。"),
        ("無線イヤホンは防水です。", "無線イヤホンは防水ではありません。"),
        ("洗わなければならない靴です。", "洗わなければならない靴ではありません。"),
        ("방수일 뿐만 아니라 가볍습니다.", "방수가 아닙니다."),
        ("가방 안 주머니는 방수입니다.", "가방 안 주머니는 방수가 아닙니다."),
        ("Noch leichter, ab Mai im Handel.", "Nicht leichter, ab Mai im Handel."),
        ("Casque sans fil étanche.", "Casque sans fil pas étanche."),
        ("Non slip sole, non-toxic, washable.", "Non slip sole, non-toxic, not washable."),
        ("Comic Sans Serif, washable.", "Comic Sans Serif, not washable."),
        ("Ni-MH cells, rechargeable.", "Ni-MH cells, not rechargeable."),
        ("Buty w kolorze beż, wodoodporne.", "Buty w kolorze beż, nie są wodoodporne."),
    ],
)
def test_a_word_that_looks_like_a_denial_is_none(asserted: str, denied: str) -> None:
    assert not deny_alike(asserted, denied)
    assert deny_alike(asserted, "wasserdicht")
