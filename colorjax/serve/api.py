"""A service by HTTP: image clients' own way of asking, and one with all settings and progress."""

import asyncio
import base64
import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import FastAPI, File, Form, Query, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from colorjax import __version__
from colorjax.colorize.chroma import looks
from colorjax.colorize.words import prompts
from colorjax.errors import UserError
from colorjax.inputs import AUTO, Setting
from colorjax.serve import answers, uploads
from colorjax.serve.guards import Guard, refusal
from colorjax.serve.service import Full, Order, Service, Ticket

Kind = Literal["png", "jpeg", "webp", "tiff"]
# Of the image clients' protocol, and without an effect here.
IGNORED = ("size", "quality", "background", "input_fidelity", "moderation", "style")
PAGE = Path(__file__).parent / "page"
_MOST_PROMPT = 4000


class Access(NamedTuple):
    """Who may call a service, and with how much; see `guards.Guard`."""

    token: str | None = None
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "::1")
    most_bytes: int = 64 * 2**20
    body_seconds: float = 60.0
    job_seconds: float = 600.0


def application(service: Service, name: str = "bundled", access: Access = Access()) -> FastAPI:
    """The application of a service, which it closes when it ends: what waits is finished.

    Args:
        name: what the model is called.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(uploads.remove_left_overs)
        yield
        await run_in_threadpool(service.close)

    # Their pages of documentation would load scripts of other sites.
    pages: dict[str, Any] = {"docs_url": None, "redoc_url": None}
    app = FastAPI(
        title="colorjax",
        version=__version__,
        openapi_url="/api/openapi.json",
        lifespan=lifespan,
        **pages,
    )
    guard: dict[str, Any] = {"most_bytes": access.most_bytes, "seconds": access.body_seconds}
    app.add_middleware(Guard, token=access.token, hosts=access.hosts, **guard)
    _tell_errors(app)
    _add_edits(app, service, access)
    _add_jobs(app, service)
    _add_watching(app, service, name)
    app.mount("/", StaticFiles(directory=PAGE, html=True))
    return app


def _tell_errors(app: FastAPI) -> None:
    def of_user(_request: Request, error: Exception) -> Response:
        return refusal(400, str(error))

    def full(_request: Request, error: Exception) -> Response:
        assert isinstance(error, Full)
        return refusal(429, str(error), **{"Retry-After": str(error.seconds)})

    def invalid(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        return refusal(422, f"{place}: {first['msg']}")

    def other(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return refusal(error.status_code, str(error.detail))

    app.add_exception_handler(UserError, of_user)
    app.add_exception_handler(Full, full)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, other)


async def _submitted(
    service: Service, request: Request, photo: UploadFile, **order: Any
) -> tuple[Ticket, list[str]]:
    """An order's ticket, and what the model will not do with its prompt."""
    client = request.client.host if request.client else ""
    service.check_room(client, order["variations"])
    data = await photo.read()

    def submit() -> tuple[Ticket, list[str]]:
        with uploads.photograph(data) as path:
            ticket = service.submit(client, Order(path, **order))
        said = order["prompt"] or ""
        tokenize = service.photographs.colorizer.tokenize
        return ticket, list(prompts.remarks(said, prompts.plain(said), tokenize))

    return await run_in_threadpool(submit)


async def _mask(service: Service, upload: UploadFile | None) -> Any:
    if upload is None:
        return None
    data = await upload.read()
    return await run_in_threadpool(uploads.edit_mask, data, service.limits.pixels)


def _add_edits(app: FastAPI, service: Service, access: Access) -> None:
    """What image clients speak: an image, a mask, a prompt, n; the answer when it is done."""

    @app.post("/v1/images/edits")
    async def edit(
        request: Request,
        image: UploadFile | None = None,
        images: Annotated[list[UploadFile] | None, File(alias="image[]")] = None,
        mask: UploadFile | None = None,
        prompt: Annotated[str | None, Form(max_length=_MOST_PROMPT)] = None,
        n: Annotated[int, Form(ge=1, le=10)] = 1,
        seed: Annotated[int, Form(ge=0, le=2**32 - 1)] = 0,
        response_format: Annotated[Literal["url", "b64_json"], Form()] = "b64_json",
        output_format: Annotated[Literal["png", "jpeg", "webp"], Form()] = "png",
    ) -> JSONResponse:
        """Colours a photograph. `seed` is ours; model, size and the like are without effect."""
        sent = [*([image] if image else []), *(images or [])]
        if len(sent) != 1:
            raise UserError(f"there are {len(sent)} images; send one photograph as 'image'")
        only_masked = await _mask(service, mask)
        ticket, notes = await _submitted(
            service,
            request,
            sent[0],
            prompt=prompt,
            seed=seed,
            variations=n,
            only_masked=only_masked,
        )
        form = await request.form()
        ignored = [name for name in IGNORED if form.get(name) not in (None, "", "auto")]
        if ignored:
            notes.append(
                f"{', '.join(ignored)}: without effect; a picture has the photograph's own size"
            )
        await _done(service, request, ticket, access.job_seconds)
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


