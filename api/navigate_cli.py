"""`daogou suggest` and `daogou categories`. Both raise DaogouError as `api.cli` does."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from api.cli import Store, settings_of

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, as the API answers.")]


def suggest(
    typed: Annotated[str, typer.Argument(help="What was typed so far.")],
    *,
    store: Store = None,
    k: Annotated[int, typer.Option("-k", min=1, max=20, help="Suggestions to show.")] = 8,
    as_json: _Json = False,
) -> None:
    """Complete a query from the catalog's phrases, brands, shelves and from old queries."""
    from api.schemas_navigate import suggest_answer
    from engine.guide.guide import ShoppingGuide

    settings = settings_of(store=store)
    guide = ShoppingGuide.open(settings.store, settings)
    found = guide.suggest(typed, k=k)
    if as_json:
        typer.echo(json.dumps(suggest_answer(guide.snapshot.id, found), ensure_ascii=False))
        return
    for one in found:
        typer.echo(f"{one.text}  ({one.kind}, {one.weight:,})")
    if not found:
        typer.echo("Nothing begins like that.")


def categories(
    under: Annotated[str, typer.Argument(help="A path, 'Kitchen > Kettles'; the top if empty.")] = (
        ""
    ),
    *,
    store: Store = None,
    k: Annotated[int, typer.Option("-k", min=1, max=500, help="Shelves to show.")] = 100,
    as_json: _Json = False,
) -> None:
    """List the shelves right below one, with how many products each holds."""
    from api.schemas_navigate import categories_answer
    from engine.guide.guide import ShoppingGuide

    settings = settings_of(store=store)
    guide = ShoppingGuide.open(settings.store, settings)
    found = guide.categories(under, k=k)
    if as_json:
        typer.echo(json.dumps(categories_answer(guide.snapshot.id, found), ensure_ascii=False))
        return
    for one in found:
        more = f", {one.below:,} shelves below" if one.below else ""
        typer.echo(f"{one.title}: {one.products:,}{more}")
    if not found:
        typer.echo("There are no shelves there.")
