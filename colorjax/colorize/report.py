"""What a command says of the pictures as they come, even when nobody listens any more."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from colorjax.colorize.jobs import Outcome
from colorjax.errors import printable


@dataclass
class Report:
    """What has been done so far, said as it happens."""

    done: int = 0
    kept: int = 0
    failed: list[str] = field(default_factory=list)

    def succeed(self, output: Path, outcome: Outcome, writing: float) -> None:
        """A picture is written; how long it took, and apart from it what comes only once."""
        self.done += 1
        once = ""
        if outcome.compiling:
            once = f", and {outcome.compiling:.1f} s to compile for the first of its shape"
        say(f"{output}  {outcome.seconds + writing:.1f} s{once}")

    def keep(self, output: Path) -> None:
        """A result is there already."""
        self.kept += 1
        say(f"{output}  kept")

    def fail(self, error: Exception) -> None:
        """A picture is left out."""
        self.failed.append(str(error))
        say(f"colorjax: skipped: {error}", error=True)

    def sum_up(self) -> None:
        """How many of what, if there is more to tell than the results' own lines."""
        if self.failed or self.kept:
            kept = f", {self.kept} kept as finished" if self.kept else ""
            failed = f"{len(self.failed)} skipped"
            say(f"colorjax: {self.done} coloured{kept}, {failed}", error=True)


def say(text: str, *, error: bool = False) -> None:
    """Prints a line without control characters, on stdout or as an `error` on stderr.

    A stream that takes no more, as of `| head` or on a full disk, is given up quietly: pictures
    are worth more than lines about them.
    """
    stream = sys.stderr if error else sys.stdout
    try:
        print(printable(text), file=stream, flush=True)
    except (OSError, ValueError):
        _give_up(stream)


def _give_up(stream: Any) -> None:
    """Lets the stream end in nothing, or what is left in it would be an error at the exit."""
    try:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
    except (OSError, ValueError):  # of a test, or closed
        pass
