"""The index of vectors of a large catalog: made, measured against exact search, or refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from engine.arrays import open_array
from engine.errors import RecallError
from engine.models.encoder import load_encoder
from engine.products import ProductStore
from engine.retrieval import ivf
from engine.retrieval.dense import open_vectors
from engine.retrieval.ivf import DenseInfo, IvfIndex
from engine.snapshot import Snapshot
from engine.types import Vectors
from indexer.progress import Progress
from indexer.reuse import Before

_QUERIES = 256
_SEED = 1


def write_dense(
    folder: Path,
    before: Before | None,
    asked: Iterable[str],
    progress: Progress,
    *,
    min_recall: float,
    threads: int,
) -> DenseInfo | None:
    """Write the approximate index beside the vectors of a staged snapshot; None of a small one.

    What the snapshot before has of it is used again: the whole index where the vectors are the
    same, what it learnt of them where there are about as many.

    Args:
        folder: the snapshot, its products, vectors and encoder written.
        before: the snapshot before.
        asked: what shoppers asked; titles stand in for them where they are few.
        progress: where to report.
        min_recall: the least share of the 100 nearest that has to be found; 1 compares every
            vector, however many there are.
        threads: CPU threads; 0 takes every core.

    Raises:
        RecallError: the index finds less.
    """
    vectors = open_vectors(folder / "vectors.npy")
    if len(vectors) <= ivf.MOST_EXACT or min_recall >= 1:
        return None
    if before is not None and not before.whole(ivf.FOLDER, "vectors.npy", "id_rank.npy"):
        before = None
    with progress.step("Indexing vectors", None):
        if before is not None and _is_of(before, folder / "vectors.npy"):
            before.share(folder, ivf.FOLDER)
            info = ivf.read_info(folder / ivf.FOLDER)
        else:
            index = ivf.build(
                vectors,
                open_array(folder / "id_rank.npy", np.int32),
                _asked_like(folder, asked, len(vectors), threads),
                centroids=None if before is None else _learnt(before.snapshot, len(vectors)),
                threads=threads,
            )
            index.save(folder / ivf.FOLDER)
            info = index.info
    if info.recall < min_recall:
        raise RecallError(
            f"the index of vectors finds {info.recall:.3f} of the {ivf.DEPTH} nearest, less than "
            f"{min_recall:g}. Accept that with --min-recall {info.recall - 0.005:.2f}, or compare "
            "every vector with --min-recall 1: slower, and nothing is missed"
        )
    return info


def _is_of(before: Before, vectors: Path) -> bool:
    """Whether these are the vectors that the snapshot before has."""
    return before.snapshot.manifest.files["vectors.npy"].is_at(vectors)


def _learnt(before: Snapshot, products: int) -> Vectors | None:
    """The centroids of the index before, where it would have as many now."""
    info = ivf.read_info(before.folder / ivf.FOLDER)
    if info.lists != ivf.lists_for(products) or before.manifest.dim != before.vectors.shape[1]:
        return None
    index = IvfIndex.open(before.folder / ivf.FOLDER, before.vectors, before.id_rank)
    return index.centroids


def _asked_like(folder: Path, asked: Iterable[str], products: int, threads: int) -> Vectors:
    """Vectors of texts that are asked like queries: past ones, and words in a row of titles."""
    draw = np.random.default_rng(_SEED)
    texts = list(asked)
    texts = [texts[place] for place in draw.permutation(len(texts))[: _QUERIES // 2]]
    store = ProductStore(folder)
    try:
        rows = draw.permutation(products)[: 2 * _QUERIES]
        titles = [product.title for product in store.fetch(rows)]
    finally:
        store.close()
    texts += list(_words_in_a_row(titles, draw))[: _QUERIES - len(texts)]
    draw.shuffle(texts)
    encoder = load_encoder(folder / "models" / "encoder", threads=threads)
    return encoder.encode_queries(texts)


def _words_in_a_row(titles: Iterable[str], draw: np.random.Generator) -> Iterator[str]:
    """Two to five neighbouring words of each title."""
    for title in titles:
        words = title.split()
        if words:
            many = min(int(draw.integers(2, 6)), len(words))
            start = int(draw.integers(0, len(words) - many + 1))
            yield " ".join(words[start : start + many])
