"""One shop for all faults, a new one after a failure; and the report at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.faults.census import Census
from tests.faults.shop import Shop

_CENSUS = pytest.StashKey[Census]()


@pytest.fixture(scope="session")
def census(pytestconfig: pytest.Config) -> Census:
    return pytestconfig.stash.setdefault(_CENSUS, Census())


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory, census: Census) -> Iterator[Callable[[], Shop]]:
    """Gives the shop of the faults before, a new one where those have not left it whole."""
    opened: list[Shop] = []
    failures = 0

    def close(shop: Shop) -> None:
        with suppress(AssertionError):  # a witness that died was missed before
            seen = shop.witness.close()
            census.searches += seen.served
            census.failed_searches += len(seen.failures)
        census.tally.update(shop.tally)
        shop.close()

    def shop() -> Shop:
        nonlocal failures
        if opened and census.failures.total() > failures:
            failures = census.failures.total()
            close(opened.pop())
        if not opened:
            opened.append(Shop(tmp_path_factory.mktemp("shop")))
        return opened[0]

    yield shop
    for one in opened:
        close(one)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the counts."""
    found = config.stash.get(_CENSUS, None)
    if found is not None:
        terminalreporter.section("faults")
        for line in found.lines():
            terminalreporter.line(line)
