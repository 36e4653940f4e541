"""What a command says of the pictures as they come, even when nobody listens any more."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from colorjax import files
from colorjax.errors import printable

LINES, QUIET, JSON = "lines", "quiet", "json"


@dataclass
class Report:
    """What has been done so far, said as it happens.

    Attributes:
        total: how many pictures there are.
        mode: "lines" (a bar instead on a terminal), "quiet" for what went wrong only, or "json"
            for a line of JSON a picture.
    """

    total: int = 0
    mode: str = LINES
    done: int = 0
    kept: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    _bar: Any = None

    def start(self, total: int) -> None:
        """How many pictures there are is known now."""
        self.total = total
        if self.mode == LINES and total > 1 and sys.stderr.isatty():
            self._bar = tqdm(total=total, unit=" pictures", dynamic_ncols=True, leave=False)

    def succeed(self, output: Path, seconds: float, compiling: float, more: Any = None) -> None:
        """A picture is written; how long it took, and apart from it what comes only once."""
        self.done += 1
        if self.mode == JSON:
            about = {"output": str(output), "status": "done", "seconds": round(seconds, 2)}
            _json(about | dict(more or {}))
            return
        once = f", and {compiling:.1f} s to compile for the first of its shape" if compiling else ""
        about = dict(more or {})
        said = f"  doubt {about['doubt_mean']:.1f}" if "doubt_mean" in about else ""
        said += f'  as "{about["caption"]}"' if "caption" in about else ""
        self._line(f"{output}  {seconds:.1f} s{once}{said}")

    def keep(self, output: Path, file: object) -> None:
        """A photograph's result is there already."""
        self.kept += 1
        if self.mode == JSON:
            _json({"output": str(output), "status": "kept", "file": str(file)})
        else:
            self._line(f"{output}  kept")

    def fail(self, error: Exception, file: object = "") -> None:
        """A picture is left out."""
        self.failed.append((str(file), str(error)))
        if self.mode == JSON:
            _json({"file": str(file), "status": "skipped", "error": str(error)})
        else:
            self.remark(f"skipped: {error}")
            self._moved()

    def remark(self, text: str) -> None:
        """Something to be known about a picture or about all."""
        if self._bar is not None:
            self._bar.clear()
        say(f"colorjax: {text}", error=True)

    def film(self, scenes: int, figures: Mapping[str, int | float]) -> None:
        """How many frames of a film the model coloured, and how much they flicker."""
        if self.mode == JSON:
            _json({"status": "film", "scenes": scenes, **figures})
        elif self.mode == LINES:
            flicker = f"; flicker {figures['flicker']:.2f}" if "flicker" in figures else ""
            self.remark(
                f"scenes: {scenes}; coloured by the model: {figures['by_model']} of "
                f"{figures['frames']} frames, the others along the motion{flicker}"
            )

    def sum_up(self, left: int = 0) -> None:
        """How many of what, if there is more to tell than the results' own lines."""
        if self._bar is not None:
            self._bar.close()
        if self.failed or self.kept or left or self._bar is not None:
            parts = [f"{self.done} coloured"]
            parts += [f"{self.kept} kept as finished"] * bool(self.kept)
            parts += [f"{len(self.failed)} skipped"]
            parts += [f"{left} left: the same command goes on"] * bool(left)
            say(f"colorjax: {', '.join(parts)}", error=True)

    def write_skipped(self, folder: Path, name: str) -> None:
        """Lists what was left out in a file, or removes the list of an earlier run.

        Raises:
            UserError: it cannot be written.
        """
        path = folder / name
        if self.failed:
            rows = [json.dumps({"file": file, "error": error}) for file, error in self.failed]
            files.write_text(path, "\n".join(rows) + "\n")
        elif path.is_file():
            path.unlink()

    def _line(self, text: str) -> None:
        if self._bar is None and self.mode == LINES:
            say(text)
        self._moved()

    def _moved(self) -> None:
        if self._bar is not None:
            self._bar.set_postfix(skipped=len(self.failed), refresh=False)
            self._bar.update()


def _json(about: Mapping[str, Any]) -> None:
    say(json.dumps(about))


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
