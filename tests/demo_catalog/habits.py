"""Reads `material/habits.lst`: what kinds of households buy, and what is bought after what."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.demo_catalog.material import FOLDER

Weights = dict[str, float]
"""Product type or model, and how often it is chosen."""


@dataclass(frozen=True)
class Profile:
    """One side of a household: what it keeps buying and what it likes to buy."""

    name: str
    share: float
    keeps: tuple[str, ...]
    likes: Weights


@dataclass(frozen=True)
class FollowUp:
    """After buying `bought`, with `probability`, one of `then` follows in about `days`."""

    bought: str
    probability: float
    days: int
    then: tuple[str, ...]


@dataclass
class Habits:
    """Everything in the file."""

    profiles: list[Profile] = field(default_factory=list)
    gifts: Weights = field(default_factory=dict)
    seasons: list[tuple[frozenset[int], Weights]] = field(default_factory=list)
    follow_ups: list[FollowUp] = field(default_factory=list)
    grows: dict[str, list[tuple[int, str, str]]] = field(default_factory=dict)
    """What a name stands for by age: (from day, model, size)."""
    lasting: frozenset[str] = frozenset()
    """Models that are not used up, on shelves of things that are."""
    followers: frozenset[str] = frozenset()
    """Models that only owners of something else buy."""


def read_habits() -> Habits:
    """The habits as written, in order."""
    habits = Habits()
    for line in (FOLDER / "habits.lst").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            kind, _, rest = line.partition(" ")
            _add(habits, kind, [cell.strip() for cell in rest.split("|")])
    return habits


def _add(habits: Habits, kind: str, cells: list[str]) -> None:
    if kind == "profile":
        name, share = cells[0].split()
        keeps, likes = (cell.partition(": ")[2] for cell in cells[1:])
        habits.profiles.append(Profile(name, float(share), tuple(keeps.split()), _weights(likes)))
    elif kind == "gift":
        habits.gifts = _weights(cells[0])
    elif kind == "season":
        months = frozenset(int(month) for month in cells[0].split(","))
        habits.seasons.append((months, _weights(cells[1])))
    elif kind == "after":
        probability, days = cells[1].split()
        then = tuple(_references(cells[2]))
        habits.follow_ups.append(FollowUp(cells[0], float(probability), int(days), then))
    elif kind == "grows":
        stages = [cell.split() for cell in cells[1:]]
        habits.grows[cells[0]] = [(int(day), model, size) for day, model, size in stages]
    elif kind == "lasts":
        habits.lasting |= frozenset(_references(cells[0]))
    elif kind == "owners":
        habits.followers |= frozenset(_references(cells[0]))
    else:
        raise ValueError(f"habits.lst: unknown kind of line {kind!r}")


def _weights(text: str) -> Weights:
    pairs = (item.partition("*") for item in text.split())
    return {name: float(weight or 1) for name, _, weight in pairs}


def _references(text: str) -> list[str]:
    """`pegs headlamp.2 toner.1,2` as ["pegs", "headlamp.2", "toner.1", "toner.2"]."""
    found = []
    for item in text.split():
        slug, _, models = item.partition(".")
        found += [f"{slug}.{model}" for model in models.split(",")] if models else [slug]
    return found
