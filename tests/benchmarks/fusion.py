"""How to fuse keyword and vector search: methods and weights by cross-validation over queries.

For each judged query the engine's own retrievers bring candidates at the depths it serves with, and
score all of them; a method makes one score of the two, for a grid of weights of the vector side.
Compared: nDCG@10 and R@100 over the catalog, and nDCG over the judged products alone, by the
project's own metrics. Products that a query names by id or SKU are not put first here.

Out of fold: in each of several shuffles the queries are cut into folds, and the weight that has the
best nDCG@10 + R@100 / 2 on the others is used on a fold. A figure is the mean over queries: median
[least, most] over shuffles. "ours −" is the mean difference of nDCG@10 between ours (the peer) and
the method, both out of fold, over queries: 95% bootstrap interval, p of the paired randomisation
test after Holm's correction. "ours, as served" weighs by the query, as the engine does; how was
once chosen on the public sets, so there it is not out of fold. With a second set, the weight chosen
on the whole of one set is used on the other. Nothing is taken off for what a query excludes.

Run: python -m tests.benchmarks.fusion --set STORE FOLDER [--set STORE FOLDER]
FOLDER holds queries.tsv and qrels.txt for the catalog indexed in STORE.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.analysis import count_terms
from engine.search import SearchEngine
from engine.types import Ranking, Rows
from indexer.evaluate.judgments import JudgedQueries, read_judged_queries
from indexer.evaluate.metrics import FULL_CATALOG, JUDGED_ONLY, per_query
from indexer.evaluate.statistics import bootstrap, holm, randomisation_test
from tests.benchmarks.common import Row, Spread, arguments, report
from tests.benchmarks.fusion_methods import METHODS, OURS, SHIPPED, WEIGHTS, Candidates, Method

CATALOG_METRICS = [metric for metric in FULL_CATALOG if metric.name in {"nDCG@10", "R@100"}]
NAMES = [*(metric.name for metric in CATALOG_METRICS), JUDGED_ONLY[0].name]
DEEPEST = 100
"""No metric of the whole catalog reads further."""

Values = NDArray[np.float64]
"""Of one method, shape (weights, queries, metrics); NaN where a metric is undefined."""


@dataclass(frozen=True, slots=True)
class Question:
    """A judged query with what there is to rank for it."""

    id: str
    found: Candidates
    judged: Candidates


class JudgedSet:
    """A store, its judgments, and the candidates of every query."""

    def __init__(self, store: Path, folder: Path) -> None:
        self.name = folder.name
        self._engine = SearchEngine.open(store)
        queries = read_judged_queries(folder / "queries.tsv", folder / "qrels.txt")
        self.qrels = {query: queries.qrels[query] for query in queries.ids}
        self.questions = list(self._questions(queries))
        rows = np.unique(
            np.concatenate([r for q in self.questions for r in (q.found.rows, q.judged.rows)])
        )
        products = self._engine.snapshot.products.fetch(rows)
        self._ids = {row: product.id for row, product in zip(rows.tolist(), products, strict=True)}

    def _questions(self, queries: JudgedQueries) -> Iterator[Question]:
        snapshot, settings = self._engine.snapshot, self._engine.settings
        for query in queries.ids:
            text = queries.texts[query]
            vector = snapshot.encoder.encode_queries([text])
            keyword = snapshot.lexical.search([text], settings.lexical_depth)[0].rows
            dense = snapshot.dense.search(vector, settings.dense_depth)[0].rows
            known = snapshot.products.rows_of(self.qrels[query])
            judged = np.unique(np.array([row for row in known if row is not None], dtype=np.int64))
            yield Question(
                query,
                self._scored(text, vector[0], keyword, dense),
                self._scored(text, vector[0], judged, judged),
            )

    def _scored(
        self, text: str, vector: NDArray[np.float32], keyword: Rows, dense: Rows
    ) -> Candidates:
        rows = np.union1d(keyword, dense)
        snapshot = self._engine.snapshot
        return Candidates(
            rows,
            snapshot.lexical.score(text, rows),
            snapshot.dense.score(vector, rows),
            np.isin(rows, keyword),
            np.isin(rows, dense),
            count_terms(text),
        )

    def values(self, method: Method) -> Values:
        """Every metric for every query at every weight."""
        return np.stack([self._at(method, weight) for weight in WEIGHTS])

    def _at(self, method: Method, weight: float) -> NDArray[np.float64]:
        """Shape (queries, metrics)."""
        catalog = {q.id: self._ranked(method, q.found, weight)[:DEEPEST] for q in self.questions}
        judged = {q.id: self._ranked(method, q.judged, weight) for q in self.questions}
        by_metric = {
            **per_query(CATALOG_METRICS, catalog, self.qrels),
            **per_query(JUDGED_ONLY, judged, self.qrels),
        }
        return np.array(
            [[by_metric[name].get(q.id, np.nan) for name in NAMES] for q in self.questions]
        )

    def _ranked(self, method: Method, candidates: Candidates, weight: float) -> list[str]:
        if not len(candidates.rows):
            return []
        ids = self._engine.snapshot.id_rank
        scores = method(candidates, weight, ids)
        return [self._ids[row] for row in Ranking.sort(candidates.rows, scores, ids).rows.tolist()]


def best(values: Values) -> int:
    """Which weight is best on these queries: by nDCG@10 + R@100 / 2."""
    means = np.nanmean(values, axis=1)  # (weights, metrics)
    return int(np.argmax(means[:, 0] + means[:, 1] / 2))


def out_of_fold(values: Values, folds: int, shuffles: int) -> tuple[Values, list[float]]:
    """Values of queries by weights chosen without them, (shuffles, queries, metrics); weights."""
    queries = values.shape[1]
    held_out = np.empty((shuffles, *values.shape[1:]))
    chosen: list[float] = []
    for shuffle in range(shuffles):
        fold = np.random.default_rng(shuffle).permutation(queries) % folds
        for each in range(folds):
            place = best(values[:, fold != each])
            chosen.append(WEIGHTS[place])
            held_out[shuffle, fold == each] = values[place, fold == each]
    return held_out, chosen


def cross_validated(table: Mapping[str, Values], folds: int, shuffles: int) -> list[Row]:
    """One line a method: figures out of fold, and the difference to ours."""
    results = {name: out_of_fold(values, folds, shuffles) for name, values in table.items()}
    ndcg = {name: held_out[..., 0].mean(axis=0) for name, (held_out, _) in results.items()}
    others = {
        name: _defined(ndcg[OURS] - each)
        for name, each in ndcg.items()
        if name not in {OURS, SHIPPED}
    }
    corrected = holm([randomisation_test(each) for each in others.values()])
    p_values = dict(zip(others, corrected, strict=True))
    rows: list[Row] = []
    for name, (held_out, chosen) in results.items():
        means = np.nanmean(held_out, axis=1)  # (shuffles, metrics)
        row: dict[str, object] = {"method": name}
        row |= {metric: Spread.of(means[:, i].tolist()) for i, metric in enumerate(NAMES)}
        row["weight"] = _shown_weight(name, Counter(chosen).most_common(1)[0][0])
        if name in others:
            gap = bootstrap(others[name])
            row["ours − nDCG@10"] = f"{gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"
            row["p (Holm)"] = round(p_values[name], 3)
        rows.append(row)
    return rows


def transferred(source: Mapping[str, Values], target: Mapping[str, Values]) -> list[Row]:
    """One line a method: what the weight chosen on the source gives on the target."""
    rows: list[Row] = []
    for name, values in source.items():
        place = best(values)
        means = np.nanmean(target[name][place], axis=0)
        figures = {metric: round(float(means[i]), 4) for i, metric in enumerate(NAMES)}
        rows.append({"method": name, **figures, "weight": _shown_weight(name, WEIGHTS[place])})
    return rows


def _shown_weight(method: str, weight: float) -> float | str:
    """The weight chosen, most often where it was chosen many times."""
    return "by query" if method == SHIPPED else weight


def _defined(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[~np.isnan(values)]


def main() -> None:
    """Measure and print."""
    options = _parse()
    sets = [JudgedSet(Path(store), Path(folder)) for store, folder in options.set]
    tables: dict[str, Sequence[Row]] = {}
    found: dict[str, dict[str, Values]] = {}
    for judged in sets:
        values = {name: judged.values(method) for name, method in METHODS.items()}
        found[judged.name] = values
        title = f"{judged.name}, {len(judged.questions)} queries, out of fold"
        tables[title] = cross_validated(values, options.folds, options.shuffles)
    for source, target in permutations(found, 2):
        tables[f"{source} → {target}"] = transferred(found[source], found[target])
    report(tables, as_json=options.json)


def _parse() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument(
        "--set", nargs=2, action="append", required=True, metavar=("STORE", "FOLDER")
    )
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--shuffles", type=int, default=10)
    return parser.parse_args()


if __name__ == "__main__":
    main()
