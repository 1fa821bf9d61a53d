"""`daogou serve` and `daogou search`. Both raise DaogouError; the front door prints it and exits 2.

Exit codes: 0 done, also where nothing was found; 2 bad usage or an error daogou explains.
What is heavy is imported where it is used: `daogou --help` stays quick, and searching from the
command line needs no web framework.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from api.listening import listen
from engine.numbers import plain_number
from engine.settings import Settings, load_settings
from engine.types import Mode, Sort, Stage

if TYPE_CHECKING:
    from engine.guide.navigate import Navigation
    from engine.types import FacetValue, SearchResult

Store = Annotated[
    Path | None, typer.Option("--store", help="Folder of the snapshots; DAOGOU_STORE if left out.")
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=0, help="Inference threads; 0 takes every core.")
]
LogLevel = Literal["debug", "info", "warning", "error"]


def settings_of(**given: object) -> Settings:
    """Settings from the environment, overruled by the options that were given."""
    return load_settings(**{name: value for name, value in given.items() if value is not None})


def serve(
    store: Store = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")
    ] = None,
    threads: Threads = None,
    log_level: Annotated[LogLevel, typer.Option(help="Least level that is logged.")] = "info",
) -> None:
    """Answer searches over HTTP, with a page to try them at /.

    Logs are JSON lines on standard error; the address is printed once it can search. SIGTERM and
    Ctrl+C let requests under way finish.
    """
    settings = settings_of(store=store, host=host, port=port, threads=threads)

    try:
        listener = listen(settings.host, settings.port)
    except OSError as error:
        raise typer.BadParameter(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror}). "
            "Choose another with --host or --port"
        ) from error
    from engine.guide.guide import ShoppingGuide

    with listener, ThreadPoolExecutor(1) as early:
        # Models are compiled while the web framework is imported.
        opening = early.submit(ShoppingGuide.open, settings.store, settings)
        from api import server

        server.run(opening.result, settings, listener, log_level=log_level, announce=_announce)


def _announce(url: str) -> None:
    typer.echo(f"daogou is ready at {url}")


def search(
    query: Annotated[str, typer.Argument(help="What to look for, in your own words.")],
    *,
    store: Store = None,
    k: Annotated[int, typer.Option("-k", min=1, max=1_000, help="Products to show.")] = 10,
    offset: Annotated[int, typer.Option(min=0, max=10_000, help="Products to skip.")] = 0,
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", help="brand=Nike, price<=50, price=10..50; repeat for more."),
    ] = None,
    stage: Annotated[Stage | None, typer.Option(help="Show this stage's ranking.")] = None,
    mode: Annotated[
        Mode | None, typer.Option(help="What it may cost; DAOGOU_MODE if left out.")
    ] = None,
    sort: Annotated[Sort, typer.Option(help="Order of the results.")] = Sort.RELEVANCE,
    facet: Annotated[
        list[str] | None,
        typer.Option(help="Field whose values are counted, or '*' for those that part the result."),
    ] = None,
    collapse: Annotated[
        bool, typer.Option(help="Show variants of one product as one, or each.")
    ] = True,
    understand: Annotated[
        bool, typer.Option(help="Respell words and read prices and refusals, or not.")
    ] = True,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say why each is there; at most 10 products.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, as the API answers.")
    ] = False,
    threads: Threads = None,
) -> None:
    """Search a catalog from the command line."""
    from api.schemas import search_answer
    from engine.guide.guide import ShoppingGuide
    from engine.listing import View
    from engine.retrieval.filters import parse_filters

    settings = settings_of(store=store, threads=threads)
    condition = parse_filters(filters) if filters else None
    engine = ShoppingGuide.open(settings.store, settings)
    found = engine.navigate(
        query,
        k=k,
        offset=offset,
        filters=condition,
        stage=stage,
        mode=mode,
        view=View(sort, collapse, tuple(facet or ())),
        read=understand,
        explain=explain,
    )
    if as_json:
        answer = search_answer(
            found.result,
            k=k,
            offset=offset,
            navigation=found.navigation,
            explanations=found.explanations,
        )
        typer.echo(json.dumps(answer, ensure_ascii=False, allow_nan=False))
    else:
        _print_ways(query, found.navigation)
        _print_table(found.result)
        for hit, why in zip(found.result.hits, found.explanations, strict=False):
            typer.echo(f"{hit.rank:>2} {why.summary}")
        _print_facets(found.result)
        for way in found.navigation.relaxations:
            typer.echo(f"Without {' and '.join(way.given_up)}: {way.products:,} products.")


def _print_ways(query: str, navigation: Navigation) -> None:
    """What was understood, and ways on, above the hits."""
    if navigation.corrected:
        typer.echo(f"Showing {navigation.did_you_mean!r}; for {query!r} add --no-understand.")
    elif navigation.did_you_mean:
        typer.echo(f"Did you mean {navigation.did_you_mean!r}?")
    for one in navigation.understood:
        if one.applied:
            typer.echo(f"Only {one.words} ({one.field}); for all add --no-understand.")
    if navigation.shelves:
        shelves = (f"{one.shelf.title}: {one.shelf.products:,}" for one in navigation.shelves[:3])
        typer.echo(f"In {', '.join(shelves)}")


def _print_facets(result: SearchResult) -> None:
    """What the results hold of each field asked for, a line each."""
    for facet in result.facets:
        shown = ", ".join(f"{one.value or _range(one)} {one.count:,}" for one in facet.values)
        typer.echo(f"{facet.field}: {shown}{f', {facet.more:,} more' if facet.more else ''}")


def _range(one: FacetValue) -> str:
    ends = dict.fromkeys((one.low, one.high))
    return " to ".join(
        end if isinstance(end, str) else plain_number(end) for end in ends if end is not None
    )


def _print_table(result: SearchResult) -> None:
    """The hits as a table, and below it where they come from."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not result.hits:
        console.print("Nothing found.", markup=False)
    else:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("#", justify="right", style="dim")
        table.add_column("title", ratio=1, overflow="fold")
        table.add_column("brand", overflow="ellipsis", max_width=18, no_wrap=True)
        table.add_column("price", justify="right", no_wrap=True)
        table.add_column("score", justify="right", no_wrap=True)
        table.add_column("id", style="dim", overflow="fold", max_width=20)
        for hit in result.hits:
            product = hit.product
            price = "" if product.price is None else f"{product.price:,.2f} {product.currency}"
            cells = (str(hit.rank), product.title, product.brand, price.strip())
            table.add_row(*map(Text, (*cells, f"{hit.score:.4f}", product.id)))
        if result.nothing_fits:
            console.print("Nothing in this catalog seems to fit. The nearest products:")
        console.print(table)
    spent = sum(result.timings.values())
    console.print(
        f"{result.count:,}{'+' if result.total_is_least else ''} results, "
        f"stage {result.stage}, {spent:.1f} ms, "
        f"snapshot {result.snapshot_id}",
        style="dim",
        markup=False,
        highlight=False,
    )
