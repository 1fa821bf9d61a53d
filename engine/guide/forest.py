"""Regression trees, read with numpy: what LightGBM trained is served without LightGBM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.arrays import open_array
from engine.errors import ModelError

_TYPES: Mapping[str, type[np.generic]] = {
    "feature": np.int16,
    "threshold": np.float64,
    "left": np.int16,
    "right": np.int16,
    "value": np.float64,
}


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees whose values are added up. Node 0 is a tree's root; every array is (trees, nodes)."""

    feature: NDArray[np.int16]
    """Column that a node asks for; -1 at a leaf."""
    threshold: NDArray[np.float64]
    """Up to it a candidate goes left."""
    left: NDArray[np.int16]
    right: NDArray[np.int16]
    value: NDArray[np.float64]
    """What a leaf adds."""

    def predict(self, table: NDArray[np.float32]) -> NDArray[np.float64]:
        """The score of each row of `table`, (n, features); shape (n,)."""
        trees = np.arange(len(self.feature))
        rows = np.arange(len(table))[:, None]
        node = np.zeros((len(table), len(trees)), dtype=np.int16)
        for _ in range(self.feature.shape[1]):  # no path is longer than there are nodes
            asked = self.feature[trees, node]  # (n, trees)
            inner = asked >= 0
            if not inner.any():
                break
            small = table[rows, asked].astype(np.float64) <= self.threshold[trees, node]
            onward = np.where(small, self.left[trees, node], self.right[trees, node])
            node = np.where(inner, onward, node)
        total: NDArray[np.float64] = self.value[trees, node].sum(axis=1)
        return total

    def parts(
        self, rows: NDArray[np.float32], reference: NDArray[np.float32], *, orders: int = 8
    ) -> tuple[NDArray[np.float64], float]:
        """What each feature adds to the score of each row, (n, features), and what it starts from.

        Shapley values against one reference, sampled (Štrumbelj and Kononenko 2014): features are
        switched from the reference's to the row's in some random orders, the same each time.
        Together, and with the reference's score, they are the row's score.

        Args:
            rows: shape (n, features).
            reference: another candidate's features, (features,).
            orders: how many are averaged.
        """
        count, width = rows.shape
        draw = np.random.default_rng(0)
        adds = np.zeros((count, width))
        for _ in range(orders):
            order = draw.permutation(width)
            steps = np.repeat(reference[None, None, :], count, axis=0).repeat(width + 1, axis=1)
            for at, feature in enumerate(order.tolist(), start=1):
                steps[:, at:, feature] = rows[:, None, feature]
            scores = self.predict(steps.reshape(-1, width)).reshape(count, width + 1)
            adds[:, order] += np.diff(scores, axis=1) / orders
        return adds, float(self.predict(reference[None, :])[0])

    @classmethod
    def of_lightgbm(cls, dump: Mapping[str, Any]) -> Forest:
        """The trees of `Booster.dump_model()`: splits "<=" on numbers, no missing values."""
        trees = [_nodes(tree["tree_structure"]) for tree in dump["tree_info"]]
        shape = (len(trees), max(map(len, trees), default=1))
        forest = cls(
            np.full(shape, -1, np.int16), np.zeros(shape), np.zeros(shape, np.int16),
            np.zeros(shape, np.int16), np.zeros(shape),
        )  # fmt: skip
        for place, nodes in enumerate(trees):
            for number, (feature, threshold, left, right, value) in enumerate(nodes):
                forest.feature[place, number] = feature
                forest.threshold[place, number] = threshold
                forest.left[place, number], forest.right[place, number] = left, right
                forest.value[place, number] = value
        return forest

    def save(self, folder: Path) -> None:
        """Write the arrays into the folder; `open` reads them back."""
        for field in fields(self):
            np.save(folder / f"tree_{field.name}.npy", getattr(self, field.name))

    @classmethod
    def open(cls, folder: Path) -> Forest:
        """The forest that `save` wrote, checked: no node leads outside of its tree.

        Raises:
            ModelError: the arrays do not fit together.
        """
        arrays = {
            name: open_array(folder / f"tree_{name}.npy", kind, dimensions=2)
            for name, kind in _TYPES.items()
        }
        shapes = {array.shape for array in arrays.values()}
        onward = np.concatenate([arrays["left"].ravel(), arrays["right"].ravel()])
        if len(shapes) != 1 or (onward < 0).any() or (onward >= arrays["left"].shape[1]).any():
            raise ModelError(f"the trees in {folder} are damaged. Train them again")
        return cls(**arrays)


_Node = tuple[int, float, int, int, float]


def _nodes(root: Mapping[str, Any]) -> list[_Node]:
    """A tree's nodes, the root first: (feature, threshold, left, right, value)."""
    found: list[_Node] = []
    waiting: list[tuple[Mapping[str, Any], int, str]] = [(root, -1, "")]
    while waiting:
        node, parent, side = waiting.pop()
        number = len(found)
        if parent >= 0:
            feature, threshold, left, right, value = found[parent]
            left, right = (number, right) if side == "left" else (left, number)
            found[parent] = (feature, threshold, left, right, value)
        if "split_feature" in node:
            found.append((int(node["split_feature"]), float(node["threshold"]), 0, 0, 0.0))
            waiting += [
                (node["left_child"], number, "left"),
                (node["right_child"], number, "right"),
            ]
        else:
            found.append((-1, 0.0, 0, 0, float(node["leaf_value"])))
    return found
