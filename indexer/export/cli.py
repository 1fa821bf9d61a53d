"""`daogou export`: a checkpoint of any origin, into the form that serves."""

from __future__ import annotations

import random
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.errors import CatalogError

if TYPE_CHECKING:
    from indexer.export.recipe import ExportReport

SAMPLE = 700
"""Texts taken of each source: more move the ranges of int8 no further."""

export = typer.Typer(help="Turn a checkpoint into a serving model.", no_args_is_help=True)


class Precision(StrEnum):
    """How exactly weights are kept."""

    INT8 = "int8"
    FP32 = "fp32"


Base = Annotated[str, typer.Argument(help="Hugging Face id, or folder of a checkpoint.")]
Out = Annotated[Path, typer.Option(help="Folder to write.")]
Calibration = Annotated[
    list[Path] | None,
    typer.Option(help="Text file, one text a line, as the model will read them; repeatable."),
]
MaxLength = Annotated[
    int, typer.Option(min=16, max=512, help="Tokens read of a text, a multiple of 16.")
]
Exactness = Annotated[Precision, typer.Option(help="int8, or fp32 to keep every bit.")]
Name = Annotated[str, typer.Option(help="What to call the model; its base's name if left out.")]
Provenance = Annotated[
    list[str] | None, typer.Option(metavar="KEY=TEXT", help="Line for the model card; repeatable.")
]


@export.command()
def encoder(
    base: Base,
    *,
    out: Out,
    catalog: Annotated[
        list[Path] | None, typer.Option(help="Catalog whose passages to calibrate on; repeatable.")
    ] = None,
    calibration: Calibration = None,
    max_length: MaxLength = 128,
    precision: Exactness = Precision.INT8,
    name: Name = "",
    query_prefix: Annotated[
        str | None,
        typer.Option(help='Before a query, e.g. "query: "; what BASE declares if left out.'),
    ] = None,
    passage_prefix: Annotated[
        str | None,
        typer.Option(help='Before a passage, e.g. "passage: "; what BASE declares if left out.'),
    ] = None,
    provenance: Provenance = None,
) -> None:
    """Export a bi-encoder, to index with: daogou index --encoder OUT.

    Int8 is calibrated on texts like those it will read: of each catalog and each file, 700 drawn by
    a fixed seed. Give both passages and queries.
    """
    from indexer.export.recipe import export_encoder

    sources = [
        *map(_passages, catalog or []),
        *(list(_lines(file).values()) for file in calibration or []),
    ]
    texts = [text for source in sources for text in _sample(source)]
    report = export_encoder(
        base,
        out,
        calibration=texts,
        max_length=max_length,
        precision=precision.value,
        name=name,
        query_prefix=query_prefix,
        passage_prefix=passage_prefix,
        provenance=_pairs(provenance or []),
    )
    _print(report)
    given = {"query": query_prefix, "passage": passage_prefix}
    for kind, prefix in given.items():
        if prefix is None and (taken := getattr(report.info, f"{kind}_prefix")):
            typer.echo(
                f"Puts {taken!r} before a {kind}, as {base} declares; --{kind}-prefix changes it."
            )


@export.command()
def reranker(
    base: Base,
    *,
    out: Out,
    calibration: Annotated[
        list[Path], typer.Option(help="Text file, QUERY<TAB>PASSAGE a line; repeatable.")
    ],
    encoder: Annotated[
        Path | None,
        typer.Option(help="Exported encoder that a checkpoint of `daogou train` was trained over."),
    ] = None,
    labels: Annotated[
        str, typer.Option(help="Class of each logit where the checkpoint does not say: E,S,C,I.")
    ] = "",
    temperature: Annotated[float, typer.Option(min=0.01, help="Logits are divided by it.")] = 1.0,
    max_length: MaxLength = 128,
    precision: Exactness = Precision.INT8,
    name: Name = "",
    provenance: Provenance = None,
) -> None:
    """Export a cross-encoder of ESCI's four classes, to index with: daogou index --reranker OUT.

    A line of a calibration file is a query, a tab, and a passage.
    """
    from indexer.export.recipe import export_reranker, export_token_reranker

    given = [pair for file in calibration for pair in _tabbed(file)]
    if encoder is not None:
        if labels:
            raise typer.BadParameter(
                "--labels are of a Hugging Face classifier, not beside --encoder"
            )
        report = export_token_reranker(
            Path(base),
            encoder,
            out,
            calibration=given,
            temperature=temperature,
            precision=precision.value,
            name=name,
            provenance=_pairs(provenance or []),
        )
        _print(report)
        return
    report = export_reranker(
        base,
        out,
        calibration=given,
        labels=[label for label in labels.split(",") if label] or None,
        temperature=temperature,
        max_length=max_length,
        precision=precision.value,
        name=name,
        provenance=_pairs(provenance or []),
    )
    _print(report)


def _lines(file: Path) -> dict[int, str]:
    """Every line of a text file that is not blank, by its number."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"cannot read the calibration texts in {file}: {error}") from error
    # Not `splitlines`: that breaks at characters that a passage may have, such as U+2028.
    lines = enumerate(text.split("\n"), start=1)
    return {number: line for number, line in lines if line.strip()}


def _tabbed(file: Path) -> list[tuple[str, str]]:
    """Query and passage of every line."""
    pairs = []
    for number, line in _lines(file).items():
        query, tab, passage = line.partition("\t")
        if not tab:
            raise CatalogError(
                f"{file}, line {number} lacks its tab. Write QUERY<TAB>PASSAGE on every line"
            )
        pairs.append((query, passage))
    return pairs


def _passages(catalog: Path) -> list[str]:
    """The passage of every product of a catalog; rows that cannot be read are left out."""
    from engine.text import passage
    from indexer.catalog import read_catalog
    from indexer.catalog.rejects import RejectLog

    with RejectLog(None) as rejects:
        return [passage(product) for product in read_catalog(catalog, rejects=rejects)]


def _sample(texts: list[str]) -> list[str]:
    """At most `SAMPLE` of the texts, always the same ones."""
    if len(texts) <= SAMPLE:
        return texts
    return random.Random(0).sample(texts, SAMPLE)  # noqa: S311 - a sample, not a secret


def _pairs(given: list[str]) -> dict[str, str]:
    """`KEY=TEXT` options as a mapping."""
    return {key: text for key, _, text in (pair.partition("=") for pair in given)}


def _print(report: ExportReport) -> None:
    """What was written and what it cost."""
    loss = ", ".join(f"{name} {value:.4f}" for name, value in report.info.quantisation.items())
    typer.echo(f"Wrote {report.folder} ({report.size_bytes / 2**20:.1f} MiB; {loss}).")
