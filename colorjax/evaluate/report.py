"""One HTML file that holds a whole measurement: nothing beside it is needed to look at it."""

import html
import json
from collections.abc import Mapping
from importlib import resources
from string import Template

from colorjax.evaluate import drawing, gallery, results
from colorjax.evaluate.gallery import Extremes, Shown
from colorjax.evaluate.measures import Measure
from colorjax.evaluate.measuring import TRUTH, Measurement
from colorjax.evaluate.results import Result
from colorjax.evaluate.tally import Tally

HISTOGRAMS = {
    "psnr": "PSNR, dB",
    "ciede2000": "CIEDE2000",
    "colourfulness_difference": "own - true colourfulness",
}
SMALL = 64  # pictures up to so many pixels are enlarged without blur


def page(name: str) -> str:
    """A file of `pages/`."""
    return (resources.files("colorjax.evaluate") / "pages" / name).read_text("utf-8")


def report(
    measurement: Measurement,
    tally: Tally,
    result: Result,
    shown: Mapping[int, Shown],
    extremes: list[Extremes],
) -> str:
    """The page.

    Args:
        shown: the pictures of `extremes` and those of the gallery, by their places in the split.
    """
    names = [painter.name for painter in measurement.painters]
    about = result.about["protocol"]
    places = {place: f"p{number}" for number, place in enumerate(shown)}
    first = [place for place in sorted(shown) if place < gallery.FIRST]
    versions = next(iter(shown.values())).versions
    columns = [one for one in result.columns if any(one.name in result.rows[n] for n in names)]
    plots = drawing.intervals(result, columns)
    spread = drawing.histograms({name: tally.scores(name) for name in names}, HISTOGRAMS)
    return Template(page("report.html")).substitute(
        title=_text(f"{', '.join(names)}: {about['title']}"),
        style=page("style.css"),
        size="small" if about["size"] <= SMALL else "large",
        pictures="\n".join(_classes(places[place], one) for place, one in shown.items()),
        summary=_text(
            f"{result.listed.pictures} pictures of {about['size']} pixels, {result.captions} "
            f"captions, seed {result.about['seed']}; colorjax {result.about['colorjax']}. "
            f"{about['about']}"
        ),
        warnings="".join(
            f'<p class="warning">Not the protocol, so no paper stands beside: {_text(one)}.</p>'
            for one in result.listed.differences
        ),
        table=_table(result, names),
        papers=_papers(result),
        comparisons=_comparisons(result),
        plots=_figure("distribution over pictures", spread)
        + "".join(_figure(one.heading + _better(one), plots[one.name]) for one in columns),
        options="".join(
            f'<option value="{number}">{_text(name)}</option>'
            for number, name in enumerate(versions)
        ),
        sliders="".join(_slider(places[place], shown[place]) for place in first),
        extremes="".join(_extremes(one, shown, places) for one in extremes),
        about=_text(json.dumps(result.about, indent=1)),
    )


def _text(value: object) -> str:
    return html.escape(str(value))


def _better(measure: Measure) -> str:
    return {"high": ", higher is better", "low": ", lower is better", "": ""}[measure.best]


def _classes(name: str, one: Shown) -> str:
    return "\n".join(
        f".{name}-{number}{{background-image:url({gallery.data_uri(pixels)})}}"
        for number, pixels in enumerate(one.versions.values())
    )


def _table(result: Result, names: list[str]) -> str:
    columns = result.columns
    best = {}
    for one in columns:
        known = {name: result.rows[name].get(one.name) for name in names}
        values = [value for value in known.values() if value is not None]
        if one.best and len(values) > 1:
            best[one.name] = max(values) if one.best == "high" else min(values)

    def cell(row: str, one: Measure) -> str:
        value = result.rows[row].get(one.name)
        if value is None:
            return "<td>-</td>"
        interval = result.intervals.get(row, {}).get(one.name)
        ends = ""
        if interval:
            low, high = (f"{end:.{one.decimals}f}" for end in interval)
            ends = f"<small>{low} to {high}</small>"
        kind = ' class="best"' if row in names and best.get(one.name) == value else ""
        return f"<td{kind}>{value:.{one.decimals}f}{ends}</td>"

    head = "".join(f'<th title="{_text(one.about)}">{_text(one.heading)}</th>' for one in columns)
    body = "".join(
        f"<tr><td>{_text(row)}</td>{''.join(cell(row, one) for one in columns)}</tr>"
        for row in result.rows
    )
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table>"


