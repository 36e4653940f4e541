"""How the VAE holds colour: `python -m colorjax.analyze --model=bundled --data=cifar10`.

Diffusing Colors rests on one observation: with d = E(colour) - E(gray), decoding E(gray) + s d
gives pictures whose colourfulness grows about linearly with s. How its authors measured it is not
known; this protocol is ours. Writes a figure and a JSON:

- colourfulness and mean chroma over those at s = 1, each with R^2 of a straight line on 0..1,
  0..1.5 and 1..2; the hue's drift from s = 1; the luma's PSNR against the gray picture's;
- the chroma that the decoder puts on gray input;
- a linear probe, from the latent's channels to the mean Lab of the pixels below.
"""

import argparse
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from colorjax import errors, release
from colorjax.data import records, transforms
from colorjax.devices import compile_cache
from colorjax.errors import UserError
from colorjax.maths import cold_diffusion, color, metrics
from colorjax.maths.schedule import split_moments
from colorjax.methods import lcad
from colorjax.types import Image

SCALES = tuple(round(0.2 * i, 1) for i in range(11))
RANGES = {"0..1": (0.0, 1.0), "0..1.5": (0.0, 1.5), "1..2": (1.0, 2.0)}
LEAST_COLOURFULNESS = 15.0  # below it ratios to s = 1 are mostly noise
LEAST_CHROMA = 5.0  # of pixels that have a hue
SHOWN = 6


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="colorjax.analyze", description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="bundled", help="'bundled' or a release directory")
    parser.add_argument("--data", default="cifar10", help="a name in data/, or a directory")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=1000, help="pictures to measure")
    parser.add_argument("--output", type=Path, default=Path("outputs/analysis"), help="a folder")
    parser.add_argument("--batch_size", type=int, default=50)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    for name in ("limit", "batch_size"):
        if getattr(args, name) < 1:
            raise UserError(f"{name} is {getattr(args, name)}; it must be 1 or more")
    directory = Path(args.data) if Path(args.data).is_dir() else Path("data") / args.data
    records.open_split(directory, args.split)
    compile_cache.setup()
    model, params = lcad.load(args.model)
    size = int(release.read_config(release.locate(args.model))["image_size"])
    measure = jax.jit(functools.partial(_measure, model))
    rows: list[Any] = []
    for images in colourful_pictures(directory, args.split, size, args.batch_size, args.limit):
        rows.append(jax.device_get(measure(params, images)))
    tables = jax.tree.map(lambda *parts: np.concatenate(parts), *rows)
    figures = summary(tables)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "analysis.json").write_text(json.dumps(figures, indent=1) + "\n")
    draw(args.output / "analysis.png", figures, tables["shown"][:SHOWN])
    print_summary(figures)
    print(f"\nfigure and JSON in '{args.output}'")
    return 0


def colourful_pictures(
    directory: Path, split: str, size: int, batch_size: int, limit: int
) -> Iterator[Float[np.ndarray, "b H W 3"]]:
    """The split's first pictures with a colourfulness above 15, in [-1, 1], in full batches.

    Raises:
        UserError: fewer than a batch of them.
    """
    source = records.open_split(directory, split)
    waiting: list[np.ndarray] = []
    given = 0
    for first in range(0, len(source), batch_size):
        indices = list(range(first, min(first + batch_size, len(source))))
        decoded = [
            transforms.resize(transforms.decode(records.Record.unpack(row).image), size)
            for row in source.__getitems__(indices)
        ]
        images = np.stack(decoded).astype(np.float32) / 255.0
        keep = np.asarray(metrics.colourfulness(jnp.asarray(images))) > LEAST_COLOURFULNESS
        waiting += list(images[keep] * 2.0 - 1.0)
        while len(waiting) >= batch_size and given < limit:
            yield np.stack(waiting[:batch_size])
            waiting, given = waiting[batch_size:], given + batch_size
        if given >= limit:
            return
    if not given:
        raise UserError(
            f"'{directory}' has only {len(waiting)} pictures of split {split!r} with a "
            f"colourfulness above {LEAST_COLOURFULNESS:g}; give a --batch_size of at most that"
        )


