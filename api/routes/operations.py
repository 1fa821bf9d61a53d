"""For whoever runs the service: is it alive, is it ready, how is it doing."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response

from api.metrics import CONTENT_TYPE
from api.problems import NOT_READY, documented
from api.routes.context import MetricsDep, ServiceDep
from api.schemas import HealthBody, ReadyBody

router = APIRouter(tags=["operations"])


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> HealthBody:
    """Always 200 while the process can answer: restart it where this fails."""
    return HealthBody(status="alive")


@router.get("/readyz", summary="Can it search?", responses=documented(NOT_READY))
async def readyz(service: ServiceDep) -> ReadyBody:
    """200 once a snapshot is open: send shoppers here only then."""
    snapshot = service.engine.snapshot
    return ReadyBody(
        status="ready",
        snapshot_id=snapshot.id,
        created_at=snapshot.created_at.isoformat(),
        products=len(snapshot),
    )


@router.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
async def prometheus(metrics: MetricsDep) -> Response:
    """Requests, latency by route and by stage, empty and degraded answers, the snapshot's age."""
    return Response(metrics.exposition(), media_type=CONTENT_TYPE)
