"""Table, frontier and pictures of `docs/reproduction.md`, from the rows that are kept."""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image

from colorjax import files

DOCS = Path(__file__).parents[2] / "docs"
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
MARKS = re.compile(r"(<!-- rows -->\n).*?(<!-- end -->)", re.DOTALL)
ACROSS = 8
Rows = Mapping[str, dict[str, Any]]


def draw(rows: Rows, folder: Path) -> None:
    """Writes everything that the kept rows suffice for."""
    if not rows:
        return
    files.write_bytes(FOLDER / "frontier.png", frontier(rows))
    if all(name in rows for name in SHOWN):
        files.write_bytes(FOLDER / "pictures.png", pictures(folder))
    text = PAGE.read_text()
    files.write_text(PAGE, MARKS.sub(lambda match: match[1] + table(rows) + match[2], text))


def table(rows: Rows) -> str:
    """Markdown, with the half widths of 95 % intervals, and each row's command beneath."""
    columns = [one for one in COLUMNS if any(one[0] in row["kept"] for row in rows.values())]
    head = "| row | " + " | ".join(heading for _, heading, _ in columns) + " | raw PSNR |\n"
    lines = [head, "|---|" + "---:|" * (len(columns) + 1) + "\n"]
    for name, row in rows.items():
        cells = [_cell(row, key, decimals) for key, _, decimals in columns]
        cells.append(f"{row['raw']['psnr_pooled']:.2f}")
        lines.append(f"| {row['title']} (`{name}`) | " + " | ".join(cells) + " |\n")
    return "".join(lines)


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
