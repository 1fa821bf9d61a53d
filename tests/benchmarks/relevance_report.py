"""Figures of what `relevance` wrote: each stage out of fold, calibration, the primary comparison.

    python -m tests.benchmarks.relevance_report --data ../shared/data --trials FOLDER \
        --store esci=STORE --store icecat=STORE --training gold

Every number is of queries that neither the reranker nor the final ranking was trained on: class
probabilities come from the fold that did not see the query, temperature and weights from the other
folds.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import typer
from numpy.typing import NDArray

from engine.answer import Probabilities
from engine.manifest import ModelEntry
from engine.search import SearchEngine
from engine.types import Relevance, Stage
from indexer.evaluate.calibration import expected_calibration_error, log_loss
from indexer.evaluate.judgments import JudgedQueries, read_judged_queries
from indexer.evaluate.statistics import bootstrap, randomisation_test
from indexer.train.ranking_examples import Example, fold_of, gather, ndcg, varying
from indexer.train.ranking_fit import fit_ranking
from indexer.train.reranker import Calibration, fit_calibration

FOLDS = 5
GAINS = np.array([0.0, 0.01, 0.1, 1.0])
RANKED_BY = ("lexical", "cosine", "fused", "gain", "logit")
BEFORE = ("lexical", "cosine", "fused", "feedback", "shelf")
Known = Mapping[str, Mapping[str, Probabilities]]
Values = NDArray[np.float64]


def probabilities(table: pd.DataFrame, training: str, classes: bool) -> NDArray[np.float32]:
    """Class probabilities of every pair, calibrated on the other folds."""
    columns = [f"{training}_{place}" for place in range(4)]
    logits: NDArray[np.float32] = table[columns].to_numpy(np.float32)
    found: NDArray[np.float32] = np.zeros_like(logits)
    for fold in sorted(table.fold.unique()):
        others = ((table.fold != fold) & (table.grade >= 0)).to_numpy()
        here = (table.fold == fold).to_numpy()
        given = table.grade.to_numpy()[others]
        calibrated = fit_calibration(logits[others], given) if classes else Calibration()
        found[here] = calibrated.probabilities(logits[here])
    return found


def offered(store: str) -> SearchEngine:
    """An engine that takes the reranker's word from a table."""
    engine = SearchEngine.open(Path(store))
    entry = ModelEntry(name="held out", fingerprint="held out", precision="fp32")
    models = {**engine.snapshot.manifest.models, "reranker": entry}
    engine.snapshot.manifest = engine.snapshot.manifest.model_copy(
        update={"models": models, "ranking": None}
    )
    engine.snapshot.ranking = None
    engine.snapshot.reranker = _Unasked()
    return engine


class _Unasked:
    fingerprint = "held out"

    def classify(self, queries: Sequence[str], passages: Sequence[str]) -> NDArray[np.float32]:
        if queries:
            raise ValueError(f"{len(queries)} pairs are not in the table, {queries[0]!r} first")
        return np.zeros((0, 4), dtype=np.float32)


def judged_list(
    engine: SearchEngine, judged: JudgedQueries, query_id: str, known: Known
) -> Example:
    """The judged products of a query, measured as its search measures what it retrieves."""
    grades = judged.qrels[query_id]
    found = engine.features(
        judged.texts[query_id], list(grades), stage=Stage.RERANKED, known=known[query_id]
    )
    ids = [product.id for product in engine.snapshot.products.fetch(found.rows)]
    order = engine.snapshot.id_rank[found.rows].astype(np.int64)
    worth = np.array([grades[one] for one in ids], dtype=np.int64)
    query, ideal = judged.texts[query_id], tuple(grades.values())
    return Example(query_id, query, "", found.values, worth, order, len(ids), ideal)


def judged_ndcg(example: Example, scores: NDArray[Any]) -> float:
    """ESCI's nDCG over the whole list; nan where nothing fits."""
    order = np.lexsort((example.tie, -scores))
    gains = GAINS[example.grades]
    discounts = 1 / np.log2(np.arange(2, len(gains) + 2))
    ideal = float((np.sort(gains)[::-1] * discounts).sum())
    return float((gains[order] * discounts).sum()) / ideal if ideal else float("nan")


