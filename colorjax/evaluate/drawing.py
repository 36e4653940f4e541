"""The report's plots, as SVG text that stands within the page.

By matplotlib, which the package has anyway: its drawings are text of some kilobytes that any
browser, printer or editor shows. Plotly would add hovering at the price of 4 MB of script in every
report; the numbers that hovering tells stand in the table.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from colorjax.evaluate.measures import Measure, Scores
from colorjax.evaluate.results import Result

COLOURS = ("#0b6e99", "#c2410c", "#4d7c0f", "#7e22ce", "#b91c1c", "#0f766e", "#a16207", "#334155")
WIDTH = 7.2  # inches
BINS = 40


def _svg(draw: Callable[[Any], None], height: float, columns: int = 1) -> str:
    """A drawing as `<svg>`, without the XML before it, which a page must not have."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    style: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "colorjax", "font.size": 9}
    style["text.parse_math"] = False  # a folder may be called $HOME
    with matplotlib.rc_context(style):
        figure, axes = pyplot.subplots(1, columns, figsize=(WIDTH, height), squeeze=False)
        draw(axes[0] if columns > 1 else axes[0, 0])
        figure.tight_layout()
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None}, transparent=True)
        pyplot.close(figure)
    text = file.getvalue()
    return re.sub(r' (width|height)="[\d.]+pt"', "", text[text.index("<svg") :], count=2)


def intervals(result: Result, measures: Sequence[Measure]) -> dict[str, str]:
    """A drawing for each measure: every row with an interval, and the others as points."""
    return {measure.name: _intervals(result, measure) for measure in measures}


def _intervals(result: Result, measure: Measure) -> str:
    rows = [row for row, figures in result.rows.items() if measure.name in figures]
    if measure.best:  # the truth's own is a constant far off, which would squeeze the others
        rows = [row for row in rows if row != "truth"]

    def draw(axis: Any) -> None:
        for place, row in enumerate(reversed(rows)):
            value = result.rows[row][measure.name]
            interval = result.intervals.get(row, {}).get(measure.name)
            colour = COLOURS[0] if interval else "#64748b"
            if interval:
                axis.plot(list(interval), [place, place], color=colour, linewidth=2)
            axis.plot([value], [place], "o", color=colour, markersize=5)
        axis.set_yticks(range(len(rows)), list(reversed(rows)))
        axis.set_ylim(-0.6, len(rows) - 0.4)
        axis.grid(axis="x", color="#cbd5e1", linewidth=0.5)
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)

    return _svg(draw, 0.5 + 0.24 * len(rows))


def histograms(scores: Mapping[str, Scores], columns: Mapping[str, str]) -> str:
    """How each painter's pictures are spread, in some of their values.

    Args:
        columns: the pictures' value -> the heading.
    """

    def draw(axes: Any) -> None:
        for axis, (name, heading) in zip(np.atleast_1d(axes), columns.items(), strict=True):
            every = np.concatenate([of[name] for of in scores.values()])
            low, high = (float(end) for end in np.nanpercentile(every, (0.5, 99.5)))
            if low == high:
                low, high = low - 0.5, high + 0.5
            edges = np.linspace(low, high, BINS)
            for (painter, of), colour in zip(scores.items(), COLOURS * len(scores), strict=False):
                axis.hist(of[name], edges, histtype="step", color=colour, label=painter)
            axis.set_xlabel(heading)
            for side in ("top", "right"):
                axis.spines[side].set_visible(False)
        np.atleast_1d(axes)[0].set_ylabel("pictures")
        np.atleast_1d(axes)[-1].legend(frameon=False, fontsize=8)

    return _svg(draw, 2.4, len(columns))
