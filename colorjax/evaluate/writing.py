"""What a command writes of a measurement, beside the table on the screen."""

import argparse
from pathlib import Path

from colorjax import files
from colorjax.devices import processes
from colorjax.evaluate import gallery, measuring, networks, report, results, statistics, study
from colorjax.evaluate.measuring import Measurement
from colorjax.evaluate.results import Result
from colorjax.evaluate.statistics import Statistics
from colorjax.evaluate.tally import Tally

FIGURES, GRID, REPORT = "figures.json", "grid.png", "report.html"


def write(args: argparse.Namespace, measurement: Measurement, tally: Tally, result: Result) -> None:
    """Writes what the command line asks for, on the first process.

    Raises:
        UserError: the disk refuses, on every process; or a study cannot be made of these.
    """

    def files_of_first() -> None:
        if args.json:
            results.write(args.json, result)
        if args.save_statistics:
            moments = tally.moments(networks.INCEPTION, measuring.TRUTH)
            statistics.write(args.save_statistics, Statistics.of(moments))
        if args.output:
            folder(args.output, measurement, tally, result)
        if args.save_outputs:
            gallery.save_all(measurement, args.save_outputs)
        if args.study:
            names = [painter.name for painter in measurement.painters]
            pairs = study.draw(names, len(tally.keys), args.pairs, args.seed)
            study.write(
                args.study, pairs, gallery.show(measurement, sorted({p.place for p in pairs}))
            )

    processes.on_first(files_of_first, "writing the results")


def folder(path: Path, measurement: Measurement, tally: Tally, result: Result) -> None:
    """Figures, grid and report."""
    extremes = gallery.extremes(tally, [painter.name for painter in measurement.painters])
    first = [int(place) for place in tally.places[: gallery.FIRST]]
    places = sorted({*first, *(place for one in extremes for place in (*one.worst, *one.best))})
    shown = gallery.show(measurement, places)
    results.write(path / FIGURES, result)
    files.write_bytes(path / GRID, gallery.grid([shown[place] for place in first]))
    files.write_text(path / REPORT, report.report(measurement, tally, result, shown, extremes))
