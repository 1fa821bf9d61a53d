"""`daogou ask`: a question on the command line. Raises DaogouError as `api.cli` does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli import Store, Threads, settings_of

if TYPE_CHECKING:
    from rich.console import Console

    from engine.guide.consult import Comparison, Consultation
    from engine.guide.explain import Explanation

_MARKS = {True: "yes", False: "no", None: "?"}


def ask(
    question: Annotated[str, typer.Argument(help="In your own words.")],
    *,
    product: Annotated[
        list[str] | None,
        typer.Option(help="Id of what is asked about; repeat to compare. None: advice."),
    ] = None,
    before: Annotated[
        list[str] | None, typer.Option(help="What was said before, oldest first; repeatable.")
    ] = None,
    store: Store = None,
    k: Annotated[int, typer.Option("-k", min=1, max=10, help="Products to suggest.")] = 3,
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", help="brand=Nike, price<=50, price=10..50; repeat for more."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say by which words an answer was found.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, as the API answers.")
    ] = False,
    threads: Threads = None,
) -> None:
    """Answer a question from the catalog's own text, or advise what to buy."""
    from rich.console import Console

    from api.phrasing import phraser_of
    from api.schemas_ask import ask_answer
    from engine.guide.guide import ShoppingGuide
    from engine.retrieval.filters import parse_filters

    settings = settings_of(store=store, threads=threads)
    guide = ShoppingGuide.open(settings.store, settings)
    found = guide.ask(
        question,
        before=before or (),
        products=product or (),
        k=k,
        filters=parse_filters(filters) if filters else None,
        explain=explain,
    )
    phraser = phraser_of(settings)
    answer = ask_answer(found)
    if phraser is not None:
        answer["phrased"] = phraser.phrase(found)
    if as_json:
        typer.echo(json.dumps(answer, ensure_ascii=False))
        return
    console = Console(highlight=False)
    if answer["phrased"]:
        console.print(answer["phrased"]["text"], "", sep="\n", markup=False)
    _print(console, found)


def _print(console: Console, found: Consultation) -> None:
    """The answer with its evidence."""
    for answer in found.answers:
        console.print(f"{answer.product.title} ({answer.product.id})", markup=False, style="bold")
        if not answer.answered:
            console.print("  The catalog does not say. The nearest it has:")
        for one in answer.evidence if not answer.answered else answer.evidence[:1]:
            console.print(
                f"  {one.piece.text}   [{one.piece.field}, {one.probability:.2f}]", markup=False
            )
            _print_why(console, one.explanation)
    for given_up in found.given_up:
        console.print(f"Nothing fits with {given_up.words!r}: left out.", markup=False)
    if found.nothing_fits and found.suggestions:
        console.print("Nothing in this catalog seems to fit. The nearest products:")
    for suggestion in found.suggestions:
        product = suggestion.product
        price = "" if product.price is None else f", {product.price:,.2f} {product.currency}"
        console.print(
            f"{suggestion.rank}. {product.title}{price} ({product.id})", markup=False, style="bold"
        )
        for check in suggestion.checked:
            said = " | ".join(f"{piece.text} [{piece.field}]" for piece in check.evidence)
            console.print(f"   {_MARKS[check.met]:>3} {check.need}: {said or '-'}", markup=False)
        _print_why(console, suggestion.explanation)
    if found.needs is not None and not found.suggestions:
        console.print("Nothing found.")
    if found.comparison is not None:
        _print_comparison(console, found.comparison)


def _print_why(console: Console, explanation: Explanation | None) -> None:
    """By which words it was found, where that was asked for."""
    if explanation is not None:
        words = ", ".join(f"{one.word} {one.share:.0%}" for one in explanation.named)
        console.print(f"      found by: {words or '-'}", markup=False, style="dim")


def _print_comparison(console: Console, found: Comparison) -> None:
    """What the products differ in, as a table."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("differs in")
    for product_id in found.products:
        table.add_column(Text(product_id), overflow="fold")
    for name, values in found.rows.items():
        shown = ("-" if value is None else str(value) for value in values)
        table.add_row(*map(Text, (name, *shown)))
    console.print()
    console.print(table)
