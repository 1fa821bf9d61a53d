"""`/v1/products`: one product by its id."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import Response
from pydantic_core import to_json

from api.problems import (
    INVALID_REQUEST,
    NOT_READY,
    OVERLOADED,
    PRODUCT_NOT_FOUND,
    URL_TOO_LONG,
    documented,
)
from api.routes.context import ServiceDep
from api.routes.examples import PRODUCT
from api.schemas import ProductBody, product_answer
from api.service import Engine

router = APIRouter(prefix="/v1/products", tags=["products"])


@router.get(
    "/{product_id:path}",
    summary="One product",
    response_model=ProductBody,
    responses={
        200: {"content": {"application/json": {"example": PRODUCT}}},
        **documented(PRODUCT_NOT_FOUND, URL_TOO_LONG, INVALID_REQUEST, NOT_READY, OVERLOADED),
    },
)
async def product(
    product_id: Annotated[
        str, Path(description="As in the catalog, percent-encoded.", examples=[PRODUCT["id"]])
    ],
    service: ServiceDep,
) -> Response:
    """Everything the catalog says about a product. Ids may hold any character, `/` included."""

    def work(engine: Engine, _deadline: float) -> bytes:
        return to_json(product_answer(engine.product(product_id)), inf_nan_mode="null")

    return Response(await service.run(work), media_type="application/json")
