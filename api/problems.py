"""Every error the API answers with: problem details (RFC 9457), one kind each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from api.service import NotReadyError, OverloadedError
from engine.errors import (
    FilterError,
    ModelError,
    ProductNotFoundError,
    QueryError,
    StageUnavailableError,
)

MEDIA_TYPE: Final = "application/problem+json"

_log = structlog.get_logger("daogou.api")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: its name in `type`, its title, its status."""

    slug: str
    title: str
    status: int

    @property
    def uri(self) -> str:
        """The problem's `type`: compare it, do not fetch it."""
        return f"urn:daogou:problem:{self.slug}"


INVALID_REQUEST: Final = Kind("invalid-request", "The request is not valid", 422)
INVALID_QUERY: Final = Kind("invalid-query", "The query cannot be searched", 422)
INVALID_FILTER: Final = Kind("invalid-filter", "The filter cannot be applied", 422)
STAGE_UNAVAILABLE: Final = Kind("stage-unavailable", "This catalog has no such stage", 422)
PRODUCT_NOT_FOUND: Final = Kind("product-not-found", "There is no such product", 404)
BAD_REQUEST: Final = Kind("bad-request", "Bad Request", 400)
"""A body that is no JSON text at all: not UTF-8, or nested without end."""
BODY_TOO_LARGE: Final = Kind("body-too-large", "The request body is too large", 413)
URL_TOO_LONG: Final = Kind("url-too-long", "The address is too long", 414)
NOT_READY: Final = Kind("not-ready", "The catalog is not open", 503)
OVERLOADED: Final = Kind("overloaded", "The server has too much to do", 503)
INTERNAL: Final = Kind("internal-error", "Something went wrong here", 500)


class InvalidPart(BaseModel):
    """One thing wrong with a request."""

    detail: str
    pointer: str | None = Field(
        default=None, description="Where in the body: a JSON Pointer as a URI fragment."
    )
    parameter: str | None = Field(default=None, description="Which parameter of the address.")


class Problem(BaseModel):
    """Problem details, RFC 9457."""

    type: str = Field(examples=[INVALID_REQUEST.uri])
    title: str = Field(examples=[INVALID_REQUEST.title])
    status: int = Field(examples=[INVALID_REQUEST.status])
    detail: str = Field(examples=["k: Input should be less than or equal to 100"])
    instance: str = Field(examples=["/v1/search"], description="The path asked for.")
    request_id: str = Field(description="Also in the X-Request-ID header and the server's log.")
    errors: list[InvalidPart] | None = Field(
        default=None, description="Each part of the request that is wrong."
    )


