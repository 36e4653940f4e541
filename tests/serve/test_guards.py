"""What stands before the service, on an application that does nothing."""

import asyncio

import pytest
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from colorjax.serve.guards import Guard


@pytest.mark.parametrize(
    ("headers", "reads", "connection"),
    [
        ([(b"content-length", b"9")], False, "close"),
        ([(b"transfer-encoding", b"chunked")], False, "close"),
        ([(b"content-length", b"9")], True, None),
        ([], False, None),
    ],
)
def test_a_body_that_is_not_read_ends_the_connection(headers, reads, connection) -> None:
    """The server would else read on for as long as the client sends."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if reads:
            await receive()
        await PlainTextResponse("no")(scope, receive, send)

    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"123456789", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    asyncio.run(Guard(application, most_bytes=100, seconds=5.0)(scope, receive, send))
    assert Headers(raw=sent[0]["headers"]).get("connection") == connection
