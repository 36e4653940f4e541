"""The tables of README.md and docs/speed.md that `python -m benchmarks` writes between markers."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Results = Mapping[str, Any]
METHODS = {"diffusing_colors": "Diffusing Colors", "lcad": "L-CAD"}


def between(text: str, name: str, table: str) -> str:
    """The text with another table between `<!-- benchmarks: NAME -->` and `<!-- end: NAME -->`.

    Raises:
        ValueError: the text has no such markers.
    """
    first, last = f"<!-- benchmarks: {name} -->", f"<!-- end: {name} -->"
    before, found, rest = text.partition(first)
    _, closed, after = rest.partition(last)
    if not (found and closed):
        raise ValueError(f"there is no {first} with {last} after it")
    return f"{before}{first}\n{table}\n{last}{after}"


def drawn(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown: the first column is words, the others are numbers."""
    rows = list(rows)
    if not rows:
        return "*Not measured yet.*"
    lines = [list(heads), ["---", *["---:"] * (len(heads) - 1)], *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def mean_ratio(pairs: Iterable[tuple[float, float]]) -> float:
    """The geometric mean of the first numbers over the second."""
    logarithms = [math.log(first / second) for first, second in pairs]
    return math.exp(sum(logarithms) / len(logarithms))


def layers(results: Results) -> str:
    """Every layer, each way, and the ratio to torch's time."""
    rows = []
    for name, row in results.get("layers", {}).items():
        torch = row["torch"]
        ratio = "-" if torch is None else f"{row['chosen'] / torch:.2f}"
        cells = [
            "-" if row[key] is None else f"{row[key]:.1f}" for key in ("XLA", "other", "torch")
        ]
        rows.append([name, *cells, ratio])
    heads = (
        "ms, one thread",
        "XLA's",
        "product, or by head",
        "torch",
        "what colorjax takes, over torch",
    )
    return drawn(heads, rows)


def cpu(results: Results) -> str:
    """Whole networks beside torch."""
    rows = []
    for name, row in results.get("cpu", {}).items():
        torch = min(value for side, value in row.items() if side != "colorjax")
        ratio = row["colorjax"] / torch
        rows.append(
            [name.replace("_", " "), f"{row['colorjax']:.3f}", f"{torch:.3f}", f"{ratio:.2f}"]
        )
    return drawn(("CPU s", "colorjax", "torch, the faster layout", "ratio"), rows)


def startup(results: Results) -> str:
    """What a start costs."""
    rows = [[name, f"{value:.2f}"] for name, value in results.get("startup", {}).items()]
    return drawn(("", "s"), rows)


def speed(results: Results) -> str:
    """The README's one table: each row with the command that gives it."""
    rows: list[list[str]] = []
    if "startup" in results:
        start = results["startup"]
        known = f"{start['start, CPU s']:.1f} CPU s; the first time {start['first run, CPU s']:.1f}"
        rows.append(["from the command to the first picture", known, "startup"])
    for name, value in results.get("steps", {}).items():
        method, _, steps = name.partition(", ")
        if steps in ("distilled", "10", "50"):
            what = steps if steps == "distilled" else f"{steps} steps"
            rows.append(
                [f"{METHODS[method]}, {what}", f"{1e3 * value:.1f} CPU ms a picture", "steps"]
            )
    if "layers" in results:
        for kind in ("convolution", "attention"):
            found = [
                r for name, r in results["layers"].items() if name.startswith(kind) and r["torch"]
            ]
            before = mean_ratio((r["XLA"], r["torch"]) for r in found)
            now = mean_ratio((r["chosen"], r["torch"]) for r in found)
            what = f"{now:.2f} of torch's time; {before:.2f} by XLA's own"
            rows.append([f"{kind}s of a full-size UNet, one thread", what, "layers"])
    return drawn(("on two shared CPU cores", "", "`python -m benchmarks.`"), rows)


def summary(results: Results) -> str:
    """The tables for a terminal."""
    return "\n\n".join(table(results) for table in (speed, startup, layers, cpu))


TABLES: dict[str, dict[str, Callable[[Results], str]]] = {
    "README.md": {"speed": speed},
    "docs/speed.md": {"startup": startup, "layers": layers, "cpu": cpu},
}