def _add_jobs(app: FastAPI, service: Service) -> None:
    """Our own way: an order, its progress, its pictures, its end."""

    async def colorize(request: Request, photo: UploadFile, **values: Any) -> JSONResponse:
        """Takes an order. Its pictures are asked for by the addresses in the answer."""
        names = [row.name for row in _traced(service)]
        settings = {name: values[name] for name in names if values[name] is not None}
        hints = uploads.points(values["hints"]) if values["hints"] else None
        ticket, notes = await _submitted(
            service,
            request,
            photo,
            prompt=values["prompt"],
            seed=values["seed"],
            variations=values["variations"],
            masks=values["masks"],
            hints=hints,
            only_masked=await _mask(service, values["only_masked"]),
            settings=settings,
        )
        place = f"/api/jobs/{ticket.name}"
        pictures = [f"{place}/pictures/{number}" for number in range(len(ticket.tasks))]
        said = {"id": ticket.name, "events": place, "pictures": pictures, "notes": notes}
        return JSONResponse(said, 202, {"Location": place})

    _with_parameters(colorize, _parameters(service))
    app.post("/api/colorize", status_code=202)(colorize)

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
        tasks = known(name).tasks
        if not 0 <= number < len(tasks):
            raise HTTPException(404, f"the job has {len(tasks)} pictures, from 0")
        if not tasks[number].future.done():
            raise HTTPException(409, "the picture is not done yet")
        result = tasks[number].future.result()

        def content() -> bytes:
            changed = (vividness, warm, magenta) != (1.0, 0.0, 0.0)
            shown = result.adjusted(vividness, (warm, magenta)) if changed else result
            return answers.file_of(shown, format)

        data = await run_in_threadpool(content)
        return Response(data, media_type=answers.TYPES[format])


def _traced(service: Service) -> list[Setting]:
    return [row for row in service.photographs.colorizer.method.settings if row.traced]


def _parameters(service: Service) -> dict[str, tuple[Any, Any]]:
    """The form of an order: name to type and default; the model's settings as their table says."""
    most = service.limits.variations
    form: dict[str, tuple[Any, Any]] = {
        "prompt": (Annotated[str | None, Form(max_length=_MOST_PROMPT)], None),
        "seed": (Annotated[int, Form(ge=0, le=2**32 - 1)], 0),
        "variations": (Annotated[int, Form(ge=1, le=most)], 1),
        "masks": (Annotated[Literal["attention"] | None, Form()], None),
        "hints": (Annotated[str | None, Form(description="points as JSON")], None),
        "only_masked": (UploadFile | None, None),
    }
    for row in _traced(service):
        kind: Any = row.kind
        if AUTO in row.words:
            kind = row.kind | Literal["auto"]
        limits: dict[str, Any] = {"max_length": _MOST_PROMPT} if row.kind is str else {}
        form[row.name] = (Annotated[kind | None, Form(description=row.help, **limits)], None)
    return form


def _with_parameters(function: Callable[..., Any], form: dict[str, tuple[Any, Any]]) -> None:
    """Gives a function of keywords the signature that its form has."""
    signature = inspect.signature(function)
    fixed = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
        for name, (kind, default) in form.items()
    ]
    setattr(function, "__signature__", signature.replace(parameters=[*fixed, *more]))  # noqa: B010


def _add_watching(app: FastAPI, service: Service, name: str) -> None:
    """What tells of the service itself."""

    @app.get("/api/models")
    async def models() -> list[dict[str, Any]]:
        """The one model, and the settings that an order can have."""
        colorizer = service.photographs.colorizer
        rows = [
            {"name": row.name, "help": row.help, "value": colorizer.settings[row.name]}
            for row in _traced(service)
        ]
        about = {"name": name, "method": colorizer.method.name, "settings": rows}
        return [about | {"image_size": colorizer.image_size, "batch_size": colorizer.batch_size}]

    @app.get("/healthz")
    async def healthy() -> dict[str, str]:
        """That the process answers."""
        return {"status": "ok"}

    @app.get("/readyz")
    async def ready() -> JSONResponse:
        """Whether orders are taken."""
        status = 503 if service.is_closing else 200
        return JSONResponse({"status": "closing" if service.is_closing else "ready"}, status)

    @app.get("/metrics")
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")
