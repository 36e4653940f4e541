"""What goes wrong by the user's hand, told in one sentence."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """A mistake the user can mend. The message names the value, what is allowed and what to do."""


def run(main: Callable[[], int | None]) -> None:
    """Runs an entry point; a `UserError` becomes one line on stderr and exit code 2."""
    try:
        code = main()
    except UserError as error:
        print(f"colorjax: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("colorjax: interrupted", file=sys.stderr)
        code = 130
    sys.exit(code or 0)
