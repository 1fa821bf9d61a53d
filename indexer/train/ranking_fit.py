"""Fitting a final ranking: weights by a listwise loss, trees by LambdaMART, and which to take.

A hundred judged queries do not outweigh chance, so weights start from rankings that are known to be
sensible: the fusion, to which shares of the others are added by coordinate ascent on nDCG@10 itself
(Metzler and Croft 2007). From there they may move to minimise the softmax cross-entropy of each
query's list (ListNet's top-one loss, Cao et al. 2007), pulled back as hard as cross-validation on
nDCG@10 chooses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import MissingExtraError
from engine.retrieval.features import FUSION
from engine.retrieval.ranking import Weighed
from engine.types import Stage
from indexer.evaluate.statistics import bootstrap
from indexer.train.ranking_examples import Example, Matrix, fold_of, ndcg

PULLS = (1e6, 1.0, 0.1, 0.01)
"""How hard weights are pulled towards the prior, from "not a step away" on."""
ROUNDS = (40, 120)
"""Numbers of trees tried."""
_ROUNDS = 2  # of coordinate ascent over the shares
_WIDTH = (
    5.0  # of the prior's scores, where the fusion's unit is the distance from first to fiftieth
)

_FUSION = {name: float(weight) for name, weight in FUSION.items()}
_FEEDBACK = {"feedback": 1.0, "shelf": 1.5}
PRIORS: Mapping[Stage, tuple[Mapping[str, float], ...]] = {
    Stage.FUSED: (_FUSION, _FEEDBACK),
    Stage.RERANKED: (_FUSION, _FEEDBACK, {"logit_from_best": 1.0}),
}
"""For each stage, sensible rankings in like units. The first counts once, the others by share."""

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2)
"""Shares tried: another than the usual one is taken where it is better by more than chance."""
USUAL = (1.0, 0.4, 0.0)
"""The share of each ranking of a prior, in their order. Of feedback, 0.3 to 0.4 is what both
catalogs asked for that it was looked at on."""


@dataclass(frozen=True, slots=True)
class Linear:
    """A weighted sum."""

    weighed: Weighed
    pull: float

    def score(self, example: Example) -> Matrix:
        """One score a candidate; shape (n,)."""
        return np.asarray(self.weighed.sum(example.features))


@dataclass(frozen=True, slots=True)
class Trees:
    """LambdaMART (Burges 2010)."""

    names: tuple[str, ...]
    booster: Any
    rounds: int

    def score(self, example: Example) -> Matrix:
        """One score a candidate; shape (n,)."""
        return np.asarray(self.booster.predict(_table(example, self.names)))


Fitted = Linear | Trees


def _table(example: Example, names: Sequence[str]) -> Matrix:
    return np.column_stack([example.features[name] for name in names]).astype(np.float64)


def fit_linear(
    examples: Sequence[Example],
    names: Sequence[str],
    stage: Stage,
    *,
    pulls: Sequence[float] = PULLS,
    folds: int = 5,
    seed: int = 0,
) -> Linear:
    """Weights for the features, pulled towards the stage's prior as cross-validation chooses."""
    if len(pulls) > 1:
        fold = fold_of(examples, folds, seed)
        held = [
            _held_out(examples, fold, lambda part, pull=pull: _fit(part, names, stage, pull))
            for pull in pulls
        ]
        pulls = [pulls[_chosen(held, usual=0)]]
    return _fit(examples, names, stage, pulls[0])


def _held_out(examples: Sequence[Example], fold: NDArray[np.int64], fit: Any) -> Matrix:  # noqa: ANN401
    """nDCG@10 of each example by what `fit` made of the other folds; shape (examples,)."""
    values = np.zeros(len(examples))
    for part in np.unique(fold):
        fitted = fit([examples[place] for place in np.flatnonzero(fold != part).tolist()])
        for place in np.flatnonzero(fold == part).tolist():
            values[place] = ndcg(examples[place], fitted.score(examples[place]))
    return values


class _Lists:
    """Every list with something worth finding, end to end, and the loss over them."""

    def __init__(self, examples: Sequence[Example], names: Sequence[str]) -> None:
        useful = [each for each in examples if each.worth.sum() > 0]
        tables = [_table(each, names) for each in useful]
        self.table = np.concatenate(tables) if tables else np.zeros((0, len(names)))
        self.starts = np.cumsum([0, *(len(table) for table in tables)])[:-1].astype(np.int64)
        self.lengths = np.array([len(table) for table in tables], dtype=np.int64)
        self.target = (
            np.concatenate([each.worth / each.worth.sum() for each in useful])
            if useful
            else np.zeros(0)
        )
        self.centre = self.table.mean(axis=0) if len(self.table) else np.zeros(len(names))
        spread = self.table.std(axis=0) if len(self.table) else np.ones(len(names))
        self.scale = np.where(spread > 1e-9, spread, 1.0)
        self.table = (self.table - self.centre) / self.scale  # (rows, features)

    def loss(self, weights: Matrix) -> tuple[float, Matrix]:
        """Mean cross-entropy of the lists and its gradient."""
        table = self.table
        if not len(table):
            return 0.0, np.zeros_like(weights)
        scores = table @ weights
        scores = scores - np.repeat(np.maximum.reduceat(scores, self.starts), self.lengths)
        powers = np.exp(scores)
        sums = np.add.reduceat(powers, self.starts)
        soft = powers / np.repeat(sums, self.lengths)
        entropy = np.log(sums).sum() - (self.target * scores).sum()
        gradient = table.T @ (soft - self.target)
        return float(entropy) / len(self.starts), gradient / len(self.starts)


