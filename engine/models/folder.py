"""A model folder: what a serving model says of itself, and whether its files are whole.

model.json       what is written below
tokenizer.json   the tokenizer, as the `tokenizers` library reads it
model.xml, .bin  graph and weights, as the inference runtime reads them
README.md        the model card
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal, overload

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from engine.checksums import FileEntry, sha256_of
from engine.errors import ModelError
from engine.text import PASSAGE_TEMPLATE

INFO_FILE = "model.json"
TOKENIZER_FILE = "tokenizer.json"
GRAPH_FILE = "model.xml"
WEIGHTS_FILE = "model.bin"

Precision = Literal["fp32", "int8"]
Pooling = Literal["mean", "cls"]


class _Info(BaseModel):
    """What encoder and reranker have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    name: str
    max_length: int = Field(ge=16, multiple_of=16)
    """Tokens read of a text or pair; the rest is cut off. A multiple of 16, as sequences are padded
    to one: see `LENGTH_STEP` of the runtime."""
    precision: Precision
    weights: str
    """SHA-256 over the full-precision weights it was exported from, whatever its precision."""
    passage_template: str
    fingerprint: str
    """What `fingerprint_of` gave at export."""
    files: dict[str, FileEntry]
    provenance: dict[str, str] = {}
    quantisation: dict[str, float] = {}
    """What quantisation cost, against full precision on texts it was not calibrated on."""


class EncoderInfo(_Info):
    """A bi-encoder. Pooling and normalisation are part of the graph."""

    kind: Literal["encoder"] = "encoder"
    dim: int = Field(ge=1)
    pooling: Pooling
    query_prefix: str = ""
    passage_prefix: str = ""


class RerankerInfo(_Info):
    """A cross-encoder classifier. The graph gives logits."""

    kind: Literal["reranker"] = "reranker"
    labels: tuple[str, str, str, str]
    """Names of `Relevance` in the order of the logits."""
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Logits are divided by it before the softmax (Guo et al. 2017)."""
    encoder: str = ""
    """Fingerprint of the encoder whose tokens of passages it reads; empty where it reads texts in
    pairs. `max_length` counts the tokens of a query then."""


ModelInfo = EncoderInfo | RerankerInfo
_ADAPTER: TypeAdapter[ModelInfo] = TypeAdapter(Annotated[ModelInfo, Field(discriminator="kind")])

_NOT_IDENTITY = {"name", "precision", "fingerprint", "files", "provenance", "quantisation"}
"""What may differ between two exports of one model whose vectors are comparable."""


def fingerprint_of(info: ModelInfo) -> str:
    """Hex digest of all that decides what the model computes, precision aside."""
    identity = info.model_dump(mode="json", exclude=_NOT_IDENTITY)
    identity["tokenizer"] = info.files[TOKENIZER_FILE].sha256
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


@overload
def read_model_info(folder: Path, *, kind: Literal["encoder"]) -> EncoderInfo: ...
@overload
def read_model_info(folder: Path, *, kind: Literal["reranker"]) -> RerankerInfo: ...
@overload
def read_model_info(folder: Path, *, kind: str) -> ModelInfo: ...
def read_model_info(folder: Path, *, kind: str) -> ModelInfo:
    """What the model in `folder` says of itself, checked against its files.

    Sizes are checked for every file and bytes for all but the weights: see `verify_model`.

    Raises:
        ModelError: the folder is missing, of another kind, damaged, or made for other passages.
    """
    info = _parse(folder)
    if info.kind != kind:
        raise ModelError(
            f"{folder} holds a model of kind {info.kind!r}, not {kind!r}. "
            "Name a folder that holds one."
        )
    _check_files(folder, info, every_byte=False)
    if info.fingerprint != fingerprint_of(info):
        raise ModelError(f"{folder / INFO_FILE} was edited: its fingerprint does not fit. {_CURE}")
    if info.passage_template != PASSAGE_TEMPLATE:
        raise ModelError(
            f"{folder} was exported for passages {info.passage_template!r}, this daogou writes "
            f"{PASSAGE_TEMPLATE!r}. If it is a store's, index its catalog again with "
            "`daogou index`; if it is your own, export it again with `daogou export`."
        )
    return info


def verify_model(folder: Path) -> ModelInfo:
    """Check every byte of the model in `folder`; returns what it says of itself.

    Raises:
        ModelError: a file is missing or altered; the message names it.
    """
    info = read_model_info(folder, kind=_parse(folder).kind)
    _check_files(folder, info, every_byte=True)
    return info


_CURE = "Export the model again with `daogou export`, or reinstall daogou if it is the shipped one."


def _parse(folder: Path) -> ModelInfo:
    path = folder / INFO_FILE
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelError(
            f"{folder} is not a model folder: it has no {INFO_FILE}. {_CURE}"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(
            f"{path} is damaged or of another version: {where}: {first['msg']}. {_CURE}"
        ) from error


def _check_files(folder: Path, info: ModelInfo, *, every_byte: bool) -> None:
    missing = {TOKENIZER_FILE, GRAPH_FILE, WEIGHTS_FILE} - info.files.keys()
    if missing:
        raise ModelError(
            f"{folder / INFO_FILE} does not list {', '.join(sorted(missing))}. {_CURE}"
        )
    for name, record in info.files.items():
        path = folder / name
        if not path.is_file():
            raise ModelError(f"{path} is missing. {_CURE}")
        if path.stat().st_size != record.size:
            raise ModelError(
                f"{path} has {path.stat().st_size} bytes, not {record.size}: it is damaged. {_CURE}"
            )
        if (every_byte or name != WEIGHTS_FILE) and sha256_of(path) != record.sha256:
            raise ModelError(f"{path} was altered: its SHA-256 is not the one recorded. {_CURE}")
