"""Some products of a catalog changed, the rest of it not at hand: what `daogou apply` does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from engine.errors import CatalogError, SnapshotNotFoundError
from engine.manifest import Manifest, read_manifest
from engine.products import ProductStore, offer_of, texts_of
from engine.snapshot import Snapshot
from engine.store import SnapshotStore
from engine.types import Product
from indexer.build import IndexOptions, IndexReport, make_snapshot, reject_log
from indexer.catalog import RejectLog, read_changes
from indexer.catalog.entries import Entry, Fresh, Known, KnownRows
from indexer.device import require
from indexer.progress import Progress, Silent
from indexer.reuse import Before, Changes

REJECTS = "rejects-apply.jsonl"
"""Where the rows that cannot be used are listed: the list of the whole catalog's run stays."""


def apply_changes(
    changes: Path,
    store: Path,
    options: IndexOptions | None = None,
    progress: Progress | None = None,
) -> IndexReport:
    """Serve the current snapshot with these products added, replaced or gone.

    Each row is a product as in the catalog, whole, or an id with a true `deleted`; of several rows
    for one id the last counts. Only texts that are new are encoded. Applied twice, the second time
    changes nothing and publishes nothing.

    Args:
        changes: a file as `index_catalog` reads, or a folder of them.
        store: must hold a snapshot, whose models and ranking stay.
        options: `mapping`, `rejects`, `strict`, `threads`, `model_cache` and `device` count.
        progress: where to report.

    Raises:
        CatalogError: the changes cannot be read, or no product would be left.
        SnapshotError: nothing was indexed yet, what was is damaged, or the store cannot be written
            to; StoreLockedError where another process is writing.
        ModelError: a GPU was asked for that is not there.
    """
    snapshots = SnapshotStore(store)
    options = options or IndexOptions()
    require(options.device)
    options = replace(options, rejects=options.rejects or store / REJECTS)
    if snapshots.current_id() is None:
        raise SnapshotNotFoundError(
            f"{store} holds nothing to change yet. "
            f"Index the whole catalog first: daogou index CATALOG --store {store}"
        )
    with snapshots.writing(), reject_log(store, options) as rejects:
        encoder = read_manifest(snapshots.current()).models["encoder"]
        with closing(Before.open(snapshots.current(), encoder, tokens=False)) as before:
            current = before.snapshot
            wanted: dict[str, Fresh | None] = {}
            read = read_changes(changes, mapping=options.mapping, rejects=rejects, exclude=store)
            for record in read:
                if isinstance(record, Fresh):
                    wanted[record.product.id] = record
                else:
                    wanted[record.id] = None
            before.check()  # there is no catalog to make anew what is damaged
            left = _left(current.products, wanted)
            if left is None:
                return _unchanged(current, rejects)
            if not left:
                raise CatalogError(
                    f"{changes} removes every product there is. What was served stays; if that is "
                    "meant, stop serving it"
                )
            return make_snapshot(
                snapshots,
                lambda known: _merged(current, wanted, known),
                current.manifest.source,
                _with_models_of(current, options),
                before=before,
                rejects=rejects,
                progress=progress or Silent(),
            )


def _left(store: ProductStore, wanted: Mapping[str, Fresh | None]) -> int | None:
    """How many products there would be; None where nothing would be another than it is."""
    left, differs, ids = len(store), False, list(wanted)
    for start in range(0, len(ids), 1_000):
        part = ids[start : start + 1_000]
        rows = store.rows_of(part)
        there = [row for row in rows if row is not None]
        before = dict(zip(there, store.fetch(there), strict=True))
        for product_id, row in zip(part, rows, strict=True):
            new, old = wanted[product_id], None if row is None else before[row]
            left += (new is not None) - (old is not None)
            if new is None or old is None:
                differs |= (new is None) != (old is None)
            else:
                differs |= _json(new.product) != _json(old)
    return left if differs else None


def _json(product: Product) -> tuple[str, str]:
    """All of a product as it is stored: unlike for `==`, true is not 1."""
    return texts_of(product), offer_of(product.to_dict())


def _merged(
    current: Snapshot, wanted: Mapping[str, Fresh | None], known: KnownRows | None
) -> Iterator[Entry]:
    """The products before, replaced in place or left out, then those that are new."""
    left = dict(wanted)
    for row, product_id in enumerate(current.products.ids()):
        if product_id in left:
            changed = left.pop(product_id)
            if changed is not None:
                yield changed
        elif known is None:
            (product,) = current.products.fetch([row])
            yield Fresh(product)
        else:
            yield Known(product_id, row, None, known.digest(row))
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


def _unchanged(current: Snapshot, rejects: RejectLog) -> IndexReport:
    """What is served stays."""
    return IndexReport(
        snapshot_id=current.id,
        folder=current.folder,
        products=len(current),
        rejected=rejects.total,
        rejects_by_reason=dict(rejects.by_reason),
        rejects_file=rejects.path if rejects.total else None,
        bytes=current.manifest.size,
        seconds={},
        changes=Changes(kept=len(current)),
    )
