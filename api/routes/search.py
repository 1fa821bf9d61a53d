"""`/v1/search`: a shopper's words in, a page of products out."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic_core import to_json

from api.problems import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    INVALID_FILTER,
    INVALID_QUERY,
    INVALID_REQUEST,
    NOT_READY,
    OVERLOADED,
    STAGE_UNAVAILABLE,
    URL_TOO_LONG,
    documented,
)
from api.routes.context import MetricsDep, ServiceDep
from api.routes.examples import SEARCH_RESPONSE
from api.schemas import SearchParams, SearchRequest, SearchResponse, search_answer
from api.service import Engine
from engine.listing import View
from engine.retrieval.filters import filter_from_json, parse_filters
from engine.types import Filter, Mode, SearchResult, Stage

router = APIRouter(prefix="/v1/search", tags=["search"])

_NOT_TOKEN = re.compile(r"[^A-Za-z0-9_-]")

_OK: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"example": SEARCH_RESPONSE}}}
}
_PROBLEMS = (
    INVALID_REQUEST, INVALID_QUERY, INVALID_FILTER, STAGE_UNAVAILABLE, NOT_READY, OVERLOADED,
)  # fmt: skip


@router.get(
    "",
    summary="Search the catalog",
    response_model=SearchResponse,
    responses={**_OK, **documented(*_PROBLEMS, URL_TOO_LONG)},
)
async def search(
    request: Request,
    params: Annotated[SearchParams, Query()],
    service: ServiceDep,
    metrics: MetricsDep,
) -> Response:
    """The products that fit a shopper's words best, best first."""
    work = _searching(
        params.q,
        k=params.k,
        offset=params.offset,
        stage=params.stage,
        mode=params.mode,
        read=params.understand,
        explain=params.explain,
        view=View(params.sort, params.collapse, tuple(params.facet)),
        filters=lambda: parse_filters(params.filter) if params.filter else None,
    )
    return _respond(request, metrics, *await service.run(work))


@router.post(
    "",
    summary="Search the catalog, with JSON filters",
    response_model=SearchResponse,
    responses={**_OK, **documented(*_PROBLEMS, BAD_REQUEST, BODY_TOO_LARGE)},
)
async def search_json(
    request: Request, body: SearchRequest, service: ServiceDep, metrics: MetricsDep
) -> Response:
    """As `GET`, for long queries and for filters that programs write."""
    work = _searching(
        body.query,
        k=body.k,
        offset=body.offset,
        stage=body.stage,
        mode=body.mode,
        read=body.understand,
        explain=body.explain,
        view=View(body.sort, body.collapse, tuple(body.facets)),
        filters=lambda: filter_from_json(body.filters) if body.filters else None,
    )
    return _respond(request, metrics, *await service.run(work))


def _searching(
    text: str,
    *,
    k: int,
    offset: int,
    stage: Stage | None,
    mode: Mode | None,
    read: bool,
    explain: bool,
    view: View,
    filters: Callable[[], Filter | None],
) -> Callable[[Engine, float], tuple[SearchResult, bytes]]:
    """A search to be run off the event loop, its answer written there as well."""

    def work(engine: Engine, deadline: float) -> tuple[SearchResult, bytes]:
        found = engine.navigate(
            text,
            k=k,
            offset=offset,
            filters=filters(),
            stage=stage,
            mode=mode,
            deadline=deadline,
            read=read,
            explain=explain,
            view=view,
        )
        result = found.result
        answer = search_answer(
            result,
            k=k,
            offset=offset,
            navigation=found.navigation,
            explanations=found.explanations,
        )
        return result, to_json(answer, inf_nan_mode="null")

    return work


def _respond(
    request: Request, metrics: MetricsDep, result: SearchResult, content: bytes
) -> Response:
    """The answer with its `Server-Timing`, counted and noted for the log."""
    metrics.search(result)
    request.state.notes.update(
        query_id=result.query_id,
        snapshot_id=result.snapshot_id,
        stage=result.stage.value,
        candidates=result.candidates,
        total=result.total,
        hits=len(result.hits),
        degraded=result.degraded,
    )
    spent = ", ".join(
        f"{_NOT_TOKEN.sub('-', name)};dur={milliseconds:.3f}"
        for name, milliseconds in result.timings.items()
    )
    return Response(content, headers={"Server-Timing": spent}, media_type="application/json")
