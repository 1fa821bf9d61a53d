"""The app: an engine behind HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

from api import problems
from api.limits import InputLimits, SecurityHeaders
from api.metrics import Metrics
from api.phrasing import phraser_of
from api.routes import guide, navigate, operations, page, products, search
from api.service import Engine, Service
from api.telemetry import RequestTelemetry
from engine.settings import Settings

Opened = Callable[[BaseException | None], None]
"""Called once, when opening has ended: with None, or with why it failed."""

_DESCRIPTION = """\
Semantic product search over one catalog. Queries have at most {max_query_chars:,} characters.
Errors are problem details (RFC 9457): compare `type`, show `detail`. Every response carries
`X-Request-ID`; send your own (letters, digits, `._-`, at most 64) to find a request in the logs."""


class _App(FastAPI):
    """FastAPI, with our errors in its OpenAPI document."""

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if self.openapi_schema is None:
            problems.complete(super().openapi())
        return super().openapi()


def create_app(
    load: Callable[[], Engine], settings: Settings, *, on_opened: Opened | None = None
) -> FastAPI:
    """An app that searches the engine that `load` opens.

    `load` runs in the background once the app starts: until it returns, `/healthz` answers 200,
    `/readyz` and searches answer 503. Where it raises, the app stays unready and `on_opened` is
    told, so that a server can stop.
    """
    service = Service(load, timeout=settings.timeout_ms / 1000, queue=settings.queue)
    metrics = Metrics(service)
    app = _App(
        title="daogou",
        version=version("daogou"),
        description=_DESCRIPTION.format(max_query_chars=settings.max_query_chars),
        lifespan=_lifespan(service, on_opened, settings.follow_seconds),
        docs_url=None,  # both load scripts from a CDN
        redoc_url=None,
        redirect_slashes=False,  # the redirect would trust the Host header
    )
    app.state.service = service
    app.state.metrics = metrics
    app.state.phraser = phraser_of(settings)
    for resource in (search, navigate, guide, products, operations, page):
        app.include_router(resource.router)
    app.mount("/assets", page.assets)
    problems.install(app)
    # The last one added is the outermost: what the others refuse is logged and guarded too.
    app.add_middleware(InputLimits)
    app.add_middleware(RequestTelemetry, metrics=metrics)
    app.add_middleware(SecurityHeaders)
    return app


def _lifespan(
    service: Service, on_opened: Opened | None, follow_seconds: float
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Opens the service in the background at start-up, lets it follow the store, and closes it."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        opening = asyncio.create_task(service.open())
        following: list[asyncio.Task[None]] = []

        def ended(task: asyncio.Task[None]) -> None:
            if task.cancelled():
                return
            failure = task.exception()
            service.opened(failure)
            if failure is None and follow_seconds:
                following.append(asyncio.create_task(service.follow(follow_seconds)))
            if on_opened is not None:
                on_opened(failure)

        opening.add_done_callback(ended)
        yield
        for task in (opening, *following):
            task.cancel()
        service.close()

    return lifespan
