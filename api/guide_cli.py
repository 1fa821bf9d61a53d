"""`daogou recommend`: the guide on the command line. Raises DaogouError as `api.cli` does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli import Store, Threads, settings_of
from engine.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.guide.history import Event
    from engine.guide.recommend import Recommendation

_FEATURES_SHOWN = 4
_BECAUSE = {
    "again": "bought before",
    "bought_together": "bought by who bought {}",
    "alike": "like {}",
    "new": "new, like {}",
    "popular": "bought by many",
    "other": "in the shop",
}


def recommend(
    *,
    user: Annotated[str, typer.Option(help="Whose purchases count, of --purchases.")] = "",
    purchases: Annotated[
        Path | None, typer.Option(help="Table of line items that knows the user.")
    ] = None,
    history: Annotated[
        str, typer.Option(help="Ids of products bought just now, parted by commas, instead.")
    ] = "",
    store: Store = None,
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="Products to show.")] = 10,
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", help="brand=Nike, price<=50, price=10..50; repeat for more."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what makes each score; at most 10 products.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, as the API answers.")
    ] = False,
    threads: Threads = None,
) -> None:
    """Recommend products to a shopper, each with its reason."""
    from api.schemas_guide import recommend_answer
    from engine.guide.guide import ShoppingGuide
    from engine.retrieval.filters import parse_filters

    events = _events(user, purchases, history)
    settings = settings_of(store=store, threads=threads)
    guide = ShoppingGuide.open(settings.store, settings)
    ids = [event.product_id for event in events]
    if history and not any(row is not None for row in guide.snapshot.products.rows_of(ids)):
        raise QueryError(f"{settings.store} has none of the products {history!r}")
    # A table ends somewhere: for its shoppers, that is now.
    latest = max((event.at for event in events if event.at is not None), default=None)
    found = guide.recommend(
        events,
        k=k,
        filters=parse_filters(filters) if filters else None,
        now=latest,
        explain=explain,
    )
    if as_json:
        typer.echo(json.dumps(recommend_answer(guide.snapshot.id, found), ensure_ascii=False))
    else:
        _print(found)


def _events(user: str, purchases: Path | None, history: str) -> list[Event]:
    """What the options say was done.

    Raises:
        QueryError: they name nobody, two, or one that the table does not know.
    """
    from engine.guide.history import Event
    from engine.guide.records import events_of

    if bool(user) == bool(history) or bool(user) != bool(purchases):
        raise QueryError("whom to recommend to? Give --user U --purchases FILE, or --history IDS")
    if purchases is None:
        return [Event(one.strip()) for one in history.split(",") if one.strip()]
    events = events_of(purchases, user)
    if not events:
        raise QueryError(f"{purchases} knows no shopper {user!r}")
    return events


def _print(found: Sequence[Recommendation]) -> None:
    """The products as a table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("#", justify="right", style="dim")
    table.add_column("title", ratio=3, overflow="fold")
    table.add_column("price", justify="right", no_wrap=True)
    table.add_column("because", ratio=2, overflow="fold")
    table.add_column("id", style="dim", overflow="fold", max_width=20)
    for one in found:
        product = one.product
        price = "" if product.price is None else f"{product.price:,.2f} {product.currency}"
        why = (
            _BECAUSE[one.reason].replace(", like {}", "")
            if one.because is None
            else (_BECAUSE[one.reason].format(one.because.title))
        )
        table.add_row(*map(Text, (str(one.rank), product.title, price.strip(), why, product.id)))
    console = Console()
    console.print(table if found else "Nothing to recommend.")
    for one in found:
        largest = sorted(one.features.items(), key=lambda each: -abs(each[1].adds))[
            :_FEATURES_SHOWN
        ]
        parts = [f"{name} {part.adds:+.2f}" for name, part in largest]
        if one.explanation is not None and one.explanation.named:
            words = ", ".join(named.word for named in one.explanation.named)
            parts.append(f"alike by: {words}")
        if parts:
            console.print(f"{one.rank:>2} {'; '.join(parts)}", markup=False, highlight=False)
