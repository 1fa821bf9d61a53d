"""Some products of a catalog changed, the rest of it not at hand: what `daogou apply` does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.errors import SnapshotNotFoundError
from engine.manifest import Manifest
from engine.products import ProductStore
from engine.snapshot import Snapshot
from engine.store import SnapshotStore
from engine.types import Product
from indexer.build import IndexOptions, IndexReport, make_snapshot, reject_log
from indexer.catalog import read_catalog
from indexer.catalog.layouts import Layout
from indexer.progress import Progress, Silent
from indexer.reuse import Changes

DELETED = "deleted"
"""Column that says that the product of this id goes."""
_YES = {"true", "1", "yes"}


@dataclass(slots=True)
class _Wanted:
    """What the changes ask for, by product id; the last word on an id counts."""

    products: dict[str, Product | None]
    """None for one that goes."""

    def prepare(self, row: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The row of a product; None for a deletion, which is noted."""
        values = dict(row)
        deleted = str(values.pop(DELETED, "")).strip().casefold() in _YES
        product_id = str(values.get("id") or "").strip()
        if not (deleted and product_id):
            return values
        self.products[product_id] = None
        return None


def apply_changes(
    changes: Path,
    store: Path,
    options: IndexOptions | None = None,
    progress: Progress | None = None,
) -> IndexReport:
    """Serve the current snapshot with these products added, replaced or gone.

    Each row is a product as in the catalog, whole, or an id with a true `deleted`. Only texts that
    are new are encoded. Applied twice, the second time changes nothing and publishes nothing.

    Args:
        changes: a file as `index_catalog` reads, or a folder of them.
        store: must hold a snapshot, whose models and ranking stay.
        options: `mapping`, `rejects`, `strict` and `threads` count.
        progress: where to report.

    Raises:
        CatalogError: the changes cannot be read, or no product would be left.
        SnapshotError: nothing was indexed yet, or the store cannot be written to; StoreLockedError
            where another process is writing.
    """
    snapshots = SnapshotStore(store)
    options = options or IndexOptions()
    with snapshots.writing(), reject_log(store, options) as rejects:
        try:
            current = Snapshot.open(snapshots.current())
        except SnapshotNotFoundError as error:
            raise SnapshotNotFoundError(
                f"{error}. Index the whole catalog first: daogou index CATALOG --store {store}"
            ) from error
        wanted = _Wanted({})
        layout = Layout("changes", prepare=wanted.prepare, required=("id",))
        read = read_catalog(
            changes, layout=layout, mapping=options.mapping, rejects=rejects, exclude=store
        )
        for product in read:
            wanted.products[product.id] = product
        if not _effective(current.products, wanted.products):
            report = _unchanged(current, rejects.total, dict(rejects.by_reason))
            return replace(report, rejects_file=rejects.path if rejects.total else None)
        return make_snapshot(
            snapshots,
            _merged(current.products, wanted.products),
            current.manifest.source,
            _with_models_of(current, options),
            rejects=rejects,
            progress=progress or Silent(),
        )


def _effective(store: ProductStore, wanted: Mapping[str, Product | None]) -> bool:
    """Whether anything would be another than it is."""
    ids = list(wanted)
    for start in range(0, len(ids), 1_000):
        part = ids[start : start + 1_000]
        rows = store.rows_of(part)
        there = [row for row in rows if row is not None]
        before = dict(zip(there, store.fetch(there), strict=True))
        for product_id, row in zip(part, rows, strict=True):
            if wanted[product_id] != (None if row is None else before[row]):
                return True
    return False


def _merged(before: Iterable[Product], wanted: Mapping[str, Product | None]) -> Iterator[Product]:
    """The products before, replaced in place or left out, then those that are new."""
    left = dict(wanted)
    for product in before:
        changed = left.pop(product.id, product)
        if changed is not None:
            yield changed
    yield from (product for product in left.values() if product is not None)


def _with_models_of(current: Snapshot, options: IndexOptions) -> IndexOptions:
    """The options, with the models and the ranking of a snapshot."""
    manifest: Manifest = current.manifest
    models = current.folder / "models"
    return replace(
        options,
        encoder=models / "encoder",
        reranker=models / "reranker" if "reranker" in manifest.models else None,
        ranking=current.folder / "ranking" if manifest.ranking else None,
    )


def _unchanged(current: Snapshot, rejected: int, reasons: Mapping[str, int]) -> IndexReport:
    """What is served stays."""
    return IndexReport(
        snapshot_id=current.id,
        folder=current.folder,
        products=len(current),
        rejected=rejected,
        rejects_by_reason=reasons,
        rejects_file=None,
        bytes=current.manifest.size,
        seconds={},
        changes=Changes(kept=len(current)),
    )
