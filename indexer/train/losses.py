"""Losses over lists of candidates."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from indexer.train.lists import Origin, QueryList

TEACHER_TEMPERATURE = 0.35
"""The fused score's unit is the distance from first to fiftieth place: see `engine.fusion`."""


def target(candidates: QueryList) -> torch.Tensor | None:
    """Which candidate to choose, as probabilities; shape (candidates,).

    The teacher's scores through a softmax (Hinton et al. 2015) where it scored every candidate,
    otherwise the grades through one (ListNet, Cao et al. 2007), mined candidates at grade 0;
    weighed by how far each is trusted. None where the list does not tell its candidates apart.
    """
    taught = [each.teacher for each in candidates.candidates if each.teacher is not None]
    worth = [value / TEACHER_TEMPERATURE for value in taught]
    if len(worth) < len(candidates.candidates):  # never both: they are of different scales
        mined = {Origin.MINED: 0.0}
        grades = [mined.get(each.origin, each.grade) for each in candidates.candidates]
        worth = [grade for grade in grades if grade is not None]
    trusted = any(each.weight for each in candidates.candidates)
    if len(worth) < len(candidates.candidates) or len(set(worth)) < 2 or not trusted:
        return None
    weights = torch.tensor([each.weight for each in candidates.candidates])
    chosen = torch.softmax(torch.tensor(worth), dim=0) * weights
    return chosen / chosen.sum()


def listwise(scores: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence of the scores' softmax from what is wanted; a scalar."""
    certain = (wanted * wanted.clamp_min(1e-9).log()).sum()
    return certain - (wanted * torch.log_softmax(scores.float(), dim=0)).sum()


def classification(
    logits: torch.Tensor, grades: Sequence[int], weights: Sequence[float]
) -> torch.Tensor:
    """Weighted cross-entropy over the pairs whose class is known (grade >= 0); a scalar.

    Args:
        logits: shape (pairs, 4), in the order of `Relevance`.
        grades: the class of each pair, -1 where it is not known.
        weights: of each pair.
    """
    classes = torch.tensor(grades, device=logits.device)
    known = classes >= 0
    if not known.any():
        return logits.sum() * 0.0
    trust = torch.tensor(weights, device=logits.device)[known]
    each = torch.nn.functional.cross_entropy(
        logits[known].float(), classes[known], reduction="none"
    )
    return (each * trust).sum() / trust.sum().clamp_min(1e-9)


def classes_of(candidates: QueryList) -> list[int]:
    """The class of each candidate, -1 where the list does not say."""
    return [
        int(each.grade)
        if candidates.classes and each.grade is not None and each.grade == int(each.grade)
        else -1
        for each in candidates.candidates
    ]
