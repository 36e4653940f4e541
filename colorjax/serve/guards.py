"""What is refused before a request is looked into: strangers, large bodies, slow ones."""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PAGE = Path(__file__).parent / "page"
# To whatever watches the process, and to browsers, which show no token before the page asks for it.
OPEN = ("/healthz", "/readyz", "/", *(f"/{path.name}" for path in PAGE.iterdir()))
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self' blob: data:; script-src 'self'; style-src 'self'; "
        "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def _hostname(host: str) -> str | None:
    """The name in a Host header, without a port; None of what is none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:  # such as "["
        return None


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def refusal(status: int, message: str, **headers: str) -> JSONResponse:
    """An error in the shape that image clients read."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": message, "type": kind, "code": str(status), "param": None}
    return JSONResponse({"error": error}, status, headers)


class Guard:
    """ASGI middleware before everything else."""

    def __init__(
        self,
        app: App,
        *,
        token: str | None = None,
        hosts: tuple[str, ...] = (),
        most_bytes: int,
        seconds: float,
    ) -> None:
        """Wraps an application.

        Args:
            token: what a client must show; None: nobody need.
            hosts: by which names it may be called, without a port; () is any. Without it a page of
                anybody could call a service of this machine by a name that leads to it.
            most_bytes: of a request's body.
            seconds: in which a request's body must have come.
        """
        self._app, self._token, self._hosts = app, token, hosts
        self._most, self._seconds = most_bytes, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or answers it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        refused = self._refused(scope, headers)
        if refused is not None:
            await refused(scope, receive, with_headers)
            return
        body = _Body(receive, self._most, self._seconds)
        has_body = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"

        async def unless_refused(message: Message) -> None:
            if body.refusal is not None:
                return
            if message["type"] == "http.response.start" and has_body and not body.is_whole:
                # Answered before its end, the rest would be read and thrown away, however long.
                MutableHeaders(scope=message)["Connection"] = "close"
            await with_headers(message)

        # The application makes an answer of its own of a body that breaks off.
        with contextlib.suppress(_Broken):
            await self._app(scope, body.receive, unless_refused)
        if body.refusal is not None:
            await body.refusal(scope, receive, with_headers)

    def _refused(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        host = headers.get("host", "")
        if self._hosts and _hostname(host) not in self._hosts:
            return refusal(400, f"host is {host!r}; it must be one of {', '.join(self._hosts)}")
        origin = headers.get("origin")
        if origin is not None and _netloc(origin) != host:
            return refusal(403, "requests from pages of other sites are refused")
        if self._token is not None and scope["path"] not in OPEN:
            shown = headers.get("authorization", "").removeprefix("Bearer ")
            if not secrets.compare_digest(shown.encode(), self._token.encode()):
                answer = {"WWW-Authenticate": "Bearer"}
                return refusal(
                    401, "give the service's token: Authorization: Bearer TOKEN", **answer
                )
        if "transfer-encoding" in headers and "content-length" in headers:
            # Two who read one connection, such as a proxy and this, could cut it otherwise.
            return refusal(400, "give Content-Length or Transfer-Encoding, not both")
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._most:
            return _too_large(self._most)
        return None


class _Broken(Exception):
    """A body that is not read to its end."""


class _Body:
    """A request's body as it comes, up to a size and a time; `refusal` says why it broke off."""

    def __init__(self, receive: Receive, most: int, seconds: float) -> None:
        self._receive, self._most = receive, most
        self._until = asyncio.get_running_loop().time() + seconds
        self._length, self.is_whole = 0, False
        self.refusal: JSONResponse | None = None

    async def receive(self) -> Message:
        if self.is_whole:  # now it is only waited for the client's leaving
            return await self._receive()
        left = self._until - asyncio.get_running_loop().time()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, left))
        except TimeoutError:
            said = "the request came too slowly; send it again"
            self.refusal = refusal(408, said, Connection="close")
            raise _Broken from None
        self._length += len(message.get("body", b""))
        if self._length > self._most:
            self.refusal = _too_large(self._most)
            raise _Broken
        self.is_whole = not message.get("more_body", False)
        return message


def _too_large(most: int) -> JSONResponse:
    said = f"the request is larger than {most / 2**20:g} MB; send a smaller picture"
    return refusal(413, said, Connection="close")
