"""The analysis as a picture: curves with their lines, drift, probe, and decodes at every scale."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from colorjax import files
from colorjax.analyze.fits import Figures

Axes = Any  # matplotlib's; it is imported where something is drawn


def draw(path: Path, figures: Figures, pictures: Float[np.ndarray, "n k h w 3"]) -> None:
    """Writes the figure, with `pictures` (in [0,1]) at the k scales of the figures."""
    from matplotlib.figure import Figure  # costs half a second, and only here

    sheet = Figure(figsize=(11, 8.5), layout="constrained")
    grid = sheet.add_gridspec(2, 3, height_ratios=[1, 1.3])
    _growth(sheet.add_subplot(grid[0, 0], title="growth with s", xlabel="s"), figures)
    _drift(sheet.add_subplot(grid[0, 1], title="hue and luma", xlabel="s"), figures)
    _channels(sheet.add_subplot(grid[0, 2], title="channels against L, a, b"), figures)
    scales = ", ".join(map(str, figures["scales"]))
    strip = sheet.add_subplot(grid[1, :], title="decoded at s = " + scales)
    strip.imshow(np.concatenate([np.concatenate(list(row), axis=1) for row in pictures]))
    strip.axis("off")
    encoded = io.BytesIO()
    sheet.savefig(encoded, dpi=110, format=path.suffix[1:])
    files.write_bytes(path, encoded.getvalue())


def _growth(axes: Axes, figures: Figures) -> None:
    scales = np.asarray(figures["scales"])
    for name, values in figures["ratio to s = 1"].items():
        (drawn,) = axes.plot(scales, values, "o-", label=name, markersize=4)
        line = figures["line"][name]["0..1"]
        fit = line["slope"] * scales + line["offset"]
        axes.plot(scales, fit, ":", color=drawn.get_color(), label=f"R² {line['r2']:.4f} on 0..1")
    axes.set_ylabel("ratio to s = 1")
    axes.legend(fontsize=8)


def _drift(axes: Axes, figures: Figures) -> None:
    scales = figures["scales"]
    # At s = 0 hardly a pixel has a hue that could drift.
    axes.plot(scales[1:], figures["hue drift in degrees"][1:], "o-", markersize=4)
    axes.set_ylabel("hue drift from s = 1, degrees (dots)")
    luma = axes.twinx()
    luma.plot(scales, figures["luma PSNR"], "s--", color="tab:gray", markersize=4)
    luma.set_ylabel("luma PSNR to gray, dB (squares)")


def _channels(axes: Axes, figures: Figures) -> None:
    table = np.asarray(figures["probe"]["correlation of channels with L, a, b"])
    axes.imshow(table, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=9)
    r2 = figures["probe"]["r2"]
    axes.set_xticks(range(3), [f"{name}\nR² {r2[name]:.2f}" for name in "Lab"])
    axes.set_xlabel("R² of the linear probe from all channels")
    axes.set_yticks(range(len(table)), [f"channel {i}" for i in range(len(table))])
