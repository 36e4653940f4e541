"""What is sent to clients: pictures as files, events, and errors as sentences."""

import asyncio
import base64
import io
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from PIL import Image

from colorjax.colorize.chroma import doubt
from colorjax.colorize.results import Result
from colorjax.errors import UserError
from colorjax.serve.orders import Ticket, describe
from colorjax.serve.service import Service

TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "tiff": "image/tiff"}
_SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif"}
_LOOK_SECONDS = 0.1


def file_of(result: Result, kind: str = "png") -> bytes:
    """The bytes of the file that `Result.save` writes."""
    return result.encoded(_SUFFIXES[kind])


def doubt_of(results: Sequence[Result]) -> tuple[bytes, dict[str, str]]:
    """Where pictures of one photograph differ: a map of its shape, and headers with the figures.

    Raises:
        UserError: there are fewer than two.
    """
    bases = [result._base for result in results if result._base is not None]
    if len(bases) < 2:
        raise UserError("doubt is told by how pictures differ: ask for 2 variations or more")
    spread = doubt.spread([base.chroma for base in bases])
    figures = {"X-" + name.replace("_", "-"): str(v) for name, v in doubt.figures(spread).items()}
    file = io.BytesIO()
    Image.fromarray(doubt.mapped(spread, *bases[0].job.lightness.shape)).save(file, "PNG")
    return file.getvalue(), figures


async def events(service: Service, ticket: Ticket) -> AsyncIterator[bytes]:
    """Server-sent events: `progress` whenever something changed, `done` at the end.

    Between them `preview`, with a picture that is on its way as a JPEG, where there are steps.
    """
    said: Any = None
    drawn: list[bytes | None] = [None] * len(ticket.tasks)
    while True:
        state = {"position": service.position(ticket), "pictures": describe(ticket.tasks)}
        if state != said:
            said = state
            yield _event("done" if ticket.is_done else "progress", state)
        if ticket.is_done:
            return
        for number, task in enumerate(ticket.tasks):
            task.progress.watched = time.monotonic()
            preview = task.progress.preview
            if preview is not None and preview is not drawn[number] and not task.future.done():
                drawn[number] = preview
                image = f"data:image/jpeg;base64,{base64.b64encode(preview).decode()}"
                yield _event("preview", {"picture": number, "image": image})
        await asyncio.sleep(_LOOK_SECONDS)


def _event(name: str, data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