def _papers(result: Result) -> str:
    rows = results.papers(result)
    if not rows:
        return ""
    columns = [one for one in result.columns if any(one.name in row.figures for row in rows)]

    def cell(figures: results.Figures, one: Measure) -> str:
        known = one.name in figures
        return f"<td>{figures[one.name]:.{one.decimals}f}</td>" if known else "<td>-</td>"

    head = "".join(f"<th>{_text(one.heading)}</th>" for one in columns)
    body = "".join(
        f"<tr><td>{_text(row.method)}</td><td>{_text(row.captions or 'automatic')}</td>"
        + "".join(cell(row.figures, one) for one in columns)
        + f'<td class="text">{_text(row.source)}. {_text(row.note)}</td></tr>'
        for row in rows
    )
    return (
        "<h3>As reported</h3><div class='wide'><table><thead><tr><th>method</th><th>captions</th>"
        f"{head}<th>source</th></tr></thead><tbody>{body}</tbody></table></div>"
    )


def _comparisons(result: Result) -> str:
    if not result.comparisons:
        return ""
    body = "".join(
        f"<tr><td>{_text(one.second)} against {_text(one.first)}</td><td>{_text(one.measure)}</td>"
        f"<td>{one.difference:+.4g}</td><td>{one.p:.2g}</td><td>{one.p_holm:.2g}</td></tr>"
        for one in result.comparisons
    )
    return (
        "<h3>Paired tests</h3><p class='soft'>Mean of the pictures' differences; p by flipping "
        "their signs at random, and adjusted for the number of tests (Holm). psnr_pooled is "
        "compared by the mean squared error.</p><div class='wide'><table><thead><tr><th></th>"
        f"<th>measure</th><th>difference</th><th>p</th><th>p adjusted</th></tr>"
        f"</thead><tbody>{body}</tbody></table></div>"
    )


def _figure(caption: str, svg: str) -> str:
    return f"<figure><figcaption>{_text(caption)}</figcaption>{svg}</figure>"


def _slider(name: str, one: Shown) -> str:
    label = _text(f"where the right picture of {one.key} begins")
    return (
        f'<figure><div class="slider" data-picture="{name}"><div role="img"></div>'
        f'<div role="img"></div><input type="range" min="0" max="100" aria-label="{label}"></div>'
        f"<figcaption>{_text(one.caption) or 'no caption'}</figcaption></figure>"
    )


def _extremes(of: Extremes, shown: Mapping[int, Shown], places: Mapping[int, str]) -> str:
    rows = []
    for heading, end in (("worst", of.worst), ("best", of.best)):
        for place in end:
            one = shown[place]
            tiles = "".join(
                f'<div><div class="picture {places[place]}-{number}" role="img" '
                f'aria-label="{_text(name)}"></div><small>{_text(name)}</small></div>'
                for number, name in enumerate(one.versions)
                if name in (of.painter, TRUTH) or number == 0
            )
            value = f"{of.values[place]:.{of.measure.decimals}f}"
            rows.append(
                f'<figure><div class="row">{tiles}</div><figcaption>{heading}, {value}: '
                f"{_text(one.caption)} ({_text(one.key)})</figcaption></figure>"
            )
    title = f"{of.painter}, by {of.measure.heading}{_better(of.measure)}"
    return f'<h3>{_text(title)}</h3><div class="plots">{"".join(rows)}</div>'
