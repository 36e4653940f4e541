"""Colours photographs by HTTP: `python -m colorjax.serve --model bundled --port 7860`."""

import argparse
import contextlib
import importlib.util
import os
import socket
import warnings
from typing import TYPE_CHECKING, Any

from colorjax import errors
from colorjax.errors import UserError

if TYPE_CHECKING:
    from colorjax.colorize.library import PhotoColorizer

LOOPBACK = ("127.0.0.1", "::1", "localhost")
NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
TOKEN = "COLORJAX_TOKEN"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's values."""
    from colorjax.colorize.options import add_sampling

    about = "Colours photographs by HTTP, with one model in memory."
    parser = argparse.ArgumentParser(prog="python -m colorjax.serve", description=about)
    add = parser.add_argument
    add("--model", default="bundled", help="a release, or a .cjx file (default: bundled)")
    add("--host", default="127.0.0.1", help="where to listen (default: 127.0.0.1, this machine)")
    add("--port", type=int, default=7860, help="default: 7860")
    add(
        "--token",
        help=f"what clients must show as 'Authorization: Bearer TOKEN'; better given by {TOKEN}, "
        "since command lines can be read by others",
    )
    add("--insecure", action="store_true", help="another host without a token: anybody may call")
    add(
        "--max_pixels",
        type=int,
        default=32 * 10**6,
        metavar="N",
        help="of one photograph (default: 32000000)",
    )
    add("--max_waiting", type=int, default=64, metavar="N", help="pictures in the queue (64)")
    add_sampling(parser)
    parser.epilog = (
        "Without --method, orders choose among those that the model has the parts of; where an "
        "order chooses none, the release does, by whether there is a prompt."
    )
    return parser.parse_args(arguments)


def check(args: argparse.Namespace) -> str | None:
    """The token, or None where nobody needs one.

    Raises:
        UserError: something cannot be, or is not safe, before anything is loaded.
    """
    token = args.token or os.environ.get(TOKEN) or None
    if args.host not in LOOPBACK and token is None and not args.insecure:
        raise UserError(
            f"host is {args.host!r}, which others can reach: give a --token that clients must "
            "show, or --insecure to let anybody in"
        )
    if not 0 <= args.port <= 65535:
        raise UserError(f"port is {args.port}; it must be in 0..65535")
    for name in ("max_pixels", "max_waiting"):
        if getattr(args, name) < 1:
            raise UserError(f"{name} is {getattr(args, name)}; it must be 1 or more")
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"{', '.join(missing)} is missing: pip install 'colorjax[serve]'")
    return token


def main(arguments: list[str] | None = None) -> None:
    """Serves until it is told to end by SIGTERM or Ctrl-C; what waits is finished then."""
    args = parse(arguments)
    token = check(args)
    from colorjax.devices import compile_cache
    from colorjax.serve.api import Access, application
    from colorjax.serve.orders import Limits
    from colorjax.serve.service import Service

    warnings.simplefilter("ignore")  # what is to be said of prompts is told to who sent them
    place = bound(args.host, args.port)
    compile_cache.setup()
    photographs, *others = _loaded(args)
    limits = Limits(waiting=args.max_waiting, pixels=args.max_pixels)
    service = Service(photographs, limits, others=others)
    # A service that others reach is called by names that it does not know; it has a token.
    hosts = Access().hosts if args.host in LOOPBACK else ()
    app = application(service, args.model, Access(token, hosts))
    port = place.getsockname()[1]
    errors.say(f"colorjax: http://{args.host}:{port} colours photographs", error=True)
    run(app, place)


def bound(host: str, port: int) -> socket.socket:
    """The place to listen at, taken before a model is loaded; nobody can connect to it yet.

    Raises:
        UserError: another program listens there, or it is no address of this machine.
    """
    place = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # where one has just ended
    try:
        place.bind((host, port))
    except OSError as error:
        place.close()
        said = error.strerror or error
        raise UserError(
            f"{host}:{port} cannot be listened at ({said}); give another --port or --host"
        ) from None
    return place


def run(app: Any, place: socket.socket, head_seconds: float = 20.0) -> None:
    """Serves an application until the process is told to end.

    Args:
        head_seconds: in which a request's head must have come.
    """
    import uvicorn

    from colorjax.serve.connections import patient_for

    config = uvicorn.Config(
        app,
        http=patient_for(head_seconds),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=512,
    )
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C, when what waits is done
        uvicorn.Server(config).run([place])


def _loaded(args: argparse.Namespace) -> "list[PhotoColorizer]":
    """The model by the chosen method, or by all that it has."""
    import colorjax
    from colorjax.colorize.options import settings_of

    how: dict[str, Any] = {"mesh": args.mesh, "dtype": args.dtype, **settings_of(args)}
    if args.method is not None or args.model.endswith(".cjx"):
        return [colorjax.load(args.model, args.method, **how)]
    from colorjax.colorize import loading

    loaded, refused = loading.load_methods(args.model, **how)
    for title, error in refused.items():
        errors.say(f"colorjax: without {title}: {error}", error=True)
    return loaded


if __name__ == "__main__":
    errors.run(main)
