"""Colours photographs: `python -m colorjax.colorize PHOTO_OR_FOLDER... [--prompt TEXT]`.

Nothing heavy is imported before the first line is said: jax and the networks take seconds.
"""

import sys

from colorjax import __version__, errors


def main(arguments: list[str] | None = None) -> int:
    """Runs the command, see `colorjax.colorize.command.run`; returns its exit code."""
    from colorjax.colorize.command import run

    return run.main(arguments)


def command() -> None:
    """The console script, and `python -m colorjax`."""
    if "--version" in sys.argv[1:]:
        print(f"colorjax {__version__}")
        return
    if not {"-h", "--help"} & set(sys.argv[1:]):
        print("colorjax: starting", file=sys.stderr, flush=True)
    errors.run(main)


if __name__ == "__main__":
    command()
