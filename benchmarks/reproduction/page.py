"""Table, frontier and pictures of `docs/reproduction.md`, from the rows that were measured."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from PIL import Image

from benchmarks import pages
from colorjax import files

DOCS = pages.ROOT / "docs"
PAGE, FOLDER = DOCS / "reproduction.md", DOCS / "reproduction"
COLUMNS = (  # of the kept figures: name, heading, decimals
    ("psnr_pooled", "PSNR pooled", 2),
    ("ssim", "SSIM", 3),
    ("lpips", "LPIPS", 3),
    ("frechet_vgg16", "Frechet VGG16", 1),
    ("colourfulness", "colourfulness", 1),
    ("delta_colourfulness_per_image", "dCF per image", 1),
    ("ciede2000", "CIEDE2000", 2),
    ("obedience", "obedience", 3),
)
SHOWN = ("text_to_image", "sdedit_50", "lcad", "lcad_scarce", "cold", "combination")
ACROSS = 8
RECORD = FOLDER / "rows.json"  # of every row of the page, when it was last measured
RECORDED = ("captions", "command", "identity", "kept", "raw", "intervals_95", "truth")
Rows = Mapping[str, dict[str, Any]]


class Titled(NamedTuple):
    """What a row is called, and its lines of the frontier, with | between."""

    title: str
    curve: str


def draw(measured: Rows, titles: Mapping[str, Titled], folder: Path) -> None:
    """Brings the page's record up to date, and draws everything that it suffices for.

    Args:
        measured: rows that are kept in `folder`; they take the place of the record's.
        titles: of all rows in their order, and the curves that they are points of.
    """
    record: dict[str, dict[str, Any]] = {}
    if RECORD.is_file():
        record = files.read_json(RECORD, advice="get it from the repository again")
    record |= {name: {key: row[key] for key in RECORDED} for name, row in measured.items()}
    rows = {name: record[name] | titles[name]._asdict() for name in titles if name in record}
    if not rows:
        return
    files.write_text(RECORD, json.dumps(record, indent=1, sort_keys=True) + "\n")
    files.write_bytes(FOLDER / "frontier.png", frontier(rows))
    if all(name in measured for name in SHOWN):
        files.write_bytes(FOLDER / "pictures.png", pictures(folder))
    pages.fill(PAGE, "rows", table(rows))


def table(rows: Rows) -> str:
    """Markdown, with the half widths of 95 % intervals, and beside each row its command."""
    columns = [one for one in COLUMNS if any(one[0] in row["kept"] for row in rows.values())]
    heads = ["row", *(heading for _, heading, _ in columns), "raw PSNR", "command"]
    lines = []
    for row in rows.values():
        cells = [_cell(row, key, decimals) for key, _, decimals in columns]
        raw = f"{row['raw']['psnr_pooled']:.2f}"
        lines.append([row["title"], *cells, raw, f"`{row['command']}`"])
    return pages.table(heads, lines)


def _cell(row: dict[str, Any], key: str, decimals: int) -> str:
    if key not in row["kept"]:
        return "-"
    value = f"{row['kept'][key]:.{decimals}f}"
    ends = row["intervals_95"].get(key)
    return value if ends is None else f"{value} ± {(ends[1] - ends[0]) / 2:.{decimals}f}"


def frontier(rows: Rows) -> bytes:
    """Gain in pooled PSNR over gray against colourfulness, lines joining a setting's values."""
    matplotlib.use("agg")
    from matplotlib import pyplot

    gray = rows["gray"]["kept"]["psnr_pooled"] if "gray" in rows else 0.0
    figure, axis = pyplot.subplots(figsize=(9.5, 5.5))
    curves: dict[str, list[tuple[float, float]]] = {}
    for number, row in enumerate(rows.values(), 1):
        point = row["kept"]["colourfulness"], row["kept"]["psnr_pooled"] - gray
        marker = {"complete": "o", "scarce": "^"}[row["captions"]]
        axis.plot(*point, marker, color="#0b6e99" if marker == "o" else "#c2410c", markersize=5)
        axis.annotate(str(number), point, fontsize=7, xytext=(4, 3), textcoords="offset points")
        for curve in filter(None, row["curve"].split("|")):
            curves.setdefault(curve, []).append(point)
    titles = [f"{number}  {row['title']}" for number, row in enumerate(rows.values(), 1)]
    axis.text(1.02, 1.0, "\n".join(titles), fontsize=7, va="top", transform=axis.transAxes)
    for curve, points in curves.items():
        if len(points) < 2:
            continue
        axis.plot(*np.array(sorted(points)).T, "-", linewidth=0.8, alpha=0.6, label=curve)
    truth = next(iter(rows.values()))["truth"]["colourfulness"]
    axis.axvline(truth, color="#64748b", linestyle=":", label="the truth's colourfulness")
    axis.axhline(0.0, color="#64748b", linewidth=0.5)
    axis.set_xlabel("colourfulness")
    axis.set_ylabel("gain in pooled PSNR over gray, dB")
    axis.legend(fontsize=7, frameon=False)
    figure.tight_layout()
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    pyplot.close(figure)
    return file.getvalue()


def pictures(folder: Path) -> bytes:
    """A row of the page's picture for each of `SHOWN`, gray first and the truth last."""
    strips = [folder / f"{SHOWN[0]}.gray.png", *(folder / f"{n}.own.png" for n in SHOWN)]
    strips.append(folder / f"{SHOWN[0]}.truth.png")
    rows = [np.concatenate(np.split(np.asarray(Image.open(p)), ACROSS), axis=1) for p in strips]
    file = io.BytesIO()
    Image.fromarray(np.concatenate(rows)).save(file, "PNG", optimize=True)
    return file.getvalue()
