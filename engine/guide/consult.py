"""Consultation: a question, and an answer that is the catalog's own text, with its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.analysis import analyze
from engine.exclusion import MARK, absent
from engine.guide.evidence import (
    FOLDER,
    SHIPPED_EVIDENCE,
    EvidenceRanker,
    Read,
    compute,
    load_evidence,
)
from engine.guide.explain import Explanation
from engine.guide.explain_evidence import Asked, explain_evidence
from engine.guide.grounding import is_price
from engine.guide.needs import Constraint, Needs, Wish, read_needs
from engine.guide.pieces import Piece, pieces_of
from engine.models.encoder import TransformerEncoder, load_encoder
from engine.models.folder import read_model_info
from engine.models.reranker import SHIPPED_RERANKER, TokenReranker, load_adapted
from engine.normal import comparable
from engine.retrieval.filters import allowed_rows
from engine.snapshot import Snapshot
from engine.types import AnyOf, AttributeValue, Filter, Product, Vectors

MOST_PRODUCTS = 10
"""Products that one question may be about."""
_MOST_READ = 96  # pieces of a product: those that share most words with the question, then in order
_SHOWN = 3  # pieces of evidence
_SURE = 0.5  # share of what keyword search finds for a name that must be of that name
_PROBED = 50  # products of that keyword search
_COMPARED = ("price", "brand", "color", "rating", "rating_count", "in_stock")


@dataclass(frozen=True, slots=True)
class Evidence:
    """A statement of the catalog that speaks to a question."""

    piece: Piece
    probability: float
    """How likely it answers, 0 to 1."""
    explanation: Explanation | None = None
    """Why it comes first, where that was asked for."""


@dataclass(frozen=True, slots=True)
class ProductAnswer:
    """What the catalog says of one product to a question."""

    product: Product
    answered: bool
    """False: the catalog does not say. The evidence is then the nearest there is."""
    probability: float
    """How likely the catalog says, 0 to 1."""
    evidence: tuple[Evidence, ...]
    """Best first."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One need, and what a product's texts say of it."""

    need: str
    met: bool | None
    """None: could not be verified."""
    evidence: tuple[Piece, ...] = ()


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One product for a need, with what speaks for it and against it."""

    product: Product
    rank: int
    checked: tuple[Checked, ...]
    explanation: Explanation | None = None
    """Why search found it, where that was asked for."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Products side by side: what they differ in."""

    products: tuple[str, ...]
    """Ids, in order."""
    rows: Mapping[str, tuple[AttributeValue | None, ...]]
    """By field or attribute, one value a product; None where the catalog says nothing."""


@dataclass(frozen=True, slots=True)
class Consultation:
    """The answer to a question."""

    snapshot_id: str
    question: str
    answers: tuple[ProductAnswer, ...] = ()
    """About the products that were asked about."""
    needs: Needs | None = None
    """Where advice was asked for: what was understood."""
    given_up: tuple[Constraint, ...] = ()
    """What no product meets together with the rest: the suggestions do without."""
    suggestions: tuple[Suggestion, ...] = ()
    nothing_fits: bool = False
    """Of advice: the search says that the catalog has nothing for it. The suggestions stay."""
    comparison: Comparison | None = None
    """Of two products or more."""


