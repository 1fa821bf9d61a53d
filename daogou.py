"""The front door: one command `daogou`, wired from the commands of `indexer` and `api`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from api import ask_cli as consulting
from api import cli as online
from api import guide_cli as guide
from api import navigate_cli as navigation
from engine.errors import DaogouError
from indexer import cli as offline
from indexer.evaluate import cli as evaluation
from indexer.export import cli as exporting
from indexer.train import cli as training

DEMO = Path(__file__).parent / "catalogs" / "demo"
"""The catalog that comes with daogou."""

DEMO_QUERIES = (
    "something to keep coffee hot at my desk",
    "5x7 rug washable",
    "gift for a 5 year old who likes dinosaurs",
    "cant sleep street light too bright",
    "乌龙茶",
)

app = typer.Typer(
    help="Semantic product search and shopping guide that a shop runs on its own catalog.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(offline.index)
app.command()(offline.apply)
app.command()(offline.publish)
app.command()(online.search)
app.command()(navigation.suggest)
app.command()(navigation.categories)
app.command()(guide.recommend)
app.command()(consulting.ask)
app.command()(online.serve)
app.command()(evaluation.bench)
app.add_typer(offline.snapshots, name="snapshots")
app.add_typer(evaluation.evaluate, name="evaluate")
app.add_typer(exporting.export, name="export")
app.add_typer(training.train, name="train")


@app.command()
def demo(
    store: Annotated[Path, typer.Option(help="Folder to index into.")] = Path("daogou-demo"),
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port to serve at.")] = None,
    print_only: Annotated[
        bool, typer.Option("--print", help="Print some searches and exit, without serving.")
    ] = False,
) -> None:
    """Index the demo catalog, search it, and serve it with a page to try."""
    offline.index(DEMO / "products.jsonl", store=store)
    for query in DEMO_QUERIES:
        typer.secho(f"\n$ daogou search {query!r} --store {store} -k 3", bold=True)
        online.search(query, store=store, k=3)
    if not print_only:
        online.serve(store=store, port=port)


def main() -> None:
    """Run the command line: exit status 0 when done, 2 when input, store or disk is at fault."""
    try:
        app()
    except (DaogouError, OSError) as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
