"""What a measurement found, as one value that JSON can hold, and as the table on the screen."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import colorjax
from colorjax import files
from colorjax.errors import printable
from colorjax.evaluate import measures, protocols, published, uncertainty
from colorjax.evaluate.measures import Measure
from colorjax.evaluate.measuring import RAW, TRUTH, Measurement
from colorjax.evaluate.protocols import Listed
from colorjax.evaluate.statistics import Statistics
from colorjax.evaluate.tally import Tally

FORMAT = 1
NETWORKS = {"vgg16": ("frechet_vgg16", "kid_vgg16"), "inception": ("fid", "kid")}
# What models are compared in, by the pictures' values: means of these.
COMPARED = {
    "psnr_pooled": "mse",
    "ssim": "ssim",
    "lpips": "lpips",
    "chroma_error": "chroma_error",
    "ciede2000": "ciede2000",
    "colourfulness": "colourfulness",
    "obedience": "obedience",
    "clip_score": "clip_score",
}
Figures = dict[str, float | int]


class Result(NamedTuple):
    """Figures with all that they depend on."""

    about: dict[str, Any]  # protocol, list, seed, backends, models: what is written beside figures
    rows: dict[str, Figures]
    intervals: dict[str, dict[str, uncertainty.Interval]]
    comparisons: list[uncertainty.Comparison]
    listed: Listed
    captions: str

    @property
    def columns(self) -> list[Measure]:
        """The measures that any row has."""
        names = {name for row in self.rows.values() for name in row}
        return [measure for measure in measures.MEASURES if measure.name in names]

    def json(self) -> dict[str, Any]:
        """As a file holds it."""
        return self.about | {
            "rows": self.rows,
            "intervals_95": {
                row: {name: list(values) for name, values in of_row.items()}
                for row, of_row in self.intervals.items()
            },
            "comparisons": [one._asdict() for one in self.comparisons],
        }


def result(measurement: Measurement, tally: Tally, reference: Statistics | None = None) -> Result:
    """The figures of every row, with intervals of the painters' and tests between them.

    Args:
        reference: statistics of Inception's features that the FID is taken to, instead of the
            truth's own.
    """
    protocol, frame = measurement.protocol, measurement.frame
    listed = protocols.compare(protocol, tally.keys, frame.size, measurement.selection.crop)
    rows = {}
    for row in tally.rows:
        rows[row] = {"pictures": len(tally.keys)} | measures.figures(tally.scores(row))
        if row != TRUTH:
            rows[row] |= _distances(tally, row, reference)
    names = [painter.name for painter in measurement.painters]
    named = {name: tally.scores(name) for name in names}
    intervals = {
        row: uncertainty.intervals(tally.scores(row))
        for row in [*names, *(name + RAW for name in names)]
    }
    return Result(
        _about(measurement, listed),
        rows,
        intervals,
        uncertainty.comparisons(named, COMPARED) if len(names) > 1 else [],
        listed,
        frame.level,
    )


def _distances(tally: Tally, row: str, reference: Statistics | None) -> Figures:
    """Of whole sets; without those that too few pictures have."""
    figures: Figures = {}
    for network in tally.networks():
        frechet, kid = NETWORKS[network]
        truth = Statistics.of(tally.moments(network, TRUTH))
        if reference is not None and network == "inception":
            truth = reference
        own = Statistics.of(tally.moments(network, row))
        figures |= {frechet: own.distance(truth), kid: tally.kid(network, row, TRUTH)}
    return {name: value for name, value in figures.items() if value == value}


def _about(measurement: Measurement, listed: Listed) -> dict[str, Any]:
    protocol, selection, frame = measurement.protocol, measurement.selection, measurement.frame
    return {
        "format": FORMAT,
        "colorjax": colorjax.__version__,
        "protocol": {
            "name": protocol.name,
            "title": protocol.title,
            "about": protocol.about,
            "split": selection.split,
            "crop": selection.crop,
            "size": frame.size,
            "captions": frame.level,
            "order": "as prepared",
        },
        "list": {
            "pictures": listed.pictures,
            "sha256": listed.digest,
            "is_the_protocols": listed.is_the_protocols,
            "differences": list(listed.differences),
        },
        "seed": measurement.seed,
        "backends": measurement.networks.backends,
        "models": [painter.about() for painter in measurement.painters],
    }


def papers(of: Result) -> list[published.Row]:
    """The published rows that these figures may stand beside: none if the list is another one."""
    if not of.listed.is_the_protocols:
        return []
    return published.of(of.about["protocol"]["name"])


def table(of: Result) -> str:
    """The figures as text: a row for each kind of picture, then the papers'."""
    columns = of.columns
    about = of.about["protocol"]
    lines = [
        f"{about['title']}: {of.listed.pictures} pictures of {about['size']} pixels, "
        f"{of.captions} captions, seed {of.about['seed']}"
    ]
    lines += [f"not the protocol: {difference}" for difference in of.listed.differences]
    known = published.of(about["name"])
    if known and not of.listed.is_the_protocols:
        lines.append(f"so the papers' {len(known)} rows are not put beside these")
    width = max(len(name) for name in [*of.rows, *(row.method for row in papers(of))]) + 2
    lines += ["", " " * width + "".join(f"{one.heading:>17}" for one in columns)]
    lines += [_line(row, figures, columns, width) for row, figures in of.rows.items()]
    for row in papers(of):
        said = f"  [{row.captions or 'automatic'}; {row.source}{'; ' * bool(row.note)}{row.note}]"
        lines.append(_line(row.method, row.figures, columns, width) + said)
    for one in of.comparisons:
        lines.append(
            f"{one.second} against {one.first}, {one.measure}: {one.difference:+.4g} "
            f"(p {one.p:.2g}, of all {len(of.comparisons)} together {one.p_holm:.2g})"
        )
    return "\n".join(lines)


def _line(name: str, figures: Figures, columns: Sequence[Measure], width: int) -> str:
    cells = (
        f"{figures[one.name]:17.{one.decimals}f}" if one.name in figures else f"{'-':>17}"
        for one in columns
    )
    return f"{printable(name):{width}}{''.join(cells)}"


def write(path: Path, of: Result) -> None:
    """Writes the JSON file.

    Raises:
        UserError: the disk refuses.
    """
    files.write_text(path, json.dumps(of.json(), indent=1) + "\n")
