"""What is sent to clients: pictures as files, events, and errors as sentences."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from colorjax.colorize.results import Result
from colorjax.serve.service import Service, Ticket, describe

TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "tiff": "image/tiff"}
_SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif"}
PREFIX = "colorjax-serve-"
_LOOK_SECONDS = 0.1


def file_of(result: Result, kind: str = "png") -> bytes:
    """The bytes of the file that `Result.save` writes."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        path = Path(folder, "result").with_suffix(_SUFFIXES[kind])
        result.save(path)
        return path.read_bytes()


async def events(service: Service, ticket: Ticket) -> AsyncIterator[bytes]:
    """Server-sent events: `progress` whenever something changed, `done` at the end."""
    said: Any = None
    while True:
        state = {"position": service.position(ticket), "pictures": describe(ticket)}
        if state != said:
            said = state
            yield _event("done" if ticket.is_done else "progress", state)
        if ticket.is_done:
            return
        await asyncio.sleep(_LOOK_SECONDS)


def _event(name: str, data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
