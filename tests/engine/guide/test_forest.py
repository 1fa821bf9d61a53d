from __future__ import annotations

from pathlib import Path

import lightgbm
import numpy as np
import pytest

from engine.errors import ModelError
from engine.guide.forest import Forest


@pytest.fixture(scope="module")
def booster() -> lightgbm.Booster:
    random = np.random.default_rng(0)
    table = random.normal(size=(500, 4))
    target = table[:, 0] * (table[:, 1] > 0) + 0.1 * random.normal(size=500)
    parameters = {"num_leaves": 7, "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5}
    return lightgbm.train(parameters, lightgbm.Dataset(table, target), 20)


def test_it_says_what_lightgbm_says(booster: lightgbm.Booster, tmp_path: Path) -> None:
    table = np.random.default_rng(1).normal(size=(200, 4)).astype(np.float32)
    Forest.of_lightgbm(booster.dump_model()).save(tmp_path)

    scores = Forest.open(tmp_path).predict(table)

    assert scores == pytest.approx(booster.predict(table.astype(np.float64)))
    assert Forest.open(tmp_path).predict(table[7:8])[0] == scores[7]


def test_trees_that_lead_nowhere_are_refused(booster: lightgbm.Booster, tmp_path: Path) -> None:
    Forest.of_lightgbm(booster.dump_model()).save(tmp_path)
    left = np.load(tmp_path / "tree_left.npy")
    left[0, 0] = 999
    np.save(tmp_path / "tree_left.npy", left)

    with pytest.raises(ModelError, match="damaged"):
        Forest.open(tmp_path)
