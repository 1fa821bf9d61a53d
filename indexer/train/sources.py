"""What to train on, named in one TOML file or by the options of the command line.

    [[catalog]]
    name = "shop"                     # the `set` of label tables, and the name in model cards
    products = "catalog.jsonl"        # file or folder, as `daogou index` reads it
    layout = "auto"
    map = { title = "name" }
    queries = "queries.tsv"           # with qrels: judged by people
    qrels = "qrels.txt"
    grades = "classes"                # or "ratings", which only rank
    records = ["feedback.parquet"]
    unlabelled = "queries.txt"        # real queries, one a line
    licence = "ours"
    source = "our shop"

    [[catalog.labels]]
    file = "labels.csv"
    machine_made = true

    [[evidence]]
    file = "evidence.parquet"
    leave_out = ["test"]

Paths are relative to the file.
"""

from __future__ import annotations

import tomllib
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engine.errors import SettingsError
from engine.types import Product
from engine.understand import clean
from indexer.catalog import RejectLog, read_catalog

_NO_MAPPING: Mapping[str, str] = {}


class _Entry(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    licence: str = ""
    source: str = ""
    """Where it is from: both stand in model cards."""


_E = TypeVar("_E", bound=_Entry)


class LabelsEntry(_Entry):
    """A table of judged pairs."""

    file: Path
    machine_made: bool = False
    """By a language model: for training only, and said so in model cards."""
    weight: float = Field(default=1.0, gt=0, le=1)


class CatalogEntry(_Entry):
    """A catalog and what is known of queries for it."""

    name: str = Field(min_length=1)
    products: Path
    layout: str = "auto"
    map: dict[str, str] = Field(default_factory=dict)
    """Field → column, where columns are not named as our fields are."""
    queries: Path | None = None
    qrels: Path | None = None
    grades: Literal["classes", "ratings"] = "classes"
    labels: tuple[LabelsEntry, ...] = ()
    records: tuple[Path, ...] = ()
    unlabelled: Path | None = None

    @model_validator(mode="after")
    def _judged_together(self) -> Self:
        if (self.queries is None) != (self.qrels is None):
            raise ValueError("queries and qrels belong together: give both or neither")
        return self


class EvidenceEntry(_Entry):
    """A table of questions and texts that answer them or do not."""

    file: Path
    leave_out: tuple[str, ...] = ()
    """Values of its column `set` that are not read."""


class Sources(BaseModel):
    """Everything to train on. Every path is absolute or as the caller gave it, and exists."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    catalog: tuple[CatalogEntry, ...] = Field(min_length=1)
    evidence: tuple[EvidenceEntry, ...] = ()

    @model_validator(mode="after")
    def _named_apart(self) -> Self:
        names = [entry.name for entry in self.catalog]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two catalogs are named {twice[0]!r}: give each its own name")
        return self

    @classmethod
    def for_one_shop(
        cls,
        catalog: Path,
        *,
        queries: Path | None = None,
        judgments: Path | None = None,
        records: Sequence[Path] = (),
        labels: Sequence[Path] = (),
        unlabelled: Path | None = None,
        layout: str = "auto",
        mapping: Mapping[str, str] = _NO_MAPPING,
        grades: Literal["classes", "ratings"] = "classes",
    ) -> Sources:
        """What the options of the command line name; the catalog is called as its file.

        Raises:
            SettingsError: a file is missing, or one of queries and judgments.
        """
        given = {
            "name": catalog.resolve().name.split(".")[0] or "shop",
            "products": catalog,
            "layout": layout,
            "map": dict(mapping),
            "queries": queries,
            "qrels": judgments,
            "grades": grades,
            "records": tuple(records),
            "labels": tuple({"file": path} for path in labels),
            "unlabelled": unlabelled,
        }
        return _checked({"catalog": [given]}, "the options", Path())


def load_sources(path: Path) -> Sources:
    """What a TOML file names; see the top of this module for its form.

    Raises:
        SettingsError: the file cannot be read, a key is unknown, missing or ill-typed, or a file
            it names does not exist; the message names file and key.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}). Check the path") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8 ({error.reason}). Save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is no TOML file: {error}. Correct that line") from error
    return _checked(given, str(path), path.parent)


def read_products(entry: CatalogEntry) -> list[Product]:
    """The products of a catalog; rows that cannot be read are left out, as `daogou index` does.

    Raises:
        CatalogError: the catalog cannot be read.
    """
    with RejectLog(None) as rejects:
        return list(
            read_catalog(entry.products, layout=entry.layout, mapping=entry.map, rejects=rejects)
        )


def read_unlabelled(entry: CatalogEntry) -> list[str]:
    """The real queries of a catalog, as the models read them, each once; none where none are named.

    Raises:
        SettingsError: the file cannot be read.
    """
    return read_lines(entry.unlabelled) if entry.unlabelled else []


def read_lines(path: Path) -> list[str]:
    """The queries of a file, one a line, as the models read them, each once.

    Raises:
        SettingsError: the file cannot be read, or is not UTF-8; it names the line.
    """
    try:
        lines = path.read_bytes().removeprefix(BOM_UTF8).split(b"\n")
    except OSError as error:
        raise SettingsError(
            f"the queries in {path} cannot be read ({error.strerror}). Check the path"
        ) from error
    found: dict[str, None] = {}
    for number, line in enumerate(lines, start=1):
        try:
            found[clean(line.decode("utf-8"))] = None
        except UnicodeDecodeError as error:
            raise SettingsError(
                f"the queries in {path} cannot be read: line {number} is not UTF-8 "
                f"({error.reason}). Write one query a line, in UTF-8"
            ) from error
    return [query for query in found if query]


def _checked(given: Mapping[str, Any], origin: str, folder: Path) -> Sources:
    """The sources, their paths resolved against the folder and found to exist.

    Raises:
        SettingsError: a value cannot be used; it names the place.
    """
    try:
        sources = Sources.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsError(
            f"{origin}{_key(first['loc'])}: {first['msg'].removeprefix('Value error, ')}. "
            f"{_CURES.get(first['type'], 'Correct it')}"
        ) from error
    catalogs = tuple(
        _located(entry, folder, f"{origin}, catalog {entry.name!r}") for entry in sources.catalog
    )
    evidence = tuple(
        _located(entry, folder, f"{origin}, evidence {number}")
        for number, entry in enumerate(sources.evidence, start=1)
    )
    return Sources(catalog=catalogs, evidence=evidence)


_CURES = {
    "extra_forbidden": "Check its spelling, or take it out",
    "missing": "Add it",
}


def _key(location: Sequence[str | int]) -> str:
    """A key in words: `, catalog 2, key products`."""
    parts = [str(part + 1) if isinstance(part, int) else part for part in location]
    return f", key {'.'.join(parts)}" if parts else ""


def _located(entry: _E, folder: Path, place: str) -> _E:
    """The entry with every path of it resolved against the folder."""

    def locate(key: str, value: object) -> object:
        match value:
            case Path():
                if not (folder / value).exists():
                    raise SettingsError(
                        f"{place}, key {key}: {folder / value} does not exist. Correct the path; "
                        "it is relative to the file that names it"
                    )
                return folder / value
            case _Entry():
                return _located(value, folder, f"{place}, key {key}")
            case tuple():
                return tuple(locate(key, item) for item in value)
            case _:
                return value

    return entry.model_copy(update={key: locate(key, value) for key, value in entry})
