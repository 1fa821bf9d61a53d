"""The model card (Mitchell et al. 2019) that stands beside an exported model."""

from __future__ import annotations

from engine.models.folder import EncoderInfo, ModelInfo
from engine.models.tokens import PASSAGE_TOKENS

_USES = {
    "encoder": "Encodes queries and product passages of one catalog into vectors whose dot product "
    "is their similarity. Read by `daogou index` and `daogou serve`.",
    "reranker": "Gives each pair of query and product passage the probabilities of ESCI's classes "
    "exact, substitute, complement and irrelevant. Read by `daogou serve`.",
}
_MEANINGS = {
    "cosine_min": "cosine with full precision, worst held-out text",
    "cosine_p1": "cosine with full precision, 1st percentile",
    "cosine_mean": "cosine with full precision, mean",
    "shift_max": "change of a class probability against full precision, worst held-out pair",
    "shift_mean": "change of a class probability against full precision, mean",
}


def card(info: ModelInfo) -> str:
    """The card of an exported model, as Markdown."""
    title = f"# {info.name}, {info.kind} of daogou in {info.precision}"
    sections = [
        title,
        _USES[info.kind],
        _table("What it is", _facts(info)),
        _table("Where it comes from", info.provenance),
        _table(
            "What quantisation cost",
            {_MEANINGS[name]: f"{value:.5f}" for name, value in info.quantisation.items()},
        ),
        _table("Files", {name: f"{entry.size:,} bytes" for name, entry in info.files.items()}),
        f"## Limits\n\n{_read(info)} What its base learned from its "
        "training text, unfairness included, it kept. Int8 was measured on texts like those it was "
        "calibrated on: for others (another language, another trade) measure again.",
    ]
    return "\n\n".join(sections) + "\n"


def _read(info: ModelInfo) -> str:
    """How much of a text it reads."""
    if isinstance(info, EncoderInfo) or not info.encoder:
        return f"It reads the first {info.max_length} tokens and no more."
    return (
        f"It reads the first {info.max_length} tokens of a query and, of a passage, what the "
        f"encoder made of the first {PASSAGE_TOKENS}; no other encoder can stand in for that one."
    )


def _facts(info: ModelInfo) -> dict[str, str]:
    facts = {"maximum length": f"{info.max_length} tokens", "precision": info.precision}
    if isinstance(info, EncoderInfo):
        facts |= {"vector": f"{info.dim} numbers, unit length", "pooling": info.pooling}
        facts |= {
            "query prefix": repr(info.query_prefix),
            "passage prefix": repr(info.passage_prefix),
        }
    else:
        facts |= {"labels": ", ".join(info.labels), "temperature": f"{info.temperature:g}"}
        facts |= {"reads the tokens of encoder": info.encoder} if info.encoder else {}
    return facts | {
        "passage template": info.passage_template,
        "fingerprint": info.fingerprint,
        "SHA-256 of the full-precision weights": info.weights,
    }


def _table(heading: str, rows: dict[str, str]) -> str:
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join([f"## {heading}", "", "| | |", "|---|---|", *lines])
