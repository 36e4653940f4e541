"""Our own way: an order, its progress, its pictures, its end."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response, UploadFile
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from colorjax.colorize.chroma import looks
from colorjax.colorize.results import Result
from colorjax.colorize.words import prompts
from colorjax.data.phrases import instance_phrases
from colorjax.serve import answers, asking
from colorjax.serve.orders import Ticket
from colorjax.serve.service import Service

Kind = Literal["png", "jpeg", "webp", "tiff"]


def add(app: FastAPI, service: Service) -> None:
    """Adds the addresses."""

    async def colorize(request: Request, photo: UploadFile, **values: Any) -> JSONResponse:
        """Takes an order. Its pictures are asked for by the addresses in the answer."""
        settings = {
            name: values[name] for name in asking.traced(service) if values[name] is not None
        }
        drawn = {
            "masks": asking.masks(service, values["masks"], values["layers"]),
            "hints": asking.hints(service, values["hints"], values["strokes"]),
            "only_masked": asking.mask(service, values["only_masked"]),
        }
        ticket, notes = await asking.submitted(
            service,
            request,
            photo,
            drawn,
            prompt=values["prompt"],
            method=values["method"],
            seed=values["seed"],
            variations=values["variations"],
            settings=settings,
        )
        place = f"/api/jobs/{ticket.name}"
        pictures = [f"{place}/pictures/{number}" for number in range(len(ticket.tasks))]
        said = {"id": ticket.name, "events": place, "pictures": pictures, "notes": notes}
        return JSONResponse(said, 202, {"Location": place})

    asking.with_parameters(colorize, asking.parameters(service))
    app.post("/api/colorize", status_code=202)(colorize)

    @app.get("/api/phrases")
    async def phrases(
        prompt: Annotated[str, Query(max_length=asking.MOST_PROMPT)],
    ) -> list[str]:
        """The phrases of a prompt that can have a mask each, in the order of `layers`."""
        return list(instance_phrases(prompts.plain(prompt)))

    def known(name: str) -> Ticket:
        ticket = service.ticket(name)
        if ticket is None:
            raise HTTPException(404, "there is no such job, or it was done too long ago")
        return ticket

    @app.get("/api/jobs/{name}")
    async def progress(name: str) -> StreamingResponse:
        """Server-sent events: how many pictures come before, and which are done."""
        stream = answers.events(service, known(name))
        return StreamingResponse(stream, media_type="text/event-stream")

    @app.delete("/api/jobs/{name}", status_code=204)
    async def cancel(name: str) -> None:
        """Ends a job and forgets its pictures."""
        service.cancel(known(name))

    _add_pictures(app, known)


def _add_pictures(app: FastAPI, known: Callable[[str], Ticket]) -> None:
    def done(name: str, number: int) -> Result:
        tasks = known(name).tasks
        if not 0 <= number < len(tasks):
            raise HTTPException(404, f"the job has {len(tasks)} pictures, from 0")
        if not tasks[number].future.done():
            raise HTTPException(409, "the picture is not done yet")
        return tasks[number].future.result()

    @app.get("/api/jobs/{name}/pictures/{number}")
    async def picture(
        name: str,
        number: int,
        format: Kind = "png",
        vividness: Annotated[float, Query(ge=0, le=looks.MOST_SCALE)] = 1.0,
        warm: Annotated[float, Query(ge=-looks.MOST_TINT, le=looks.MOST_TINT)] = 0.0,
        magenta: Annotated[float, Query(ge=-looks.MOST_TINT, le=looks.MOST_TINT)] = 0.0,
    ) -> Response:
        """A picture's file; its strength and balance of colours can be changed without a job."""
        result = done(name, number)

        def content() -> bytes:
            changed = (vividness, warm, magenta) != (1.0, 0.0, 0.0)
            shown = result.adjusted(vividness, (warm, magenta)) if changed else result
            return answers.file_of(shown, format)

        data = await run_in_threadpool(content)
        return Response(data, media_type=answers.TYPES[format])

    @app.get("/api/jobs/{name}/doubt")
    async def doubtful(name: str) -> Response:
        """A map of where the job's pictures differ, as a PNG; it takes two, and no job."""
        results = [done(name, number) for number in range(len(known(name).tasks))]
        map_, figures = await run_in_threadpool(answers.doubt_of, results)
        return Response(map_, media_type="image/png", headers=figures)
