"""What judged queries are worth to the reranker, by cross-validation over queries.

    python -m tests.benchmarks.relevance --data ../shared/data --base CHECKPOINT \
        --store esci=STORE --store icecat=STORE --out FOLDER

`CHECKPOINT` is a cross-encoder that saw no judged query (`daogou train reranker` without gold). It
is trained on the judged queries of all folds but one and asked about those of that one; with
`--transfer`, then on one catalog's and asked about the other's. Written to the folder:
`pairs.parquet`, one row a pair of the head of the fused ranking or of the judgments, with the
logits every training gave it (`none_0` to `none_3`, `gold_…`, `transfer_…`). Each training goes on
after a kill. `relevance_report` makes figures of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import torch

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
from indexer.train.reranker import Texts, train_reranker

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


def gold_stage(lists: Iterable[QueryList], replay: Sequence[QueryList], epochs: int) -> Stage:
    """Judged lists, and some machine-judged ones so that they are not forgotten."""
    return Stage("gold", [*lists, *replay], epochs=epochs, learning_rate=5e-5, classes=1.0)


class Trials:
    """Trainings from one checkpoint, and what they say of the table's pairs."""

    def __init__(self, options: Any, table: pd.DataFrame, texts: dict[str, dict[str, str]]) -> None:  # noqa: ANN401
        self._options = options
        self._table = table
        self._passages = [texts[row.catalog][row.product_id] for row in table.itertuples()]
        model, tokenizer = load(options.base)
        self._read = Texts(model, tokenizer, Bars())
        self._read.read(table["query"].tolist(), self._passages)

    def train(self, name: str, lists: list[QueryList], replay: list[QueryList]) -> Path:
        """The checkpoint trained on these judged lists."""
        return train_reranker(
            self._options.base,
            [gold_stage(lists, replay, self._options.epochs)],
            self._options.out / name,
            progress=Bars(),
            texts=self._read,
        )

    def ask(self, checkpoint: Path, name: str, rows: Any) -> None:  # noqa: ANN401
        """Write the logits of these rows into the table, and the table to disk."""
        model, _ = load(checkpoint)
        model.eval()
        found = np.empty((len(rows), 4))
        with Bars().step(name, len(rows)) as advance, torch.inference_mode():
            for start in range(0, len(rows), 64):
                part = rows[start : start + 64]
                queries = self._table.loc[part, "query"].tolist()
                passages = [self._passages[place] for place in part]
                found[start : start + 64] = self._read.logits(model, queries, passages).numpy()
                advance(len(part))
        for place in range(4):
            self._table.loc[rows, f"{name}_{place}"] = found[:, place]
        self._table.to_parquet(self._options.out / "pairs.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--store", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--folds", type=int, default=5, help="0 only asks the base")
    parser.add_argument("--transfer", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    stores = dict(given.split("=", 1) for given in options.store)
    engines = {name: SearchEngine.open(Path(stores[name])) for name in CATALOGS}
    texts = {name: passages_of(engine) for name, engine in engines.items()}
    tables, gold, replay = [], {}, []
    for name, classes in CATALOGS.items():
        files = options.data / name / "queries.tsv", options.data / name / "qrels.txt"
        judged = read_judged_queries(*files)
        tables.append(pairs(name, engines[name], judged, max(options.folds, 1)))
        lists = from_qrels(name, texts[name], *files, classes=classes)
        gold[name] = hard_negatives(engines[name], lists, seed=0)
        labels = options.data / "machine_judged" / "judgments.parquet"
        machine = from_labels(name, texts[name], labels, origin=Origin.MACHINE)
        machine = exclude(machine, held_out(judged.texts.values()))
        replay += Random(0).sample(machine, 60)
    table = pd.concat(tables, ignore_index=True)
    folds = {
        (row.catalog, row.query): row.fold
        for row in table.drop_duplicates(["catalog", "query_id"]).itertuples()
    }
    everything = [each for lists in gold.values() for each in lists]
    trials = Trials(options, table, texts)
    trials.ask(options.base, "none", table.index)
    for fold in range(options.folds):
        seen = [each for each in everything if folds[each.catalog, each.query] != fold]
        checkpoint = trials.train(f"fold-{fold}", seen, replay)
        trials.ask(checkpoint, "gold", table.index[table.fold == fold])
    for name in CATALOGS if options.transfer else ():
        checkpoint = trials.train(f"only-{name}", gold[name], replay)
        trials.ask(checkpoint, "transfer", table.index[table.catalog != name])


if __name__ == "__main__":
    main()
