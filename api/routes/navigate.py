"""`/v1/suggest` and `/v1/categories`: ways to the right shelf."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic_core import to_json

from api.problems import (
    INVALID_REQUEST,
    NOT_READY,
    OVERLOADED,
    STAGE_UNAVAILABLE,
    URL_TOO_LONG,
    documented,
)
from api.routes.context import ServiceDep
from api.schemas_navigate import (
    CategoriesParams,
    CategoriesResponse,
    SuggestParams,
    SuggestResponse,
    categories_answer,
    suggest_answer,
)
from api.service import Engine

router = APIRouter(prefix="/v1", tags=["guide"])

_PROBLEMS = documented(INVALID_REQUEST, STAGE_UNAVAILABLE, NOT_READY, OVERLOADED, URL_TOO_LONG)


@router.get(
    "/suggest",
    summary="Complete what is being typed",
    response_model=SuggestResponse,
    responses=_PROBLEMS,
)
async def suggest(params: Annotated[SuggestParams, Query()], service: ServiceDep) -> Response:
    """Phrases, brands, shelves and old queries that begin like it, or nearly so."""

    def work(engine: Engine, _deadline: float) -> bytes:
        return to_json(suggest_answer(engine.snapshot.id, engine.suggest(params.q, k=params.k)))

    return Response(await service.run(work), media_type="application/json")


@router.get(
    "/categories",
    summary="The tree of shelves",
    response_model=CategoriesResponse,
    responses=_PROBLEMS,
)
async def categories(params: Annotated[CategoriesParams, Query()], service: ServiceDep) -> Response:
    """One level of the category tree, with how many products stand on each shelf and below."""

    def work(engine: Engine, _deadline: float) -> bytes:
        found = engine.categories(params.under, k=params.k)
        return to_json(categories_answer(engine.snapshot.id, found))

    return Response(await service.run(work), media_type="application/json")
