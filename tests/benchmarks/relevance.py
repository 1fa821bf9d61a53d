"""What judged queries are worth to the reranker, by cross-validation over queries.

    python -m tests.benchmarks.relevance --data ../shared/data --base CHECKPOINT \
        --store esci=STORE --store icecat=STORE --out FOLDER

`CHECKPOINT` is a cross-encoder that saw no judged query (`daogou train reranker` without gold). It
is trained on the judged queries of all folds but one and asked about those of that one; then on
one catalog's and asked about the other's. Written to the folder: `pairs.parquet`, one row a pair of
the head of the fused ranking or of the judgments, with what every stage and every training gave it.
Each training goes on after a kill.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd

from engine.search import SearchEngine
from engine.text import passage
from engine.types import Stage as SearchStage
from indexer.evaluate.judgments import JudgedQueries, read_judged_queries
from indexer.progress import Bars
from indexer.train.crossencoder import load
from indexer.train.judgments import from_labels, from_qrels
from indexer.train.lists import Origin, QueryList
from indexer.train.mine import exclude, hard_negatives, held_out
from indexer.train.record import Stage
from indexer.train.reranker import logits, reader, train_reranker

DEPTH = 50
CATALOGS = {"esci": True, "icecat": False}
"""Whether the grades are classes."""


def passages_of(engine: SearchEngine) -> dict[str, str]:
    rows = range(len(engine.snapshot))
    return {product.id: passage(product) for product in engine.snapshot.products.fetch(rows)}


def fold_of(ids: Sequence[str], folds: int) -> dict[str, int]:
    shuffled = sorted(ids)
    Random(0).shuffle(shuffled)
    return {query_id: place % folds for place, query_id in enumerate(shuffled)}


def pairs(catalog: str, engine: SearchEngine, judged: JudgedQueries, folds: int) -> pd.DataFrame:
    """Judged products and the head of the fused ranking, with the stages' scores."""
    places, rows = fold_of(judged.ids, folds), []
    for query_id in judged.ids:
        text, grades = judged.texts[query_id], judged.qrels[query_id]
        head = [
            hit.product.id for hit in engine.search(text, k=DEPTH, stage=SearchStage.FUSED).hits
        ]
        ids = sorted({*head, *grades})
        scores: dict[str, dict[str, float]] = {}
        for stage in (SearchStage.LEXICAL, SearchStage.DENSE, SearchStage.FUSED):
            (found,) = engine.search_many([text], k=len(ids), stage=stage, candidates=[ids])
            scores[stage] = {hit.product.id: hit.score for hit in found.hits}
        rows += [
            {
                "catalog": catalog,
                "query_id": query_id,
                "query": text,
                "product_id": product_id,
                "fold": places[query_id],
                "grade": grades.get(product_id, -1),
                "place": head.index(product_id) if product_id in head else -1,
                **{str(stage): found[product_id] for stage, found in scores.items()},
            }
            for product_id in ids
            if product_id in scores[SearchStage.FUSED]
        ]
    return pd.DataFrame(rows)


def gold_stage(lists: Iterable[QueryList], replay: Sequence[QueryList]) -> Stage:
    """Judged lists, and some machine-judged ones so that they are not forgotten."""
    return Stage("gold", [*lists, *replay], learning_rate=5e-5, classes=1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--store", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--transfer", action="store_true")
    options = parser.parse_args()
    stores = dict(given.split("=", 1) for given in options.store)
    engines = {name: SearchEngine.open(Path(stores[name])) for name in CATALOGS}
    texts = {name: passages_of(engine) for name, engine in engines.items()}
    tables, gold, replay = [], {}, []
    for name, classes in CATALOGS.items():
        files = options.data / name / "queries.tsv", options.data / name / "qrels.txt"
        judged = read_judged_queries(*files)
        tables.append(pairs(name, engines[name], judged, options.folds))
        lists = from_qrels(name, texts[name], *files, classes=classes)
        gold[name] = hard_negatives(engines[name], lists, seed=0)
        machine = from_labels(
            name,
            texts[name],
            options.data / "machine_judged" / "judgments.parquet",
            origin=Origin.MACHINE,
        )
        machine = exclude(machine, held_out(judged.texts.values()))
        replay += Random(0).sample(machine, 60)
    table = pd.concat(tables, ignore_index=True)
    folds = {
        (row.catalog, row.query): row.fold
        for row in table.drop_duplicates(["catalog", "query_id"]).itertuples()
    }
    everything = [each for lists in gold.values() for each in lists]
    ask(options, table, texts, options.base, name="none", rows=table.index)
    for fold in range(options.folds):
        seen = [each for each in everything if folds[each.catalog, each.query] != fold]
        checkpoint = train(options, f"fold-{fold}", seen, replay)
        ask(options, table, texts, checkpoint, name="gold", rows=table.index[table.fold == fold])
    for name in CATALOGS if options.transfer else ():
        checkpoint = train(options, f"only-{name}", gold[name], replay)
        ask(
            options,
            table,
            texts,
            checkpoint,
            name="transfer",
            rows=table.index[table.catalog != name],
        )
    table.to_parquet(options.out / "pairs.parquet")


def train(options: Any, name: str, lists: list[QueryList], replay: list[QueryList]) -> Path:  # noqa: ANN401
    return train_reranker(
        options.base,
        [gold_stage(lists, replay)],
        options.out / name,
        max_length=options.max_length,
        progress=Bars(),
    )


def ask(
    options: Any,  # noqa: ANN401
    table: pd.DataFrame,
    texts: dict[str, dict[str, str]],
    checkpoint: Path,
    *,
    name: str,
    rows: Any,  # noqa: ANN401
) -> None:
    """Write the logits of these rows into the table, and the table aside."""
    model, tokenizer = load(checkpoint)
    chosen = table.loc[rows]
    passages = [texts[row.catalog][row.product_id] for row in chosen.itertuples()]
    given = logits(model, reader(tokenizer, options.max_length), chosen["query"].tolist(), passages)
    for place in range(given.shape[1]):
        table.loc[rows, f"{name}_{place}"] = given[:, place].astype(np.float64)
    table.to_parquet(options.out / "pairs.part.parquet")


if __name__ == "__main__":
    main()
