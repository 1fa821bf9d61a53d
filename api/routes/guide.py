"""`/v1/recommend`, `/v1/ask`, and what goes with a product."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query
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
    PRODUCT_NOT_FOUND,
    STAGE_UNAVAILABLE,
    URL_TOO_LONG,
    documented,
)
from api.routes.context import PhraserDep, ServiceDep
from api.schemas_ask import AskRequest, AskResponse, ask_answer
from api.schemas_guide import (
    RecommendRequest,
    RecommendResponse,
    RelatedParams,
    RelatedResponse,
    recommend_answer,
    related_answer,
)
from api.service import Engine
from engine.guide.consult import Consultation
from engine.retrieval.filters import filter_from_json, parse_filters
from engine.types import Filter, Product

router = APIRouter(prefix="/v1", tags=["guide"])

_ProductId = Annotated[str, Path(description="As in the catalog, percent-encoded.")]
_PROBLEMS = (INVALID_REQUEST, INVALID_FILTER, NOT_READY, OVERLOADED)


@router.post(
    "/recommend",
    summary="Products for a shopper",
    response_model=RecommendResponse,
    responses=documented(*_PROBLEMS, INVALID_QUERY, BAD_REQUEST, BODY_TOO_LARGE),
)
async def recommend(body: RecommendRequest, service: ServiceDep) -> Response:
    """The products that suit what a shopper did, each with its reason. The history is not kept."""
    events = [event.to_event() for event in body.history]

    def work(engine: Engine, _deadline: float) -> bytes:
        filters = filter_from_json(body.filters) if body.filters else None
        found = engine.recommend(events, k=body.k, filters=filters, explain=body.explain)
        return to_json(recommend_answer(engine.snapshot.id, found), inf_nan_mode="null")

    return Response(await service.run(work), media_type="application/json")


@router.post(
    "/ask",
    summary="A question, and the catalog's answer",
    response_model=AskResponse,
    responses=documented(*_PROBLEMS, INVALID_QUERY, PRODUCT_NOT_FOUND, BAD_REQUEST, BODY_TOO_LARGE),
)
async def ask(body: AskRequest, service: ServiceDep, phraser: PhraserDep) -> Response:
    """What the catalog says to a question on products, or advice for what a shopper needs."""

    def work(engine: Engine, _deadline: float) -> Consultation:
        return engine.ask(
            body.question,
            before=body.before,
            products=body.products,
            k=body.k,
            filters=filter_from_json(body.filters) if body.filters else None,
            explain=body.explain,
        )

    found = await service.run(work)
    answer = ask_answer(found)
    if phraser is not None:  # on a thread of its own: a slow endpoint keeps no search waiting
        answer["phrased"] = await asyncio.to_thread(phraser.phrase, found)
    return Response(to_json(answer, inf_nan_mode="null"), media_type="application/json")


@router.get(
    "/products/{product_id:path}/similar",
    summary="Products like one",
    response_model=RelatedResponse,
    responses=documented(*_PROBLEMS, PRODUCT_NOT_FOUND, URL_TOO_LONG),
)
async def similar(
    product_id: _ProductId, params: Annotated[RelatedParams, Query()], service: ServiceDep
) -> Response:
    """The products whose descriptions are nearest to one's, its variants left out."""
    return await _related(
        service,
        params,
        lambda engine, filters: engine.similar(product_id, k=params.k, filters=filters),
    )


@router.get(
    "/products/{product_id:path}/complements",
    summary="Products bought with one",
    response_model=RelatedResponse,
    responses=documented(*_PROBLEMS, PRODUCT_NOT_FOUND, STAGE_UNAVAILABLE, URL_TOO_LONG),
)
async def complements(
    product_id: _ProductId, params: Annotated[RelatedParams, Query()], service: ServiceDep
) -> Response:
    """The products most often bought in one order with this one; none where it never was."""
    return await _related(
        service,
        params,
        lambda engine, filters: engine.complements(product_id, k=params.k, filters=filters),
    )


async def _related(
    service: ServiceDep,
    params: RelatedParams,
    find: Callable[[Engine, Filter | None], Sequence[Product]],
) -> Response:
    """The products that `find` gives, off the event loop."""

    def work(engine: Engine, _deadline: float) -> bytes:
        filters = parse_filters(params.filter) if params.filter else None
        found = find(engine, filters)
        return to_json(related_answer(engine.snapshot.id, found), inf_nan_mode="null")

    return Response(await service.run(work), media_type="application/json")
