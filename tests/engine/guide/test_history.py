from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from engine.errors import QueryError
from engine.guide.history import MOST_EVENTS, Deed, Event, make_history

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def test_orders_are_told_apart_and_numbered_by_time() -> None:
    events = [
        Event("a", at=NOW - timedelta(days=1), order_id="late"),
        Event("b", at=NOW - timedelta(days=9), order_id="early"),
        Event("c", at=NOW - timedelta(days=8), order_id="early"),
        Event("d", at=datetime(2026, 10, 30)),
    ]

    history = make_history(events, [0, 1, 2, 3], NOW)

    assert history.order.tolist() == [2, 0, 0, 1]
    assert history.age.tolist() == [1, 9, 8, 2]
    assert history.bought.all()


def test_what_is_liked_has_a_sign() -> None:
    likings = [
        Event("a").liking, Event("a", Deed.CLICK).liking, Event("a", Deed.RETURN).liking,
        Event("a", Deed.RATING, rating=1).liking, Event("a", Deed.RATING, rating=5).liking,
        Event("a", Deed.DISMISSAL).liking,
    ]  # fmt: skip
    assert likings == [1.0, 0.2, -1.0, -1.0, 1.0, -1.0]


def test_the_future_counts_as_now() -> None:
    assert make_history([Event("a", at=NOW + timedelta(days=3))], [0], NOW).age.tolist() == [0]


@pytest.mark.parametrize("quantity", [0, -1, float("nan"), float("inf")])
def test_a_quantity_is_positive(quantity: float) -> None:
    with pytest.raises(QueryError, match="quantity of 'a'"):
        Event("a", quantity=quantity)


@pytest.mark.parametrize("rating", [None, 0, 6, float("nan")])
def test_a_rating_lies_between_one_and_five(rating: float | None) -> None:
    with pytest.raises(QueryError, match="between 1 and 5"):
        Event("a", Deed.RATING, rating=rating)


def test_a_history_is_bounded() -> None:
    events = [Event("a")] * (MOST_EVENTS + 1)
    with pytest.raises(QueryError, match="send the latest"):
        make_history(events, [0] * len(events), NOW)
