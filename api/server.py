"""Runs the app under uvicorn."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import uvicorn

from api.app import create_app
from api.listening import address_of
from api.service import Engine
from api.telemetry import configure_logging
from engine.settings import Settings

_GRACE_SECONDS = 10
"""What requests under way may take to end once the server was told to stop."""


def run(
    load: Callable[[], Engine],
    settings: Settings,
    listener: socket.socket,
    *,
    log_level: str = "info",
    announce: Callable[[str], None],
) -> None:
    """Serve until told to stop (SIGINT, SIGTERM); requests under way are finished.

    `announce` gets the URL once the first search would be answered.

    Raises:
        DaogouError: the engine could not be opened; whatever else `load` raised.
    """
    configure_logging(log_level)
    failures: list[BaseException] = []

    def opened(failure: BaseException | None) -> None:
        if failure is None:
            announce(address_of(listener))
            return
        failures.append(failure)
        server.should_exit = True

    server = uvicorn.Server(
        uvicorn.Config(
            create_app(load, settings, on_opened=opened),
            log_config=None,
            access_log=False,  # our own line has more, and no query
            lifespan="on",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    if failures:
        raise failures[0]
