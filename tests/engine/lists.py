"""An approximate index in place of exact search, over a catalog that is small enough to check."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.retrieval import ivf
from engine.retrieval.ivf import IvfIndex
from engine.snapshot import Snapshot


def search_through_lists(snapshot: Snapshot, *, probes: int = 0) -> IvfIndex:
    """Let a snapshot that was just opened be searched as a large one is; returns its index.

    With `probes` it reads as small a part of its lists without a filter, and not what recall asks.
    """
    titles = [product.title for product in snapshot.products.fetch(np.arange(0, len(snapshot), 9))]
    queries = snapshot.encoder.encode_queries([" ".join(one.split()[:3]) for one in titles])
    index = ivf.build(snapshot.vectors, snapshot.id_rank, queries, threads=1)
    if probes:
        index = index.set_to(replace(index.info, probes=probes))
    vars(snapshot)["dense"] = index
    return index
