"""A shop whose store suffers the faults: what it offers, what is next, and whether all is well."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from engine.manifest import CHECKSUM, MANIFEST
from engine.snapshot import Snapshot
from engine.store import SnapshotStore
from engine.types import Product, Stage
from tests.faults.commands import Child, Command, Name
from tests.faults.disk import Disk
from tests.faults.layer import FileLayer
from tests.faults.tiny import save_tiny_encoder
from tests.faults.witness import Witness
from tests.rankings import info_for, stage_model, write_ranking
from tests.shop import PRODUCTS, write_catalog

_FEWEST = 8  # products left in the shop
_MEASURED: tuple[Name, ...] = ("index", "prune", "apply", "publish")
_KEPT = {"CURRENT", "writer.lock", "rejects.jsonl", "rejects-apply.jsonl"}
"""What a store at rest holds beside its snapshots."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a store serves."""

    products: Mapping[str, Product]
    ranking: str | None = None
    """Fingerprint of its final ranking."""


@dataclass(frozen=True, slots=True)
class Step:
    """A command, and what it makes of the shop."""

    command: Command
    before: Offer
    after: Offer


@dataclass(frozen=True, slots=True)
class Run:
    """How long a run of a command is."""

    operations: int
    """Those that change the store."""
    published: int
    """Those that change more of it than what is staged aside."""
    seconds: float
    """From the start of its process to its end."""


class Shop:
    """One store on one disk, with a witness that searches it all the while."""

    def __init__(self, folder: Path) -> None:
        self.disk = Disk(folder / "disk")
        self.store = self.disk.folder / "store"
        self.snapshots = SnapshotStore(self.store)
        self._folder = folder
        self._encoder = save_tiny_encoder(folder / "encoder")
        self._number = itertools.count(1)
        self.tally = Counter[str]()
        """What the faults did."""
        self.offer = Offer({product.id: replace(product, price=0.0) for product in PRODUCTS})
        first = write_catalog(folder / "catalog", list(self.offer.products.values()))
        Command("index", self.store, first.rename(folder / "first.jsonl"), self._encoder).run()
        self.witness = Witness(self.store)
        self._measure("index")  # the first process also waits for the libraries to load
        self.runs = {name: self._measure(name) for name in _MEASURED}
        """A whole run of each command."""

    def _measure(self, name: Name) -> Run:
        step = self.next(name, random.Random(0))
        began = time.monotonic()
        ended = Child(step.command, FileLayer(self.store)).end()
        seconds = time.monotonic() - began
        self.acknowledge(step, ended.snapshot_id)
        return Run(ended.met, ended.published, seconds)

    def next(self, name: Name, draw: random.Random) -> Step:
        """A change of the shop that the command would make; nothing is done yet."""
        number = next(self._number)
        products, ranking, path = dict(self.offer.products), None, self._folder / f"{name}-{number}"
        match name:
            case "index":
                titled = (replace(one, title=f"{one.title} {number}") for one in PRODUCTS)
                products = _restocked({one.id: one for one in titled}, draw, number)
                catalog = list(products.values())
                draw.shuffle(catalog)
                path = write_catalog(path.with_suffix(".jsonl"), catalog)
            case "apply":
                products, ranking = _restocked(products, draw, number), self.offer.ranking
                gone = sorted(self.offer.products.keys() - products)
                rows = ({"id": one, "deleted": True} for one in gone)
                path = write_catalog(path.with_suffix(".jsonl"), list(products.values()))
                with path.open("a", encoding="utf-8") as lines:
                    lines.writelines(json.dumps(row) + "\n" for row in rows)
            case "publish":
                manifest = self.snapshots.manifest(self.snapshots.current().name)
                weights = stage_model({"lexical": float(number)})
                info = info_for(manifest, {Stage.FUSED: weights})
                ranking = write_ranking(path, info).fingerprint
            case "prune":
                ranking = self.offer.ranking
        command = Command(name, self.store, path, self._encoder)
        return Step(command, self.offer, Offer(products, ranking))

    def served(self) -> Offer:
        """What the store serves, read as a server reads it, after every byte was checked."""
        assert self.snapshots.verify() == []
        snapshot = Snapshot.open(self.snapshots.current())
        products = {product.id: product for product in snapshot.products}
        snapshot.products.close()
        ranking = snapshot.manifest.ranking
        return Offer(products, ranking.fingerprint if ranking else None)

    def holds(self, step: Step, *, done: bool | None) -> None:
        """Assert that the store serves one whole state, and the running witness with it.

        Args:
            step: what was tried.
            done: whether it must have been done; None where either is right.
        """
        served = self.served()
        allowed = {None: (step.before, step.after), True: (step.after,), False: (step.before,)}
        assert served in allowed[done], f"neither what was nor what was asked for: {served}"
        self.witness.serves(self.snapshots.current_id())

    def repeat(self, step: Step) -> None:
        """Assert that the step can be done now, and leaves nothing behind."""
        self.acknowledge(step, step.command.run())
        self._rests()

    def acknowledge(self, step: Step, snapshot_id: str | None) -> None:
        """Hold the command to what it said."""
        assert snapshot_id is not None
        assert snapshot_id == self.snapshots.current_id()
        self.holds(step, done=True)
        self.offer = step.after

    def _rests(self) -> None:
        """Assert that nothing but one whole snapshot is left once old ones are pruned."""
        with self.snapshots.writing():
            self.snapshots.prune(keep=1)
        current = self.snapshots.current()
        assert self.snapshots.ids() == [current.name]
        files = self.snapshots.manifest(current.name).files
        kept = {current / name for name in (*files, MANIFEST, CHECKSUM)}
        found = {path for path in self.store.rglob("*") if path.is_file()}
        assert kept <= found
        assert found - kept <= {self.store / name for name in _KEPT}
        assert self.snapshots.verify() == []

    def close(self) -> None:
        """End the witness and give the disk back."""
        self.witness.__exit__()
        self.disk.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _restocked(
    known: Mapping[str, Product], draw: random.Random, number: int
) -> dict[str, Product]:
    """Some of the products, each at a price that no other state of the shop has.

    Args:
        known: by id, those that are there; others are as they were when the shop opened.
        draw: decides which.
        number: the price.
    """
    chosen = draw.sample(PRODUCTS, draw.randint(_FEWEST, len(PRODUCTS)))
    return {one.id: replace(known.get(one.id, one), price=float(number)) for one in chosen}