def stages(engine: SearchEngine, judged: JudgedQueries, known: Known) -> pd.DataFrame:
    """One row a query with a positive judgment: nDCG@10 and judged nDCG by each way to rank."""
    examples = [one for one, _ in gather(engine, judged, Stage.RERANKED, known) if any(one.ideal)]
    lists = [judged_list(engine, judged, one.query_id, known) for one in examples]
    rows = [
        {
            "query_id": one.query_id,
            **{f"{name} nDCG@10": ndcg(one, one.features[name]) for name in RANKED_BY},
            **{f"{name} judged": judged_ndcg(own, own.features[name]) for name in RANKED_BY},
        }
        for one, own in zip(examples, lists, strict=True)
    ]
    table = pd.DataFrame(rows)
    names = varying(examples, list(examples[0].features))
    fold = fold_of(examples, FOLDS, 0)
    ways = {
        "tuned fusion": (varying(examples, BEFORE), Stage.FUSED, "linear"),
        "linear": (names, Stage.RERANKED, "linear"),
        "lambdamart": (names, Stage.RERANKED, "lambdamart"),
    }
    for form, (read, stage, kind) in ways.items():
        for part in range(FOLDS):
            inside = [one for one, place in zip(examples, fold, strict=True) if place != part]
            fitted = fit_ranking(inside, read, stage, kind)
            for place in np.flatnonzero(fold == part):
                own = lists[place]
                table.loc[place, f"{form} nDCG@10"] = ndcg(
                    examples[place], fitted.score(examples[place])
                )
                table.loc[place, f"{form} judged"] = judged_ndcg(own, fitted.score(own))
    return table


def described(values: Values) -> str:
    known = values[np.isfinite(values)]
    interval = bootstrap(known)
    return f"{interval.mean:.4f} ({interval.low:.3f}-{interval.high:.3f})"


def compared(table: pd.DataFrame, one: str, other: str) -> str:
    difference = (table[one] - table[other]).to_numpy()
    interval = bootstrap(difference)
    p = randomisation_test(difference)
    return (
        f"{one} - {other}: {interval.mean:+.4f} ({interval.low:+.4f} to {interval.high:+.4f}), "
        f"p {p:.4f}, {(difference > 1e-9).sum()} gained, {(difference < -1e-9).sum()} lost"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--trials", type=Path, required=True)
    parser.add_argument("--store", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--training", default="gold")
    parser.add_argument("--scores", type=Path, help="write held-out probabilities here")
    options = parser.parse_args()
    pairs = pd.read_parquet(options.trials / "pairs.parquet")
    for given in options.store:
        name, store = given.split("=", 1)
        table = pairs[pairs.catalog == name].reset_index(drop=True)
        classes = probabilities(table, options.training, name == "esci")
        known: dict[str, dict[str, Probabilities]] = {}
        for row, values in zip(table.itertuples(), classes, strict=True):
            known.setdefault(row.query_id, {})[row.product_id] = values
        if options.scores:
            options.scores.mkdir(parents=True, exist_ok=True)
            columns = {f"p{place}": classes[:, place] for place in range(4)}
            written = table[["query_id", "product_id"]].assign(**columns)
            written.to_parquet(options.scores / f"{name}.parquet")
        folder = options.data / name
        judged = read_judged_queries(folder / "queries.tsv", folder / "qrels.txt")
        found = stages(offered(store), judged, known)
        typer.echo(f"## {name}, {options.training}: {len(found)} queries")
        for column in found.columns[1:]:
            typer.echo(f"{column:<22}{described(found[column].to_numpy())}")
        typer.echo(compared(found, "tuned fusion nDCG@10", "fused nDCG@10"))
        typer.echo(compared(found, "linear nDCG@10", "tuned fusion nDCG@10"))
        typer.echo(compared(found, "linear nDCG@10", "fused nDCG@10"))
        typer.echo(compared(found, "linear judged", "fused judged"))
        if (folder / "negation.txt").exists():
            ids = (folder / "negation.txt").read_text().split()
            only = found[found.query_id.isin(ids)]
            for column in ("fused nDCG@10", "linear nDCG@10"):
                typer.echo(f"negation, {len(only)} queries: {column} {only[column].mean():.4f}")
        if name == "esci":
            calibration(table, classes)


def calibration(table: pd.DataFrame, classes: NDArray[np.float32]) -> None:
    known = (table.grade >= 0).to_numpy()
    given, grades = classes[known], table.grade.to_numpy()[known]
    rates = np.bincount(grades, minlength=4) / len(grades)
    errors = expected_calibration_error(given, grades)
    typer.echo(f"ECE { {one.name.lower(): round(errors[one], 4) for one in Relevance} }")
    base = log_loss(np.tile(rates, (len(grades), 1)), grades)
    typer.echo(f"log-loss {log_loss(given, grades):.4f}, base rates {base:.4f}")
    best = given.argmax(axis=1)
    scores = []
    for grade in range(4):
        both = ((best == grade) & (grades == grade)).sum()
        scores.append(2 * both / max(1, (best == grade).sum() + (grades == grade).sum()))
    typer.echo(f"accuracy {(best == grades).mean():.4f}, macro-F1 {np.mean(scores):.4f}")


if __name__ == "__main__":
    main()
