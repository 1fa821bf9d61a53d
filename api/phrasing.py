"""A language model may phrase an answer. What it says beyond the evidence is left out.

It is asked by OpenAI's chat completions interface, which local servers (llama.cpp, vLLM, Ollama)
speak as well. It sees the question and the evidence, nothing of the shopper, and nothing else of
the catalog.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import structlog

from api.denial import deny_alike
from api.exchange import post
from engine.analysis import STOPWORDS, analyze
from engine.guide.consult import Consultation
from engine.settings import Settings

_PROMPT = """\
You advise a shopper. Answer the question in at most four short sentences, in its language, from
the statements alone, in their own words as far as you can. Say so where they do not answer. Add
nothing that no statement says."""
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
_SUPPORTED = 0.6  # share of a sentence's words that one product's statements and name must hold
_REPLIES = {"yes", "no"}
_MOST_BYTES = 1_000_000
_FAILURES = (
    OSError, http.client.HTTPException,  # no answer
    ValueError, RecursionError,  # none in JSON
    KeyError, IndexError, TypeError,  # of another shape
)  # fmt: skip

Sources = Sequence[tuple[str, Sequence[str]]]
"""By product, its name and the statements of the catalog that an answer rests on."""

log = structlog.get_logger("daogou.api")


class Phraser:
    """Has answers phrased by a chat endpoint."""

    def __init__(self, url: str, model: str, key: str, timeout: float) -> None:
        """Prepare; nothing is sent yet.

        Args:
            url: of the chat completions, or of what they lie under (`http://…/v1`).
            model: name that the endpoint knows it by.
            key: sent as bearer token; empty sends none.
            timeout: seconds that an answer may take.
        """
        base = url.rstrip("/")
        self._url = base if base.endswith("/chat/completions") else f"{base}/chat/completions"
        self._model, self._key, self._timeout = model, key, timeout

    def phrase(self, found: Consultation) -> dict[str, Any] | None:
        """The answer in the model's words, as `PhrasedBody`; None where there is none to be had.

        An endpoint that fails, is late or says nothing supported costs the phrasing only.
        """
        sources = list(_sources(found))
        if not sources:
            return None
        try:
            text = self._complete(found.question, sources)
        except _FAILURES as error:
            log.warning("answer not phrased", kind=type(error).__name__, error=str(error))
            return None
        sentences = [one.strip() for one in _SENTENCE.split(text) if one.strip()]
        kept = [one for one in sentences if supported(one, sources)]
        if not kept:
            return None
        return {"text": " ".join(kept), "dropped": len(sentences) - len(kept)}

    def _complete(self, question: str, sources: Sources) -> str:
        """What the endpoint answers; raises what can go wrong on the way."""
        statements = "\n".join(
            f"{name}:\n" + "\n".join(f"- {statement}" for statement in said)
            for name, said in sources
        )
        body = {
            "model": self._model,
            "temperature": 0,
            "messages": [
                {"role": "system", "content": _PROMPT},
                {"role": "user", "content": f"Question: {question}\n\nStatements:\n{statements}"},
            ],
        }
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        sent = json.dumps(body).encode()
        answer = json.loads(post(self._url, sent, headers, timeout=self._timeout, most=_MOST_BYTES))
        return str(answer["choices"][0]["message"]["content"])


def phraser_of(settings: Settings) -> Phraser | None:
    """The phraser that the settings name, if any."""
    if not settings.llm_url:
        return None
    key = settings.llm_key.get_secret_value()
    return Phraser(settings.llm_url, settings.llm_model, key, settings.llm_timeout_ms / 1000)


def supported(sentence: str, sources: Sources) -> bool:
    """Whether the statements on one product say what the sentence says.

    Every number of it and most of its words stand there, and it denies something only where the
    statement nearest to it does, and asserts only where that does not deny. The question's own
    words count like any others: that something was asked does not make it so.
    """
    terms = {term for term in analyze(sentence) if term not in STOPWORDS and term not in _REPLIES}
    if not terms:
        return False
    numbers = {term for term in terms if any(char.isdigit() for char in term)}
    for name, said in sources:
        of_each = [set(analyze(statement)) for statement in said]
        there = set(analyze(name)).union(*of_each)
        nearest = max(range(len(said)), key=lambda place: len(terms & of_each[place]))
        agrees = deny_alike(sentence, said[nearest])
        if agrees and numbers <= there and len(terms & there) >= _SUPPORTED * len(terms):
            return True
    return False


def _sources(found: Consultation) -> Iterator[tuple[str, list[str]]]:
    """By product, the statements of the catalog that the answer rests on."""
    for answer in found.answers:
        if answer.answered:
            yield answer.product.title, [one.piece.text for one in answer.evidence]
    for suggestion in found.suggestions:
        said = [piece.text for one in suggestion.checked for piece in one.evidence]
        yield suggestion.product.title, list(dict.fromkeys([suggestion.product.title, *said]))
