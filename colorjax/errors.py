"""What goes wrong by the user's hand, told in one sentence."""

import sys
from collections.abc import Callable, Iterable


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


def printable(text: str) -> str:
    """A line without control characters: names of files may hold what steers a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def first_line(error: BaseException, most: int = 200) -> str:
    """What an error says, for a sentence of ours: its first line, or its type if it says nothing.

    Libraries below us answer with pages; `most` is how many characters are kept.
    """
    lines = str(error).strip().splitlines()
    return lines[0][:most] if lines else type(error).__name__


def run(main: Callable[[], int | None]) -> None:
    """Runs an entry point; a `UserError` becomes one line on stderr and exit code 2.

    So does what the system refuses: a full disk, a missing permission, a name that is too long.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file name may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main()
    except (UserError, OSError) as error:
        print(f"colorjax: {printable(str(error))}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("colorjax: interrupted", file=sys.stderr)
        code = 130
    sys.exit(code or 0)
