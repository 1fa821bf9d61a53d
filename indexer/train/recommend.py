"""`daogou train recommend`: a shop's purchases and its indexed catalog → a behaviour model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.errors import TrainingError
from engine.guide.behaviour import INFO_FILE, BehaviourInfo
from engine.snapshot import Snapshot
from engine.store import SnapshotStore
from engine.types import Vectors
from indexer.folders import CARD, replaceable, replaced
from indexer.purchases import read_purchases
from indexer.train.behaviour import train_behaviour


def train_recommend(
    store: Path,
    purchases: Path,
    out: Path,
    *,
    layout: str = "auto",
    seed: int = 0,
    threads: int = 0,
) -> BehaviourInfo:
    """Write a behaviour model of these purchases into `out`; what it says of itself.

    Purchases of products that the catalog no longer has count: their buyers may be served still.

    Raises:
        CatalogError: the purchases cannot be read.
        SettingsError: something else than a behaviour model is in `out`.
        SnapshotError: nothing is indexed.
        TrainingError: too little was bought, or nothing of it is in the catalog.
    """
    out = replaceable(out, INFO_FILE, "items.json", "*.npy")
    snapshot = Snapshot.open(SnapshotStore(store).current(), threads=threads)
    records = read_purchases(purchases, layout)
    items = sorted(set(records["item"]))
    rows = snapshot.products.rows_of(items)
    if not any(row is not None for row in rows):
        raise TrainingError(
            f"none of the {len(items):,} products of {purchases} is in the catalog ({items[0]!r}, "
            "for one). Are they called by the same ids?"
        )
    row_of = {item: row for item, row in zip(items, rows, strict=True) if row is not None}

    def texts_of(ids: Sequence[str]) -> Vectors:
        found = np.zeros((len(ids), snapshot.manifest.dim), dtype=np.float32)
        known = {place: row_of[one] for place, one in enumerate(ids) if one in row_of}
        found[list(known)] = snapshot.vectors[list(known.values())]
        return found

    behaviour = train_behaviour(records, texts_of, name=out.name, seed=seed, threads=threads)
    provenance = {"purchases": purchases.name, "seed": str(seed), "snapshot": snapshot.id}
    info = behaviour.info.model_copy(update={"provenance": provenance})
    with replaced(out) as folder:
        replace(behaviour, info=info).save(folder)
        (folder / CARD).write_text(_card(info), encoding="utf-8")
    return info


def _card(info: BehaviourInfo) -> str:
    """The model card."""
    learnt = ", ".join(f"{name} {value}" for name, value in info.provenance.items())
    return f"""# {info.name}

What {info.shoppers:,} shoppers bought in {info.orders:,} orders of {info.items:,} products, until
{info.until}, summed up by product: how it sells, who else's purchases share it, and trees
(LambdaMART) that rank what a shopper buys next.

- No shopper, no order and no history is in it. Two products are called alike where at least
  {info.fewest_shoppers} shoppers (or orders) share them. Of a product that a single shopper
  bought it shows when, and at what price.
- Learnt from {learnt}.
- For the shop whose purchases these are. Products that nobody bought are ranked by their texts.
"""