class Consultant:
    """Answers questions from one snapshot's texts. Safe to use from many threads."""

    def __init__(self, snapshot: Snapshot, *, threads: int = 0, kept: Path | None = None) -> None:
        """Prepare; models are loaded with the first question. Arguments as of `Snapshot`."""
        self._snapshot = snapshot
        self._threads = threads
        self._kept = kept

    @cached_property
    def encoder(self) -> TransformerEncoder:
        """The snapshot's encoder, giving tokens too."""
        folder = self._snapshot.folder / "models" / "encoder"
        return load_encoder(folder, threads=self._threads, tokens=True, kept=self._kept)

    @cached_property
    def _ranker(self) -> EvidenceRanker | None:
        """The snapshot's own or else the shipped one: what was fitted on the models at hand."""
        for folder in (self._snapshot.folder / FOLDER, SHIPPED_EVIDENCE):
            if folder.is_dir():
                ranker = load_evidence(folder)
                known = ranker.info.reranker in {"", *self._rerankers}
                if known and ranker.info.encoder == self.encoder.fingerprint:
                    return ranker
        return None

    @cached_property
    def _rerankers(self) -> dict[str, Path]:
        """The rerankers at hand, by fingerprint: the snapshot's and the shipped one."""
        folders = (self._snapshot.folder / "models" / "reranker", SHIPPED_RERANKER)
        there = [folder for folder in folders if folder.is_dir()]
        return {read_model_info(one, kind="reranker").fingerprint: one for one in there}

    @cached_property
    def _reranker(self) -> TokenReranker | None:
        """The reranker that the ranker adapts, with its adapters."""
        ranker = self._ranker
        if ranker is None or not ranker.info.reranker:
            return None
        folder = self._rerankers[ranker.info.reranker]
        return load_adapted(folder, ranker.adapters, threads=self._threads)

    def share_encoder(self, other: Consultant) -> None:
        """Use the encoder that another has loaded, where the snapshots have the same."""
        entry = self._snapshot.manifest.models["encoder"]
        if other._snapshot.manifest.models["encoder"] == entry and "encoder" in vars(other):
            vars(self)["encoder"] = other.encoder

    def needs(self, turns: Sequence[str]) -> Needs:
        """What a shopper's turns state.

        A brand or colour that may be another word ("mint tea") is a constraint only where most of
        what keyword search finds for it carries it, a number only where it is a price; a wish like
        any other elsewhere.
        """
        stated = read_needs(turns, self._snapshot.facets)
        sure = tuple(one for one in stated.constraints if self._sure(one, stated))
        rest = tuple(Wish(one.name, one.negated) for one in stated.constraints if one not in sure)
        return Needs(sure, rest + stated.wishes)

    def _sure(self, one: Constraint, stated: Needs) -> bool:
        if one.field == "price":
            return is_price(one, stated.text, self._snapshot)
        (found,) = self._snapshot.lexical.search([one.name], _PROBED)
        allowed = allowed_rows(AnyOf(one.field, one.values), self._snapshot.facets)
        return len(found) > 0 and float(allowed.mask[found.rows].mean()) >= _SURE

    def relaxed(self, needs: Needs, filters: Filter | None) -> tuple[Needs, tuple[Constraint, ...]]:
        """The needs that some product meets beside the filters, and what was given up for that.

        Of the constraints the one is given up first without which most products are left.
        """
        facets, kept = self._snapshot.facets, list(needs.constraints)
        masks = {one: allowed_rows(one.to_filter(), facets).mask for one in kept}
        base = np.ones(len(self._snapshot), dtype=np.bool_)
        if filters is not None:
            base = allowed_rows(filters, facets).mask

        def left(without: Constraint | None) -> int:
            chosen = [masks[one] for one in kept if one is not without]
            return int(np.logical_and.reduce([base, *chosen]).sum())

        given_up: list[Constraint] = []
        while kept and not left(None):
            worst = max(kept, key=left)
            kept.remove(worst)
            given_up.append(worst)
        return Needs(tuple(kept), needs.wishes), tuple(given_up)

    def answer(self, question: str, product: Product, *, explain: bool = False) -> ProductAnswer:
        """What the catalog says of a product to a question: its own text, never other words.

        With `explain`, why the first statement comes first.
        """
        pieces = _Pieces(product, question, self.encoder, self._reranker)
        found = self._answer(question, product, pieces)
        if not explain or not found.evidence:
            return found
        first, *others = found.evidence
        why = explain_evidence(
            pieces.asked(question), pieces.pieces.index(first.piece), self._ranker, self.encoder
        )
        return replace(found, evidence=(replace(first, explanation=why), *others))

    def _answer(self, question: str, product: Product, pieces: _Pieces) -> ProductAnswer:
        given = pieces.read(question)
        ranker = self._ranker
        if ranker is None:  # another encoder: its cosines rank, and nothing is known of their worth
            scores = given.column("cosine")
            odds = given.column("overlap")
            chance = float(odds.max())
            answered = chance >= 1
        else:
            scores, odds = ranker.rank(given), ranker.each(given)
            chance = ranker.answerable(given)
            answered = ranker.says(chance)
        best = np.argsort(-scores, kind="stable")[:_SHOWN]
        shown = tuple(Evidence(pieces.pieces[place], float(odds[place])) for place in best)
        return ProductAnswer(product, answered, chance, shown)

    def suggest(
        self,
        needs: Needs,
        given_up: Sequence[Constraint],
        products: Sequence[Product],
        most: int,
    ) -> tuple[Suggestion, ...]:
        """The products that meet most needs, each with evidence for every one.

        In the order given where as many are met. One whose texts say that a need is not met comes
        behind all others; to be out of stock weighs as much as a need that could not be verified.
        """
        checked = [(product, self._check(needs, given_up, product)) for product in products]
        checked.sort(key=lambda pair: _shortcomings(*pair))
        return tuple(
            Suggestion(product, rank, found)
            for rank, (product, found) in enumerate(checked[:most], start=1)
        )

    def _check(
        self, needs: Needs, given_up: Sequence[Constraint], product: Product
    ) -> tuple[Checked, ...]:
        """Every need, and what the product's texts say of it."""
        pieces = _Pieces(product, needs.text, self.encoder, self._reranker)
        fields = {piece.field: (piece,) for piece in pieces.pieces}
        constraints = [*needs.constraints, *given_up]
        return (
            *(
                Checked(one.words, _holds(one, product), fields.get(one.field, ()))
                for one in constraints
            ),
            *(self._check_wish(wish, product, pieces) for wish in needs.wishes),
        )

    def _check_wish(self, wish: Wish, product: Product, pieces: _Pieces) -> Checked:
        """Met where the texts say so in its words; beside it the nearest where they do not."""
        wanted = set(analyze(wish.words))
        denying = _saying({MARK + term for term in wanted}, pieces)
        if wish.negated:
            need, saying = f"no {wish.words}", _saying(wanted, pieces)
            if denying or saying:
                return Checked(need, bool(denying), (denying or saying)[:1])
            return Checked(need, None)
        if denying:
            return Checked(wish.words, met=False, evidence=denying[:1])
        chosen, missing = _cover(wanted, pieces)
        if not missing:
            return Checked(wish.words, met=True, evidence=chosen)
        denying = tuple(one for term in missing for one in _saying({MARK + term}, pieces))
        if denying:
            return Checked(wish.words, met=False, evidence=denying[:1])
        nearest = self._answer(wish.words, product, pieces)
        if nearest.answered and not chosen:
            chosen = (nearest.evidence[0].piece,)
        return Checked(wish.words, met=None, evidence=chosen)


