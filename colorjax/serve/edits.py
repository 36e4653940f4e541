"""What image clients speak: an image, a mask, a prompt, n; the answer when it is done."""

import asyncio
import base64
import time
from typing import Annotated, Literal

from fastapi import FastAPI, File, Form, Request, UploadFile
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from colorjax.errors import UserError
from colorjax.serve import answers, asking
from colorjax.serve.orders import Ticket
from colorjax.serve.service import Service

# Of the image clients' protocol, and without an effect here.
IGNORED = ("size", "quality", "background", "input_fidelity", "moderation", "style")


def add(app: FastAPI, service: Service, seconds: float) -> None:
    """Adds the address; what is not done in so many seconds is cancelled."""

    @app.post("/v1/images/edits")
    async def edit(
        request: Request,
        image: UploadFile | None = None,
        images: Annotated[list[UploadFile] | None, File(alias="image[]")] = None,
        mask: UploadFile | None = None,
        prompt: Annotated[str | None, Form(max_length=asking.MOST_PROMPT)] = None,
        n: Annotated[int, Form(ge=1, le=10)] = 1,
        seed: Annotated[int, Form(ge=0, le=2**32 - 1)] = 0,
        response_format: Annotated[Literal["url", "b64_json"], Form()] = "b64_json",
        output_format: Annotated[Literal["png", "jpeg", "webp"], Form()] = "png",
    ) -> JSONResponse:
        """Colours a photograph. `seed` is ours; model, size and the like are without effect."""
        sent = [*([image] if image else []), *(images or [])]
        if len(sent) != 1:
            raise UserError(f"there are {len(sent)} images; send one photograph as 'image'")
        ticket, notes = await asking.submitted(
            service,
            request,
            sent[0],
            {"only_masked": asking.mask(service, mask)},
            prompt=prompt,
            seed=seed,
            variations=n,
        )
        form = await request.form()
        ignored = [name for name in IGNORED if form.get(name) not in (None, "", "auto")]
        if ignored:
            notes.append(
                f"{', '.join(ignored)}: without effect; a picture has the photograph's own size"
            )
        await _done(service, request, ticket, seconds)
        results = [task.future.result() for task in ticket.tasks]
        if response_format == "url":
            data = [
                {"url": f"{request.base_url}api/jobs/{ticket.name}/pictures/{number}?format={kind}"}
                for number, kind in enumerate([output_format] * n)
            ]
        else:
            service.cancel(ticket)  # nobody will ask for it again
            files = [await run_in_threadpool(answers.file_of, r, output_format) for r in results]
            data = [{"b64_json": base64.b64encode(file).decode()} for file in files]
        about = {"created": int(time.time()), "output_format": output_format, "notes": notes}
        return JSONResponse({**about, "data": data})


async def _done(service: Service, request: Request, ticket: Ticket, seconds: float) -> None:
    """Waits for a ticket; a client that has left, or the time, cancels it."""
    until = time.monotonic() + seconds
    while not ticket.is_done:
        await asyncio.sleep(0.02)
        if time.monotonic() > until or await request.is_disconnected():
            service.cancel(ticket)
            raise HTTPException(504, f"the picture was not done in {seconds:g} seconds")
