"""One exchange by HTTP that is over by a moment, however slowly the other side sends."""

from __future__ import annotations

import functools
import http.client
import io
import socket
import time
import urllib.request
from typing import Any


def post(url: str, body: bytes, headers: dict[str, str], *, timeout: float, most: int) -> bytes:
    """What is answered, its first `most` bytes; nothing is followed elsewhere.

    Args:
        url: by http or https; what the environment says of proxies holds.
        body: what is sent.
        headers: sent along.
        timeout: seconds until the answer is there, however slowly it comes. Looking up the host's
            name is extra, and of several addresses each has as long to take the connection.
        most: bytes that are read.

    Raises:
        OSError: there is no answer, a late one (TimeoutError), or one that is no success.
        http.client.HTTPException: what answers does not speak HTTP.
    """
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - Settings let http and https pass only
    with _opener().open(request, timeout=timeout) as response:
        content: bytes = response.read(most)
    return content


class _Read(io.RawIOBase):
    """What a socket receives, until a moment."""

    def __init__(self, received: socket.socket, until: float) -> None:
        self._socket, self._until = received, until
        self._file = received.makefile("rb", buffering=0)

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - as io has it
        """Receive what comes next.

        Raises:
            TimeoutError: nothing comes in time.
        """
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(left)
        return self._file.readinto(buffer)

    def close(self) -> None:
        """Let go of the socket."""
        self._file.close()
        super().close()


class _Reply(http.client.HTTPResponse):
    """A reply whose status, headers and content are there by a moment."""

    def __init__(self, received: socket.socket, *, until: float, **given: Any) -> None:  # noqa: ANN401
        super().__init__(received, **given)
        self.fp.close()
        self.fp = io.BufferedReader(_Read(received, until))


class _Timed(urllib.request.AbstractHTTPHandler):
    """Connections whose reply is there when the request's time is up."""

    def do_open(
        self,
        http_class: Any,  # noqa: ANN401 - as urllib has it
        req: urllib.request.Request,
        **given: Any,  # noqa: ANN401
    ) -> http.client.HTTPResponse:
        """As urllib does it; raises OSError and HTTPException."""
        until = time.monotonic() + (req.timeout or 0)

        def connection(host: str, **options: Any) -> Any:  # noqa: ANN401
            made = http_class(host, **options)
            made.response_class = functools.partial(_Reply, until=until)
            return made

        return super().do_open(connection, req, **given)


class _Plain(_Timed, urllib.request.HTTPHandler):
    """By http."""


class _Secure(_Timed, urllib.request.HTTPSHandler):
    """By https."""


class _Here(urllib.request.HTTPRedirectHandler):
    """Follows nothing: elsewhere urllib would ask without the body, and read all of this reply."""

    def redirect_request(self, *_: object) -> None:
        """None."""


@functools.cache
def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_Plain, _Secure, _Here)