def _shortcomings(product: Product, checked: Sequence[Checked]) -> tuple[bool, int]:
    """Whether a need is not met, and how much could not be verified."""
    unknown = sum(one.met is None for one in checked) + (product.in_stock is False)
    return any(one.met is False for one in checked), unknown


class _Pieces:
    """A product's pieces, read by the encoder when first asked about, and then kept."""

    def __init__(
        self,
        product: Product,
        question: str,
        encoder: TransformerEncoder,
        reranker: TokenReranker | None,
    ) -> None:
        every = pieces_of(product)
        asked = set(analyze(question))
        if len(every) > _MOST_READ:
            shared = np.array([len(asked & set(analyze(piece.text))) for piece in every])
            first = np.sort(np.argsort(-shared, kind="stable")[:_MOST_READ])
            every = [every[place] for place in first.tolist()]
        self.pieces = every
        self._encoder = encoder
        self._reranker = reranker

    @cached_property
    def terms(self) -> list[set[str]]:
        """The terms of each piece; of what it denies, its ¬terms alone."""
        return [_terms(piece) for piece in self.pieces]

    @cached_property
    def _encoded(self) -> tuple[Vectors, list[NDArray[np.float32]]]:
        return self._encoder.read_passages([piece.text for piece in self.pieces])

    def read(self, question: str) -> Read:
        """What the evidence ranker reads."""
        asked = self.asked(question)
        across = asked.across(asked.tokens[1:])
        return compute(question, asked.texts, asked.vectors, asked.tokens, across)

    def asked(self, question: str) -> Asked:
        """The question and the pieces as the encoder read them."""
        asked, tokens = self._encoder.read_passages([question])
        texts = [piece.text for piece in self.pieces]
        vectors, others = self._encoded
        return Asked(
            question, texts, np.concatenate([asked, vectors]), [*tokens, *others], self._reranker
        )


def _cover(wanted: set[str], pieces: _Pieces) -> tuple[tuple[Piece, ...], set[str]]:
    """The fewest pieces that together say most of the words, and the words that none says."""
    missing, chosen = set(wanted), []
    while missing:
        met = [len(missing & terms) for terms in pieces.terms]
        best = max(range(len(met)), key=lambda place: (met[place], -len(pieces.terms[place])))
        if not met[best]:
            break
        chosen.append(pieces.pieces[best])
        missing -= pieces.terms[best]
    return tuple(chosen), missing


def _saying(terms: set[str], pieces: _Pieces) -> tuple[Piece, ...]:
    """The pieces in which all of the terms stand."""
    every = zip(pieces.pieces, pieces.terms, strict=True)
    return tuple(piece for piece, there in every if terms <= there)


def _terms(piece: Piece) -> set[str]:
    if piece.denied:
        return {MARK + term for term in analyze(piece.denied)}
    denied = set(absent(piece.text))
    said = set(analyze(piece.text))
    return denied | {term for term in said if MARK + term not in denied}


def _holds(constraint: Constraint, product: Product) -> bool | None:
    """Whether the product's field meets the constraint; None where it has none."""
    if constraint.field == "price":
        if product.price is None:
            return None
        low = constraint.low if constraint.low is not None else product.price
        high = constraint.high if constraint.high is not None else product.price
        return (low <= product.price <= high) is not constraint.negated
    held = product.brand if constraint.field == "brand" else product.color
    if not held:
        return None
    among = comparable(held) in {comparable(value) for value in constraint.values}
    return among is not constraint.negated


def compare(products: Sequence[Product]) -> Comparison:
    """What the products differ in: fields first, then attributes that two of them share."""
    rows: dict[str, tuple[AttributeValue | None, ...]] = {}
    for name in _COMPARED:
        rows[name] = tuple(_known(getattr(product, name)) for product in products)
    for name in dict.fromkeys(name for product in products for name in product.attributes):
        values = tuple(product.attributes.get(name) for product in products)
        if sum(value is not None for value in values) >= min(2, len(products)):
            rows[name] = values
    differing = {
        name: values for name, values in rows.items() if len({repr(value) for value in values}) > 1
    }
    return Comparison(tuple(product.id for product in products), differing)


def _known(value: AttributeValue | None) -> AttributeValue | None:
    return None if value == "" else value
