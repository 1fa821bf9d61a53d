"""Simulates fourteen months of purchases: households, seasons, follow-ups and returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from random import Random

from tests.demo_catalog.habits import Habits, Profile, Weights
from tests.demo_catalog.material import value_of
from tests.demo_catalog.products import SEED, Item

SHOPPERS = 620
START, END = date(2025, 9, 1), date(2026, 10, 31)
HEADER = "user_id,order_id,product_id,timestamp,quantity,price,event"

_SALE = (date(2025, 11, 26), date(2025, 12, 1))
_OFTEN_RETURNED = {"Women's Clothing": 0.09, "Men's Clothing": 0.07, "Shoes": 0.1}


class Shelf:
    """The catalog as a shopper meets it: some models and variants sell far better than others."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.models: dict[str, list[Item]] = {}
        self.keys: dict[str, list[str]] = {}
        for item in items:
            self.models.setdefault(item.model.key, []).append(item)
            keys = self.keys.setdefault(item.type.slug, [])
            if item.model.key not in keys:
                keys.append(item.model.key)

    def pick_model(self, reference: str, rng: Random) -> str:
        """A model of the type, or the model itself where the reference is one."""
        if "." in reference:
            return reference
        keys = self.keys[reference]
        return rng.choices(keys, weights=[_appeal(key, rank) for rank, key in enumerate(keys)])[0]

    def variant(self, key: str, shopper: str) -> Item:
        """The variant this shopper takes: always the same size, mostly the first colours."""
        wanted = self.models[key]
        for axis in wanted[0].model.axes:
            taste = Random(f"{SEED}:{shopper}:{axis.name}:{axis.values}")
            ranks = [1 / (rank + 1.5) for rank in range(len(axis.values))]
            value = taste.choices([text for text, _ in axis.values], weights=ranks)[0]
            wanted = [item for item in wanted if _has(item, axis.name, value)]
        return wanted[0]

    def sized(self, key: str, size: str) -> Item:
        """The variant of this size."""
        return next(item for item in self.models[key] if _has(item, "size", size))


def _appeal(key: str, rank: int) -> float:
    """How well a model sells: the first of a shelf better, with some luck."""
    luck = Random(f"{SEED}:{key}:appeal").paretovariate(2.5)
    return luck / (rank + 1.5)


def _has(item: Item, axis: str, text: str) -> bool:
    if axis == "color":
        return bool(item.row["color"] == text)
    return bool(item.row["attributes"][axis] == value_of(text))


@dataclass
class Shopper:
    """One shopper's habits and what they have bought so far."""

    id: str
    rng: Random
    profiles: list[Profile]
    joined: date
    left: date
    weekday: int
    baby_born: date
    owned: set[str] = field(default_factory=set)
    basket: list[tuple[date, Item, int]] = field(default_factory=list)


def simulate(items: Sequence[Item], habits: Habits) -> list[str]:
    """The lines of purchases.csv, header first, by time."""
    shelf = Shelf(items)
    orders: list[tuple[datetime, str, list[tuple[Item, int]]]] = []
    for number in range(1, SHOPPERS + 1):
        shopper = _shopper(number, habits)
        _keep_buying(shopper, shelf, habits)
        _buy_for_fun(shopper, shelf, habits)
        orders += _orders(shopper)
    orders.sort(key=lambda order: (order[0], order[1]))
    lines = []
    for number, (moment, shopper_id, contents) in enumerate(orders, start=100001):
        lines += list(_lines(f"o{number}", moment, shopper_id, contents))
    return [HEADER, *(line for _, line in sorted(lines))]


def _shopper(number: int, habits: Habits) -> Shopper:
    rng = Random(f"{SEED}:shopper:{number}")
    sides = [habits.profiles[0]]
    sides += [side for side in habits.profiles[1:] if rng.random() < side.share * 0.8]
    if len(sides) == 1:
        sides.append(rng.choice(habits.profiles[1:]))
    joined = START + timedelta(
        days=rng.randrange(300) if rng.random() < 0.35 else rng.randrange(20)
    )
    left = END - timedelta(days=rng.randrange(330) if rng.random() < 0.25 else rng.randrange(5))
    born = joined + timedelta(days=rng.randint(-200, 60))
    left = max(left, joined + timedelta(days=30))
    return Shopper(f"u{number:04d}", rng, sides, joined, min(left, END), rng.randrange(7), born)


def _keep_buying(shopper: Shopper, shelf: Shelf, habits: Habits) -> None:
    """Consumables, each at its own interval, with a change of brand now and then."""
    rng = shopper.rng
    for side in shopper.profiles:
        share = 0.03 if side.name == "household" else 0.2
        for name in side.keeps:
            if name in habits.grows or rng.random() < share:
                _repeat(shopper, name, shelf, habits)


def _repeat(shopper: Shopper, name: str, shelf: Shelf, habits: Habits) -> None:
    rng, stages = shopper.rng, habits.grows.get(name)
    key = shelf.pick_model(stages[0][1] if stages else name, rng)
    if key in habits.lasting:
        return
    pace = rng.lognormvariate(0.25, 0.3)
    day = shopper.joined + timedelta(days=rng.randrange(45))
    while day <= shopper.left:
        item = shelf.variant(key, shopper.id)
        if stages:
            age = (day - shopper.baby_born).days
            _, model, size = [stage for stage in stages if stage[0] <= max(age, 0)][-1]
            item = shelf.sized(model, size)
        _buy(shopper, _shopping_day(day, shopper), item, rng.choices((1, 2, 3), (80, 16, 4))[0])
        interval = int(item.type.habits["repeat"]) * pace
        day += timedelta(days=max(5, round(rng.gauss(interval, interval * 0.18))))
        if not stages and rng.random() < 0.05:
            other = shelf.pick_model(name, rng)
            key = key if other in habits.lasting else other