def _measure(model: lcad.LCAD, params: Any, image: Image) -> dict[str, Any]:
    """Per picture: everything at every scale, and what the probe is fitted to."""
    light = color.lightness((image + 1.0) / 2.0)
    gray = color.gray(light)
    z_color, z_gray = (_latents(model, params, of) for of in (image, 2.0 * gray - 1.0))

    def decoded(scale: jax.Array) -> jax.Array:
        raw = lcad.decode(model, params, cold_diffusion.rescale(z_color, z_gray, scale), None)
        return jnp.clip((raw + 1.0) / 2.0, 0.0, 1.0)

    pictures = jax.lax.map(decoded, jnp.asarray(SCALES))
    reference = color.srgb_to_lab(pictures[SCALES.index(1.0)])

    def figures(picture: jax.Array) -> dict[str, jax.Array]:
        lab = color.srgb_to_lab(picture)
        luma = color.gray(lab[..., :1])
        return {
            "colourfulness": metrics.colourfulness(picture),
            "chroma": _chroma(lab).mean(axis=(1, 2)),
            "hue_drift": _hue_drift(lab, reference),
            "luma_mse": metrics.mse(luma, gray),
        }

    measured = jax.lax.map(figures, pictures)
    side = model.vae.factor
    cells = color.srgb_to_lab((image + 1.0) / 2.0)
    count, height, width = z_color.shape[:3]
    cells = cells.reshape(count, height, side, width, side, 3).mean(axis=(2, 4))
    return {
        **{name: values.T for name, values in measured.items()},
        "latents": z_color.reshape(count, height * width, -1),
        "residual": (z_color - z_gray).reshape(count, height * width, -1),
        "lab": cells.reshape(count, height * width, 3),
        "shown": pictures.swapaxes(0, 1),
    }


def _latents(model: lcad.LCAD, params: Any, image: Image) -> jax.Array:
    mean, _ = split_moments(lcad.encode_image(model, params, image))
    return mean * model.scaling_factor


def _chroma(lab: Float[Any, "*batch 3"]) -> Float[Any, "*batch"]:
    return jnp.sqrt(jnp.square(lab[..., 1:]).sum(axis=-1))


def _hue_drift(lab: Float[Any, "b h w 3"], reference: Float[Any, "b h w 3"]) -> Float[Any, " b"]:
    """Mean angle in degrees between the hues of pixels that have one in both; 0 where none has."""
    both = (_chroma(lab) > LEAST_CHROMA) & (_chroma(reference) > LEAST_CHROMA)
    hues = [jnp.arctan2(of[..., 2], of[..., 1]) for of in (lab, reference)]
    turn = jnp.abs(jnp.mod(hues[0] - hues[1] + jnp.pi, 2.0 * jnp.pi) - jnp.pi)
    total = jnp.where(both, turn, 0.0).sum(axis=(1, 2))
    return jnp.degrees(total / jnp.maximum(both.sum(axis=(1, 2)), 1))


def summary(tables: dict[str, np.ndarray]) -> dict[str, Any]:
    """Means over the pictures, the straight lines, and the probe."""
    at_one = SCALES.index(1.0)
    curves = {}
    for name in ("colourfulness", "chroma"):
        mean = tables[name].mean(axis=0)
        curves[name] = (mean / mean[at_one]).tolist()
    return {
        "pictures": len(tables["chroma"]),
        "scales": list(SCALES),
        "ratio to s = 1": curves,
        "line": {
            name: {span: straight_line(SCALES, curve, *ends) for span, ends in RANGES.items()}
            for name, curve in curves.items()
        },
        "hue drift in degrees": tables["hue_drift"].mean(axis=0).tolist(),
        "luma PSNR": [
            float(metrics.psnr_pooled(jnp.asarray(column))) for column in tables["luma_mse"].T
        ],
        "at s = 1": {
            "colourfulness": float(tables["colourfulness"][:, at_one].mean()),
            "chroma": float(tables["chroma"][:, at_one].mean()),
        },
        "decoder on gray": {
            "colourfulness": float(tables["colourfulness"][:, 0].mean()),
            "chroma": float(tables["chroma"][:, 0].mean()),
        },
        "probe": probe(tables["latents"], tables["lab"]),
        "residual, deviation of each channel": tables["residual"].std(axis=(0, 1)).tolist(),
    }


def straight_line(places: Any, values: Any, first: float, last: float) -> dict[str, float]:
    """Least squares on places in first..last: slope, offset and R^2."""
    x, y = np.asarray(places, np.float64), np.asarray(values, np.float64)
    inside = (x >= first - 1e-9) & (x <= last + 1e-9)
    slope, offset = np.polyfit(x[inside], y[inside], 1)
    return {
        "slope": float(slope),
        "offset": float(offset),
        "r2": r_squared(y[inside], slope * x[inside] + offset),
    }


def r_squared(values: np.ndarray, fitted: np.ndarray) -> float:
    """Share of the variance that a fit explains; 1 for a constant that is met."""
    spread = ((values - values.mean()) ** 2).sum()
    rest = ((values - fitted) ** 2).sum()
    return float(1.0 - rest / spread) if spread > 0 else float(rest == 0)


