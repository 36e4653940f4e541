"""A service by HTTP: image clients' own way of asking, and one with all settings and progress."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from colorjax import __version__
from colorjax.colorize.library import PhotoColorizer
from colorjax.colorize.running import PictureColorizer
from colorjax.errors import UserError
from colorjax.serve import edits, jobs_api, uploads
from colorjax.serve.guards import PAGE, Guard, refusal
from colorjax.serve.orders import Full
from colorjax.serve.service import Service

_READERS = 2  # photographs that are read at a time


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
        redirect_slashes=False,
        lifespan=lifespan,
        **pages,
    )
    app.state.reading = asyncio.Semaphore(_READERS)
    guard: dict[str, Any] = {"most_bytes": access.most_bytes, "seconds": access.body_seconds}
    app.add_middleware(Guard, token=access.token, hosts=access.hosts, **guard)
    _tell_errors(app)
    edits.add(app, service, access.job_seconds)
    jobs_api.add(app, service)
    _add_watching(app, service, name)
    app.mount("/", StaticFiles(directory=PAGE, html=True))
    return app


def _tell_errors(app: FastAPI) -> None:
    def of_user(_request: Request, error: Exception) -> Response:
        return refusal(400, str(error))

    def full(_request: Request, error: Exception) -> Response:
        assert isinstance(error, Full)
        # A connection that is idle meanwhile may be closed at the very moment of the next try.
        headers = {"Retry-After": str(error.seconds), "Connection": "close"}
        return refusal(429, str(error), **headers)

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


def _add_watching(app: FastAPI, service: Service, name: str) -> None:
    """What tells of the service itself."""

    def how(colorizer: PictureColorizer) -> dict[str, Any]:
        rows = [
            {"name": row.name, "help": row.help, "value": colorizer.settings[row.name]}
            for row in colorizer.method.settings
            if row.traced
        ]
        return {
            "method": colorizer.method.name,
            "title": colorizer.method.title,
            "settings": rows,
            "steps": colorizer.num_steps,
        }

    def about(one: PhotoColorizer) -> dict[str, Any]:
        colorizer = one.colorizer
        sizes = {"image_size": colorizer.image_size, "batch_size": colorizer.batch_size}
        return {"name": name, **sizes, **how(colorizer)}

    @app.get("/api/models")
    async def models() -> list[dict[str, Any]]:
        """The one model by each of its methods, the usual first, with their orders' settings.

        `unprompted` of the first is what colours photographs without a prompt, where an order names
        no method.
        """
        rows = [about(one) for one in service.methods.values()]
        if (unprompted := service.photographs.unprompted) is not None:
            rows[0]["unprompted"] = how(unprompted())
        return rows

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