def _shopping_day(day: date, shopper: Shopper) -> date:
    """Regular shopping is done on one day of the week, so that orders hold several things."""
    return min(day + timedelta(days=(shopper.weekday - day.weekday()) % 7), END)


def _buy_for_fun(shopper: Shopper, shelf: Shelf, habits: Habits) -> None:
    """What is bought once: by interest and season, with gifts before Christmas."""
    rng = shopper.rng
    likes: Weights = {}
    for side in shopper.profiles:
        scale = 0.25 if side.name == "household" else 1.0
        for name, weight in side.likes.items():
            likes[name] = likes.get(name, 0) + weight * scale
    eagerness = rng.lognormvariate(
        -0.35, 0.7
    )  # purchases a month, a few shoppers far above the rest
    day = shopper.joined
    while day <= shopper.left:
        day += timedelta(days=1)
        gifts = date(2025, 11, 20) <= day <= date(2025, 12, 20) and rng.random() < 0.045
        if not gifts and rng.random() > eagerness / 30:
            continue
        wishes = habits.gifts if gifts else _in_season(likes, day, shelf, habits)
        for _ in range(rng.choices((1, 2, 3), (70, 22, 8))[0]):
            name = rng.choices(list(wishes), weights=list(wishes.values()))[0]
            key = shelf.pick_model(name, rng)
            if not gifts and rng.random() < _out_of_season(name, day, shelf):
                continue
            if key not in habits.followers and (gifts or key not in shopper.owned):
                _acquire(shopper, min(day, END), key, shelf, habits)


def _in_season(likes: Weights, day: date, shelf: Shelf, habits: Habits) -> Weights:
    wishes = dict(likes)
    for months, weights in habits.seasons:
        if day.month in months:
            for name, weight in weights.items():
                wishes[name] = wishes.get(name, 0) + weight * 0.4
    for name in wishes:
        wishes[name] *= 1.4 - _out_of_season(name, day, shelf)
    return wishes


def _out_of_season(name: str, day: date, shelf: Shelf) -> float:
    """The share of purchases of a type that are not made, since it is not its time of year."""
    peak = shelf.models[shelf.keys[name][0]][0].type.habits.get("peak")
    return 0.7 if peak and str(day.month) not in peak.split(",") else 0.0


def _acquire(shopper: Shopper, day: date, key: str, shelf: Shelf, habits: Habits) -> None:
    """Buys a model and, some days later, what goes with it."""
    rng = shopper.rng
    item = shelf.variant(key, shopper.id)
    _buy(shopper, day, item, 2 if rng.random() < 0.05 else 1)
    for rule in habits.follow_ups:
        if rule.bought in {key, item.type.slug} and rng.random() < rule.probability:
            later = day + timedelta(days=round(rng.expovariate(1 / rule.days)))
            follower = shelf.pick_model(rng.choice(rule.then), rng)
            if later <= END and follower not in shopper.owned:
                _acquire(shopper, later, follower, shelf, habits)


def _buy(shopper: Shopper, day: date, item: Item, quantity: int) -> None:
    shopper.owned.add(item.model.key)
    shopper.basket.append((day, item, quantity))


def _orders(shopper: Shopper) -> Iterator[tuple[datetime, str, list[tuple[Item, int]]]]:
    """One order a day, at an hour when people shop."""
    days: dict[date, dict[str, tuple[Item, int]]] = {}
    for day, item, quantity in shopper.basket:
        days.setdefault(day, {}).setdefault(item.row["id"], (item, quantity))
    for day in sorted(days):
        hour = shopper.rng.choices(
            range(6, 24), (1, 2, 3, 4, 5, 5, 6, 6, 5, 4, 4, 5, 6, 8, 9, 8, 5, 2)
        )[0]
        clock = time(hour, shopper.rng.randrange(60), shopper.rng.randrange(60))
        yield datetime.combine(day, clock), shopper.id, list(days[day].values())


def _lines(
    order: str, moment: datetime, shopper: str, contents: list[tuple[Item, int]]
) -> Iterator[tuple[str, str]]:
    """The lines of one order, and of what is sent back from it, with their times to sort by."""
    for item, quantity in contents:
        rng = Random(f"{SEED}:{order}:{item.row['id']}")
        price = _price(item, moment.date())
        yield _line(order, moment, shopper, item, quantity=quantity, price=price)
        chance = _OFTEN_RETURNED.get(item.type.category[0], 0.012)
        back = moment + timedelta(days=rng.randint(4, 24), minutes=rng.randrange(600))
        if "repeat" not in item.type.habits and rng.random() < chance and back.date() <= END:
            yield _line(order, back, shopper, item, quantity=-quantity, price=price)


def _line(
    order: str, moment: datetime, shopper: str, item: Item, *, quantity: int, price: float
) -> tuple[str, str]:
    stamp = f"{moment.isoformat()}Z"
    product = item.row["id"]
    key = f"{stamp}{order}{product}{quantity:+d}"
    return key, f"{shopper},{order},{product},{stamp},{quantity},{price:.2f},purchase"


def _price(item: Item, day: date) -> float:
    """The price paid: the list price, less for some before 2026, a fifth off in the sale."""
    price = float(item.row["price"])
    if day.year == 2025 and int(item.row["gtin"][-2]) < 3:
        price *= 0.96
    if _SALE[0] <= day <= _SALE[1] and "repeat" not in item.type.habits:
        price *= 0.8
    return round(price, 2)
