"""What goes wrong by the user's hand, told in one sentence."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """A mistake the user can mend. The message names the value, what is allowed and what to do."""


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
        print(f"colorjax: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("colorjax: interrupted", file=sys.stderr)
        code = 130
    sys.exit(code or 0)
