"""What every request must stay within, and what every response carries: plain ASGI middleware."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import BODY_TOO_LARGE, URL_TOO_LONG, problem_response

MAX_BODY_BYTES: Final = 64 * 1024
MAX_URL_BYTES: Final = 16 * 1024
"""Room for the longest query we search in four-byte characters, percent-encoded, and filters."""

_TOO_LARGE = f"a request body has at most {MAX_BODY_BYTES:,} bytes"
_TOO_LONG = f"an address has at most {MAX_URL_BYTES:,} bytes. Send long queries with POST"


class BodyTooLargeError(HTTPException):
    """More bytes arrived than a body may have.

    An HTTPException, because FastAPI lets only those through while it reads a body.
    """

    def __init__(self) -> None:
        super().__init__(BODY_TOO_LARGE.status, _TOO_LARGE, {"Connection": "close"})


class InputLimits:
    """Refuses addresses too long and bodies too large, counting the bytes that really arrive."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 413 or 414, or pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if len(scope["query_string"]) + len(scope["raw_path"]) > MAX_URL_BYTES:
            await problem_response(scope, URL_TOO_LONG, _TOO_LONG)(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
            refusal = problem_response(
                scope, BODY_TOO_LARGE, _TOO_LARGE, headers={"Connection": "close"}
            )
            await refusal(scope, receive, send)
            return
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                raise BodyTooLargeError
            return message

        await self._app(scope, receive_counted, send)


_SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


class SecurityHeaders:
    """Gives every response the headers that keep browsers from misusing it, where it has none."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and complete the answer's headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_secured)
