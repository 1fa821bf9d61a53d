"""Sources → the lists that the stages of a recipe are trained on, by what they are worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from random import Random

from engine.text import passage
from indexer.train.judgments import from_evidence, from_labels, from_qrels, from_records
from indexer.train.lists import Origin, QueryList
from indexer.train.makers import Maker, StandIns
from indexer.train.mine import exclude, held_out, pseudo_queries
from indexer.train.sources import CatalogEntry, Sources, read_products, read_unlabelled


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much is made where nothing was judged, for each catalog."""

    real: int = 3_000
    """Unlabelled queries taught at most."""
    pseudo: int = 1_000
    """Queries made of products."""
    taught: int = 8
    """Candidates of a taught list."""
    mined: int = 6
    """Hard negatives added to a judged list."""


@dataclass(slots=True)
class Gathered:
    """What there is to train on."""

    gold: list[QueryList] = field(default_factory=list)
    """Judged by people, hard negatives mined beside."""
    machine: list[QueryList] = field(default_factory=list)
    """Judged by a language model, which was shown the hardest candidates."""
    records: list[QueryList] = field(default_factory=list)
    """Graded by what shoppers did."""
    real: list[QueryList] = field(default_factory=list)
    """Real queries, taught by keyword and vector search."""
    pseudo: list[QueryList] = field(default_factory=list)
    """Queries made of products, taught alike."""
    evidence: list[QueryList] = field(default_factory=list)
    """Questions with texts that answer them or do not."""
    left_out: Counter[str] = field(default_factory=Counter)
    """By file, pairs whose product the catalog lacks."""
    facts: dict[str, str] = field(default_factory=dict)
    """Source and licence of each part, for model cards."""

    def of(self, kinds: Sequence[str]) -> list[QueryList]:
        """The lists of these kinds (names of the fields above), in their order."""
        return list(chain.from_iterable(getattr(self, kind) for kind in kinds))

    def counts(self) -> Iterator[tuple[str, int, int]]:
        """Of each kind that there is: its name, lists and pairs."""
        for kind in ("gold", "machine", "records", "real", "pseudo", "evidence"):
            if lists := self.of([kind]):
                yield kind, len(lists), sum(len(each.candidates) for each in lists)


def gather(
    sources: Sources,
    makers: Mapping[str, Maker],
    amounts: Amounts,
    *,
    seed: int,
    without: Collection[str] = (),
) -> Gathered:
    """Every list of the sources.

    Nothing that people judged enters the other kinds: what is taught, labelled by machines, or
    recorded of shoppers has none of their queries. Gold kept out of a training is kept out whole.

    Args:
        sources: what to read.
        makers: what mines and teaches, by the name of the catalog. A catalog without one gets
            `StandIns`: for estimates, not for training.
        amounts: how much to make.
        seed: of every draw.
        without: texts of queries to leave out altogether.

    Raises:
        CatalogError: a file cannot be read, or a row of it.
        EvaluationError: queries and judgments do not fit together.
        SettingsError: the unlabelled queries cannot be read.
    """
    found = Gathered()
    kept_out = held_out(without)
    products = {entry.name: read_products(entry) for entry in sources.catalog}
    for entry in sources.catalog:
        passages = {product.id: passage(product) for product in products[entry.name]}
        _read_judged(found, entry, passages, kept_out)
    for evidence in sources.evidence:
        lists = from_evidence(evidence.file, leave_out=evidence.leave_out)
        found.evidence += exclude(lists, kept_out)
        found.facts[f"data {evidence.file.name}"] = _origin(evidence.source, evidence.licence)
    judged = kept_out | held_out(each.query for each in found.gold)
    found.machine = exclude(found.machine, judged)
    found.records = exclude(found.records, judged)
    for entry in sources.catalog:
        own = products[entry.name]
        maker = makers.get(entry.name) or StandIns(entry.name, own, seed)
        real = [query for query in read_unlabelled(entry) if not held_out([query]) & judged]
        Random(seed).shuffle(real)  # noqa: S311 - a sample, not a secret
        pseudo = pseudo_queries(own, amounts.pseudo, seed, without=judged)
        found.real += maker.teach(real[: amounts.real], amounts.taught)
        found.pseudo += maker.teach(pseudo, amounts.taught)
        found.gold = _mined(found.gold, entry.name, maker, amounts.mined)
    return found


def _read_judged(
    found: Gathered, entry: CatalogEntry, passages: Mapping[str, str], without: frozenset[str]
) -> None:
    """Add what people, machines and shoppers said of a catalog."""
    name, left_out = entry.name, found.left_out
    found.facts[f"data {name}"] = _origin(entry.source, entry.licence)
    if entry.queries and entry.qrels:
        classes = entry.grades == "classes"
        lists = from_qrels(
            name, passages, entry.queries, entry.qrels, classes=classes, left_out=left_out
        )
        found.gold += exclude(lists, without)
    for labels in entry.labels:
        origin = Origin.MACHINE if labels.machine_made else Origin.JUDGED
        lists = from_labels(
            name, passages, labels.file, origin=origin, weight=labels.weight, left_out=left_out
        )
        kind = found.machine if labels.machine_made else found.gold
        kind += exclude(lists, without)
        found.facts[f"data {labels.file.name}"] = _origin(labels.source, labels.licence)
    for table in entry.records:
        lists = from_records(name, passages, table, left_out=left_out)
        found.records += exclude(lists, without)


def _origin(source: str, licence: str) -> str:
    """Both in one line, as far as they are known."""
    return ", ".join(part for part in (source, licence) if part) or "not stated"


def _mined(lists: Sequence[QueryList], catalog: str, maker: Maker, count: int) -> list[QueryList]:
    """The lists, those of the catalog with hard negatives beside what was judged."""
    mined = iter(maker.mine([each for each in lists if each.catalog == catalog], count))
    return [next(mined) if each.catalog == catalog else each for each in lists]