def probe(latents: Float[np.ndarray, "n p c"], lab: Float[np.ndarray, "n p 3"]) -> dict[str, Any]:
    """An affine map from one latent to the mean Lab of its pixels: fitted on the first half of the
    pictures, R^2 on the second. Also each channel's correlation with L, a and b."""
    half = len(latents) // 2

    def design(part: np.ndarray) -> np.ndarray:
        flat = part.reshape(-1, part.shape[-1]).astype(np.float64)
        return np.concatenate([flat, np.ones((len(flat), 1))], axis=1)

    fitted, *_ = np.linalg.lstsq(design(latents[:half]), lab[:half].reshape(-1, 3), rcond=None)
    predicted, truth = design(latents[half:]) @ fitted, lab[half:].reshape(-1, 3)
    flat = np.concatenate([latents.reshape(-1, latents.shape[-1]), lab.reshape(-1, 3)], axis=1)
    correlation = np.corrcoef(flat, rowvar=False)[:-3, -3:]
    return {
        "r2": {name: r_squared(truth[:, i], predicted[:, i]) for i, name in enumerate("Lab")},
        "weights": fitted[:-1].tolist(),
        "offset": fitted[-1].tolist(),
        "correlation of channels with L, a, b": correlation.tolist(),
    }


def print_summary(figures: dict[str, Any]) -> None:
    print(f"{figures['pictures']} pictures\n")
    print("s              " + "".join(f"{s:8.1f}" for s in figures["scales"]))
    rows = {
        **figures["ratio to s = 1"],
        "hue drift": figures["hue drift in degrees"],
        "luma PSNR": figures["luma PSNR"],
    }
    for name, values in rows.items():
        print(f"{name:15}" + "".join(f"{value:8.2f}" for value in values))
    for name, spans in figures["line"].items():
        told = ", ".join(f"{span}: {line['r2']:.4f}" for span, line in spans.items())
        print(f"R^2 of a line through {name}: {told}")
    told = ", ".join(f"{name} {value:.3f}" for name, value in figures["probe"]["r2"].items())
    print(f"R^2 of the linear probe, latent to Lab: {told}")
    on_gray = figures["decoder on gray"]
    print(
        f"decoder on gray input: colourfulness {on_gray['colourfulness']:.2f}, "
        f"chroma {on_gray['chroma']:.2f}"
    )


def draw(path: Path, figures: dict[str, Any], pictures: Float[np.ndarray, "n k h w 3"]) -> None:
    """The curves with their lines, the drift, the probe, and pictures at every scale."""
    from matplotlib.figure import Figure  # costs half a second, and only here

    scales = np.asarray(figures["scales"])
    figure = Figure(figsize=(11, 8.5), layout="constrained")
    grid = figure.add_gridspec(2, 3, height_ratios=[1, 1.3])
    curves = figure.add_subplot(grid[0, 0], title="growth with s", xlabel="s")
    for name, values in figures["ratio to s = 1"].items():
        (drawn,) = curves.plot(scales, values, "o-", label=name, markersize=4)
        line = figures["line"][name]["0..1"]
        fit = line["slope"] * scales + line["offset"]
        curves.plot(scales, fit, ":", color=drawn.get_color(), label=f"R² {line['r2']:.4f} on 0..1")
    curves.set_ylabel("ratio to s = 1")
    curves.legend(fontsize=8)
    drift = figure.add_subplot(grid[0, 1], title="hue and luma", xlabel="s")
    drift.plot(scales[1:], figures["hue drift in degrees"][1:], "o-", markersize=4)
    drift.set_ylabel("hue drift from s = 1, degrees (dots)")
    luma = drift.twinx()
    luma.plot(scales, figures["luma PSNR"], "s--", color="tab:gray", markersize=4)
    luma.set_ylabel("luma PSNR to gray, dB (squares)")
    bars = figure.add_subplot(grid[0, 2], title="channels against L, a, b")
    table = np.asarray(figures["probe"]["correlation of channels with L, a, b"])
    bars.imshow(table, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        bars.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=9)
    r2 = figures["probe"]["r2"]
    bars.set_xticks(range(3), [f"{name}\nR² {r2[name]:.2f}" for name in "Lab"])
    bars.set_xlabel("R² of the linear probe from all channels")
    bars.set_yticks(range(len(table)), [f"channel {i}" for i in range(len(table))])
    strip = figure.add_subplot(grid[1, :], title="decoded at s = " + ", ".join(map(str, SCALES)))
    strip.imshow(np.concatenate([np.concatenate(list(row), axis=1) for row in pictures]))
    strip.axis("off")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    errors.run(main)
