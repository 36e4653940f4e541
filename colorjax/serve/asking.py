"""From a form to an order: its fields, as the settings tables have them, and its uploads."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import Form, Request, UploadFile
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile as Upload  # what a form has
from starlette.exceptions import HTTPException

from colorjax.colorize.words import prompts
from colorjax.errors import UserError
from colorjax.inputs import AUTO, Setting
from colorjax.serve import uploads
from colorjax.serve.orders import Order, Ticket
from colorjax.serve.service import Service

MOST_PROMPT = 4000
Drawn = Callable[[], Any]  # reads what came beside a photograph


async def submitted(
    service: Service,
    request: Request,
    photo: Upload,
    drawn: Mapping[str, Drawn],
    **order: Any,
) -> tuple[Ticket, list[str]]:
    """An order's ticket, and what the model will not do with its prompt.

    Args:
        drawn: what of the order is read when its turn has come, like the photograph: a mask of
            some kilobytes takes some hundred megabytes of memory.
        order: the rest of it.
    """
    client = request.client.host if request.client else ""

    def submit() -> tuple[Ticket, list[str]]:
        read = {name: read() for name, read in drawn.items()}
        with uploads.photograph(photo.file.read()) as path:
            ticket = service.submit(client, Order(path, **order, **read))
        said = order["prompt"] or ""
        tokenize = service.photographs.colorizer.tokenize
        return ticket, list(prompts.remarks(said, prompts.plain(said), tokenize))

    service.check_room(client, order["variations"])
    # More threads than cores would take turns with the loop of events, which then answers nobody.
    reading = request.app.state.reading
    await _while_there(request, reading.acquire())
    try:
        return await run_in_threadpool(submit)
    finally:
        reading.release()


async def _while_there(request: Request, turn: Coroutine[Any, Any, Any]) -> None:
    """Waits for a turn as long as the client does: those who left would else fill the queue.

    Raises:
        HTTPException: the client has left.
    """
    waiting = asyncio.ensure_future(turn)
    left = asyncio.ensure_future(request.receive())  # the body is whole: nothing else can come
    try:
        await asyncio.wait((waiting, left), return_when=asyncio.FIRST_COMPLETED)
    finally:
        left.cancel()
        if not waiting.done():
            waiting.cancel()
    if not waiting.done():
        raise HTTPException(499, "the client has left")


def mask(service: Service, upload: Upload | None) -> Drawn:
    """The mask of an upload that may not be there, see `uploads.edit_mask`."""
    most = service.limits.pixels
    return lambda: uploads.edit_mask(upload.file.read(), most) if upload else None


def masks(service: Service, named: str | None, layers: Sequence[Upload]) -> Drawn:
    """Where phrases are: by a way that has a name, or a layer for each, in their order.

    Raises:
        UserError: both.
    """
    if layers and named is not None:
        raise UserError(f"masks are {named!r}, and there are layers for phrases; send one of them")
    most = service.limits.pixels
    return lambda: uploads.layers([one.file.read() for one in layers], most) if layers else named


def hints(service: Service, points: str | None, strokes: Upload | None) -> Drawn:
    """Colours that a person has put somewhere: points, or a transparent picture of strokes.

    Raises:
        UserError: both.
    """
    most = service.limits.pixels
    if strokes is None:
        return lambda: uploads.points(points) if points else None
    if points:
        raise UserError("there are hints and strokes; send one of them")
    return lambda: uploads.strokes(strokes.file.read(), most)


def traced(service: Service) -> dict[str, Setting]:
    """The settings that an order can have, of all methods."""
    rows = [row for one in service.methods.values() for row in one.colorizer.method.settings]
    return {row.name: row for row in rows if row.traced}


def parameters(service: Service) -> dict[str, tuple[Any, Any]]:
    """The form of an order: name to type and default; the model's settings as their table says."""
    most = service.limits.variations
    methods: Any = Literal[tuple(service.methods)]
    form: dict[str, tuple[Any, Any]] = {
        "prompt": (Annotated[str | None, Form(max_length=MOST_PROMPT)], None),
        "method": (Annotated[methods | None, Form()], None),
        "seed": (Annotated[int, Form(ge=0, le=2**32 - 1)], 0),
        "variations": (Annotated[int, Form(ge=1, le=most)], 1),
        "masks": (Annotated[Literal["attention"] | None, Form()], None),
        "layers": (list[UploadFile], []),
        "hints": (Annotated[str | None, Form(description="points as JSON")], None),
        "strokes": (UploadFile | None, None),
        "only_masked": (UploadFile | None, None),
    }
    for row in traced(service).values():
        kind: Any = row.kind
        if AUTO in row.words:
            kind = row.kind | Literal["auto"]
        limits: dict[str, Any] = {"max_length": MOST_PROMPT} if row.kind is str else {}
        form[row.name] = (Annotated[kind | None, Form(description=row.help, **limits)], None)
    return form


def with_parameters(function: Callable[..., Any], form: dict[str, tuple[Any, Any]]) -> None:
    """Gives a function of keywords the signature that its form has."""
    signature = inspect.signature(function)
    fixed = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
        for name, (kind, default) in form.items()
    ]
    setattr(function, "__signature__", signature.replace(parameters=[*fixed, *more]))  # noqa: B010