def _minimise(function: Any, start: Matrix) -> Matrix:  # noqa: ANN401 - scipy has no types
    from scipy.optimize import minimize  # noqa: PLC0415 - comes with the training parts

    return np.asarray(minimize(function, start, jac=True, method="L-BFGS-B").x)


def _shares(examples: Sequence[Example], names: Sequence[str], basis: Matrix) -> Matrix:
    """How much of each part to add to the first, by coordinate ascent; shape (parts,)."""
    parts = [_table(each, names) @ basis.T for each in examples]  # (candidates, parts) each
    shares = np.array(USUAL[: len(basis)])

    def values(tried: Matrix) -> Matrix:
        scored = zip(examples, (part @ tried for part in parts), strict=True)
        return np.array([ndcg(*one) for one in scored])

    for place in [*range(1, len(basis))] * _ROUNDS:
        found = []
        for share in SHARES:
            shares[place] = share
            found.append(values(shares))
        shares[place] = SHARES[_chosen(found, SHARES.index(USUAL[place]))]
    return shares


def _chosen(found: Sequence[Matrix], usual: int) -> int:
    """Which of these to take: the best, where it is ahead of the usual by over a standard error.

    The rule of Breiman et al. (1984), of paired differences: which of a few shares is best on a
    hundred queries is chance otherwise, and costs more on others than it gained.
    """
    best = int(np.argmax([each.mean() for each in found]))
    ahead = found[best] - found[usual]
    noise = ahead.std() / np.sqrt(max(len(ahead), 1))
    return best if ahead.mean() > noise else usual


def _fit(examples: Sequence[Example], names: Sequence[str], stage: Stage, pull: float) -> Linear:
    """Weights at one strength of pull."""
    lists = _Lists(examples, names)
    rows = [[part.get(name, 0.0) for name in names] for part in PRIORS[stage]]
    basis = np.array(rows)  # (parts, features)
    # In units of the scaled features, and so wide that the softmax tells the head apart.
    prior = _WIDTH * _shares(examples, names, basis) @ basis * lists.scale

    def pulled(weights: Matrix) -> tuple[float, Matrix]:
        loss, gradient = lists.loss(weights)
        away = weights - prior
        return loss + pull / 2 * float(away @ away), gradient + pull * away

    weights = prior if pull >= PULLS[0] else _minimise(pulled, prior)
    weighed = Weighed(
        names=tuple(names),
        weights=tuple(weights.tolist()),
        centre=tuple(lists.centre.tolist()),
        scale=tuple(lists.scale.tolist()),
    )
    return Linear(weighed, pull)


def fit_trees(
    examples: Sequence[Example],
    names: Sequence[str],
    *,
    rounds: Sequence[int] = ROUNDS,
    folds: int = 5,
    seed: int = 0,
) -> Trees:
    """Small trees by LambdaMART, as many as cross-validation chooses.

    Raises:
        MissingExtraError: LightGBM is not installed.
    """
    if len(rounds) > 1:
        fold = fold_of(examples, folds, seed)
        held = [
            _held_out(examples, fold, lambda part, n=n: _grow(part, names, n, seed)).mean()
            for n in rounds
        ]
        rounds = [rounds[int(np.argmax(held))]]
    return _grow(examples, names, rounds[0], seed)


def _grow(examples: Sequence[Example], names: Sequence[str], rounds: int, seed: int) -> Trees:
    try:
        import lightgbm  # noqa: PLC0415 - optional
    except ImportError as error:
        raise MissingExtraError("fitting trees", "train") from error
    useful = [each for each in examples if len(each.grades)]
    data = lightgbm.Dataset(
        np.concatenate([_table(each, names) for each in useful]),
        label=np.concatenate([each.worth for each in useful]),
        group=[len(each.grades) for each in useful],
        feature_name=list(names),
    )
    options = {
        "objective": "lambdarank", "label_gain": [0, 1, 2, 3], "lambdarank_truncation_level": 15,
        "learning_rate": 0.05, "num_leaves": 7, "min_data_in_leaf": 30, "lambda_l2": 1.0,
        "feature_fraction": 0.8, "seed": seed, "deterministic": True, "force_row_wise": True,
        "num_threads": 1, "verbosity": -1,
    }  # fmt: skip
    return Trees(tuple(names), lightgbm.train(options, data, num_boost_round=rounds), rounds)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which form to take, by nested cross-validation over queries."""

    form: str
    held_out: Mapping[str, Matrix]
    """nDCG@10 of each example by each form, fitted without its fold; shape (examples,)."""


def choose(
    examples: Sequence[Example],
    names: Sequence[str],
    stage: Stage,
    *,
    forms: Sequence[str] = ("linear", "lambdamart"),
    folds: int = 5,
    seed: int = 0,
) -> Choice:
    """Measure each form on queries it was not fitted on; strengths are chosen inside the folds.

    Trees are taken where they beat weights by more than chance: where the bootstrap interval of the
    difference lies above 0.
    """
    fold = fold_of(examples, folds, seed)
    held = {
        form: _held_out(
            examples, fold, lambda part, form=form: fit_ranking(part, names, stage, form, seed=seed)
        )
        for form in forms
    }
    if len(held) == 1:
        return Choice(forms[0], held)
    ahead = bootstrap(held["lambdamart"] - held["linear"])
    return Choice("lambdamart" if ahead.low > 0 else "linear", held)


def fit_ranking(
    examples: Sequence[Example], names: Sequence[str], stage: Stage, form: str, *, seed: int = 0
) -> Fitted:
    """A ranking of this form, `linear` or `lambdamart`, for the stage."""
    if form == "linear":
        return fit_linear(examples, names, stage, seed=seed + 1)
    return fit_trees(examples, names, seed=seed + 1)
