"""What each request leaves behind: an id, one line of log, and its place in the metrics.

What a shopper typed is personal data: at the level `info` and above no line ever holds a query, a
filter or a query string, only ids, counts and times. The path is logged as its route's template,
and the traceback of an unexpected error without local variables.
"""

from __future__ import annotations

import logging
import re
import sys
import time
import uuid
from typing import Any, Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.tracebacks import ExceptionDictTransformer

from api.metrics import Metrics
from api.problems import INTERNAL, problem_response

REQUEST_ID: Final = "X-Request-ID"

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_CLIENT_GONE = 499
"""The status logged for a client that left before its answer (nginx's convention)."""

log = structlog.get_logger("daogou.api")


def route_of(scope: Scope) -> str:
    """The template of the route that answered; bounded, whatever paths are asked for."""
    route = scope.get("route")
    if route is not None:
        return str(getattr(route, "path_format", route.path))
    return "/assets" if "endpoint" in scope else "unmatched"


def _request_id(scope: Scope) -> str:
    """The caller's own id where it is harmless in a log, else a new one."""
    given = Headers(scope=scope).get(REQUEST_ID, "")
    return given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex


class RequestTelemetry:
    """Names, times, counts and logs each request; the last resort for unexpected errors.

    Handlers add to a request's line of log through `request.state.notes`.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; answer 500 where something unforeseen is raised."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        state = scope.setdefault("state", {})
        state["request_id"], state["notes"] = _request_id(scope), {}
        status = _CLIENT_GONE

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                MutableHeaders(scope=message)[REQUEST_ID] = state["request_id"]
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except Exception:  # the outermost wall: nothing of it may leak to the shopper
            log.exception("unexpected error", request_id=state["request_id"])
            if status != _CLIENT_GONE:
                raise  # half an answer is out: only closing the connection tells the client
            detail = "This is our fault. The server's log tells more under the request_id"
            await problem_response(scope, INTERNAL, detail)(scope, receive, send_named)
        finally:
            self._note(scope, status, time.perf_counter() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route, method = route_of(scope), scope["method"]
        self._metrics.request(route=route, method=method, status=status, seconds=seconds)
        log.info(
            "request",
            request_id=scope["state"]["request_id"],
            method=method,
            path=route,
            status=status,
            duration_ms=round(1000 * seconds, 3),
            **scope["state"]["notes"],
        )


def configure_logging(level: str) -> None:
    """Write JSON lines to standard error: ours, and warnings of uvicorn and other libraries."""
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
