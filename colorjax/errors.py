"""What goes wrong by the user's hand, told in one sentence."""

import signal
import sys
from collections.abc import Callable, Iterable
from types import FrameType


class UserError(Exception):
    """A mistake the user can mend. The message names the value, what is allowed and what to do."""


def one_of(name: str, value: object, allowed: Iterable[object]) -> None:
    """Checks a choice.

    Raises:
        UserError: `value` is not among `allowed`; the sentence lists them.
    """
    choices = tuple(allowed)
    if value not in choices:
        raise UserError(f"{name} is {value!r}; it must be one of {', '.join(map(str, choices))}")


def first_line(error: BaseException, most: int = 200) -> str:
    """What an error says, for a sentence of ours: its first line, or its type if it says nothing.

    Libraries below us answer with pages; `most` is how many characters are kept.
    """
    lines = str(error).strip().splitlines()
    return lines[0][:most] if lines else type(error).__name__


def reason(error: BaseException) -> str:
    """Why the system refused, for a sentence that names the file itself; else as `first_line`."""
    said = error.strerror if isinstance(error, OSError) else None
    return said or first_line(error)


def printable(text: object) -> str:
    """A text on one line, with escapes for what a terminal would obey or hide.

    Names of files may hold newlines, escape sequences and marks that turn the direction of
    writing: printed as they are they could forge a line of ours.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def say(text: object, *, error: bool = False) -> None:
    """Prints a line without control characters, on stdout or as an `error` on stderr."""
    print(printable(text), file=sys.stderr if error else sys.stdout, flush=True)


def run(main: Callable[[], int | None]) -> None:
    """Runs an entry point; a `UserError` becomes one line on stderr and exit code 2.

    So does what the system refuses: a full disk, a missing permission, a name that is too long.
    Ctrl-C ends with exit code 130 and SIGTERM with 143, both after what is half written is removed.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file name may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _terminated)
    try:
        code = main()
    except (UserError, OSError) as error:
        say(f"colorjax: {error}", error=True)
        code = 2
    except KeyboardInterrupt:
        print("colorjax: interrupted", file=sys.stderr)
        code = 130
    sys.exit(code or 0)


def _terminated(_number: int, _frame: FrameType | None) -> None:
    # An exception, and not the signal's own end, which would leave temporary files behind.
    sys.exit(128 + signal.SIGTERM)
