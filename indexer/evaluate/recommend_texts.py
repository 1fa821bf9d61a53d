"""The vectors that recommendations are evaluated with: a snapshot's, or of the records' titles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.errors import EvaluationError
from engine.models.encoder import SHIPPED_ENCODER, load_encoder
from engine.snapshot import Snapshot
from engine.store import SnapshotStore
from engine.types import Vectors
from indexer.train.behaviour import TextsOf

if TYPE_CHECKING:
    import pandas as pd


def texts_for(tables: Sequence[pd.DataFrame], *, store: Path | None, threads: int) -> TextsOf:
    """Gives the vectors of all products of these purchases by their ids.

    Without a store, the shipped encoder reads each product's most frequent title.

    Raises:
        EvaluationError: the purchases have no titles, or the store lacks their products.
        SnapshotError: nothing is indexed.
    """
    import pandas as pd  # noqa: PLC0415 - optional

    records = pd.concat(list(tables))
    bought = sorted(set(records["item"]))
    if store is not None:
        snapshot = Snapshot.open(SnapshotStore(store).current(), threads=threads)
        rows = snapshot.products.rows_of(bought)
        known = [(one, row) for one, row in zip(bought, rows, strict=True) if row is not None]
        if not known:
            raise EvaluationError(f"{store} holds none of the products that were bought")
        vectors = np.zeros((len(bought), snapshot.manifest.dim), dtype=np.float32)
        places = {one: number for number, one in enumerate(bought)}
        for one, row in known:
            vectors[places[one]] = snapshot.vectors[row]
    else:
        titles = records[records["title"] != ""].groupby("item")["title"]
        named = titles.agg(lambda texts: texts.value_counts().index[0])
        if len(named) < len(bought):
            raise EvaluationError(
                f"{len(bought) - len(named):,} of {len(bought):,} products have no `title` in the "
                "purchases. Add the column, or name an index of the catalog with --store"
            )
        encoder = load_encoder(SHIPPED_ENCODER, threads=threads)
        vectors = encoder.encode_passages([_readable(named[one]) for one in bought])
        places = {one: number for number, one in enumerate(bought)}

    def texts_of(ids: Sequence[str]) -> Vectors:
        found: Vectors = vectors[[places[one] for one in ids]]
        return found

    return texts_of


def _readable(title: str) -> str:
    """A title without shouting: "RED MUG" says to the encoder what "Red Mug" does."""
    return title.title() if title.isupper() else title
