"""What routes have at hand: the app's service, its metrics, and who phrases answers."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from api.metrics import Metrics
from api.phrasing import Phraser
from api.service import Service


async def _service(request: Request) -> Service:
    """The app's engine and its threads. Async, so that it costs no thread."""
    service: Service = request.app.state.service
    return service


async def _metrics(request: Request) -> Metrics:
    metrics: Metrics = request.app.state.metrics
    return metrics


async def _phraser(request: Request) -> Phraser | None:
    phraser: Phraser | None = request.app.state.phraser
    return phraser


ServiceDep = Annotated[Service, Depends(_service)]
MetricsDep = Annotated[Metrics, Depends(_metrics)]
PhraserDep = Annotated[Phraser | None, Depends(_phraser)]