def problem_response(
    scope: Scope,
    kind: Kind,
    detail: str,
    *,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The problem as a response. ASCII JSON: whatever a shopper sent survives being quoted."""
    body: dict[str, Any] = {
        "type": kind.uri,
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "instance": quote(scope["path"]),
        "request_id": scope["state"]["request_id"],
    }
    if errors:
        body["errors"] = errors
    return Response(json.dumps(body), kind.status, headers, MEDIA_TYPE)


_PARAMETERS: Final = {"query": "q", "filters": "filter", "facets": "facet"}
"""What a part of a request is called in an address, where that differs."""


def _part(error: Mapping[str, Any]) -> dict[str, str]:
    """One of pydantic's errors, with its place as RFC 9457 writes it."""
    detail = str(error["msg"]).removeprefix("Value error, ")
    place, *steps = error["loc"] or ("body",)
    if place != "body":
        return {"detail": detail, "parameter": ".".join(map(str, steps[:1]))}
    if error["type"] == "json_invalid":
        return {"detail": f"{detail} at character {steps[0]}", "pointer": "#"}
    tokens = (str(step).replace("~", "~0").replace("/", "~1") for step in steps)
    return {"detail": detail, "pointer": "#" + "".join(f"/{quote(token)}" for token in tokens)}


async def _invalid_request(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    parts = [_part(each) for each in error.errors()]
    first = parts[0]
    if "parameter" in first:
        where = first["parameter"] or "a parameter without a name"
    else:
        where = first["pointer"].removeprefix("#").lstrip("/") or "body"
    return problem_response(
        request.scope, INVALID_REQUEST, f"{where}: {first['detail']}", errors=parts
    )


async def _unusable(request: Request, error: Exception) -> Response:
    """Words, filters or facets that the engine refuses, with their place in the request."""
    if not isinstance(error, QueryError | FilterError):
        raise error
    kind = INVALID_QUERY if isinstance(error, QueryError) else INVALID_FILTER
    if request.method == "GET":
        place = {"parameter": _PARAMETERS.get(error.part, error.part)}
    else:
        place = {"pointer": f"#/{error.part}"}
    return problem_response(
        request.scope, kind, str(error), errors=[{"detail": str(error), **place}]
    )


async def _stage_unavailable(request: Request, error: Exception) -> Response:
    return problem_response(request.scope, STAGE_UNAVAILABLE, str(error))


async def _product_not_found(request: Request, error: Exception) -> Response:
    return problem_response(request.scope, PRODUCT_NOT_FOUND, str(error))


async def _not_ready(request: Request, error: Exception) -> Response:
    return problem_response(request.scope, NOT_READY, str(error), headers={"Retry-After": "1"})


async def _model_lost(request: Request, error: Exception) -> Response:
    """A model that is opened when it is first needed, and is no longer there."""
    _log.error("a model cannot be opened", reason=str(error))
    detail = "A model cannot be opened: its snapshot was pruned, or is damaged. Restart the server"
    return problem_response(request.scope, NOT_READY, detail)


async def _overloaded(request: Request, error: Exception) -> Response:
    return problem_response(request.scope, OVERLOADED, str(error), headers={"Retry-After": "1"})


_BY_STATUS: Final = {BODY_TOO_LARGE.status: BODY_TOO_LARGE}


async def _http(request: Request, error: Exception) -> Response:
    """Unknown routes, methods and the like: the status says it all."""
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    kind = _BY_STATUS.get(error.status_code) or Kind(
        status.phrase.lower().replace(" ", "-"), status.phrase, error.status_code
    )
    detail = status.description if error.detail == status.phrase else str(error.detail)
    headers = dict(error.headers or {})
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = _allowed(request) or headers["Allow"]
    return problem_response(request.scope, kind, detail or status.phrase, headers=headers)


def _allowed(request: Request) -> str:
    """Every method of the path (RFC 9110, 10.2.1), where Starlette names its first route's only."""
    template = getattr(request.scope.get("route"), "path_format", "")
    return ", ".join(sorted(map(str.upper, request.app.openapi()["paths"].get(template, ()))))


def install(app: FastAPI) -> None:
    """Answer every error of the app with problem details."""
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(QueryError, _unusable)
    app.add_exception_handler(FilterError, _unusable)
    app.add_exception_handler(StageUnavailableError, _stage_unavailable)
    app.add_exception_handler(ModelError, _model_lost)
    app.add_exception_handler(ProductNotFoundError, _product_not_found)
    app.add_exception_handler(NotReadyError, _not_ready)
    app.add_exception_handler(OverloadedError, _overloaded)
    app.add_exception_handler(HTTPException, _http)


def documented(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these problems, for OpenAPI."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for kind in (*kinds, INTERNAL):
        examples = by_status.setdefault(
            kind.status, {"description": kind.title, "content": {MEDIA_TYPE: {"examples": {}}}}
        )["content"][MEDIA_TYPE]
        examples["schema"] = {"$ref": "#/components/schemas/Problem"}
        examples["examples"][kind.slug] = {"value": _example(kind)}
    return by_status


def complete(openapi: dict[str, Any]) -> None:
    """Add the schema that `documented` refers to, and drop FastAPI's own error bodies."""
    schemas = openapi["components"]["schemas"]
    schemas |= models_json_schema(
        [(Problem, "serialization")], ref_template="#/components/schemas/{model}"
    )[1]["$defs"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)


def _example(kind: Kind) -> dict[str, Any]:
    return {
        "type": kind.uri,
        "title": kind.title,
        "status": kind.status,
        "detail": f"{kind.title}: here stand the words that say why.",
        "instance": "/v1/search",
        "request_id": "2f1c9a4e6b7d4c53a1e0",
    }
