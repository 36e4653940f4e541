"""Measures a model: `python -m colorjax.evaluate --model=bundled --data=cifar10 --split=test`.

Prints PSNR, SSIM, colourfulness and, with `--lpips`, LPIPS of the outputs with the input's
lightness kept and of the raw decodes, beside gray, the training set's mean chroma and the truth
on the same pictures. `--swap` measures instead whether two prompts pull the centre's colour apart.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from colorjax import errors, release
from colorjax.colorize.colorizer import fingerprint
from colorjax.colorize.options import AnyColorizer, add_sampling, make_colorizer
from colorjax.data import captions, colour_names, phrases, pipeline, records, transforms
from colorjax.data.tokenizer import Tokenizer
from colorjax.devices import compile_cache, processes
from colorjax.errors import UserError
from colorjax.maths import color, metrics
from colorjax.models.layers import apply
from colorjax.models.perceptual import Lpips, enlarged
from colorjax.types import Params

MEAN_CHROMA_PICTURES = 10_000
LPIPS_SIDE = 64  # smaller pictures are enlarged to it, or VGG16's last maps have nothing to see


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="colorjax.evaluate", description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="bundled", help="'bundled' or a release directory")
    parser.add_argument("--data", default="cifar10", help="a name in data/, or a directory")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=2000, help="the first pictures only")
    parser.add_argument("--captions", default="complete", choices=captions.LEVELS)
    parser.add_argument("--crop", choices=("resize", "center"), help="if the sizes differ")
    parser.add_argument("--seed", type=int, default=0)
    add_sampling(parser)
    parser.set_defaults(batch_size=100)
    parser.add_argument(
        "--masks", choices=("attention",), help="instance-aware, by the model's own masks"
    )
    parser.add_argument(
        "--lpips",
        nargs="?",
        const="",
        metavar="DIR",
        help="also LPIPS on VGG16, with the weights in DIR or where convert put them",
    )
    parser.add_argument("--swap", nargs=2, metavar="PROMPT", help="two prompts, each with a colour")
    parser.add_argument("--labels", default="", help="with --swap: only these classes, by commas")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    if args.limit < 1:
        raise UserError(f"limit is {args.limit}; it must be 1 or more")
    directory = data_directory(args.data)
    records.open_split(directory, args.split)
    model = release.locate(args.model)
    compile_cache.setup()
    if args.swap and args.masks:
        raise UserError("--swap compares two prompts as they are; leave --masks out")
    colorizer = make_colorizer(args, model)
    figures: dict[str, Any]
    if args.swap:
        figures = swap(args, colorizer, directory)
        print("\n".join(f"{name}: {value:.4g}" for name, value in figures.items()))
    else:
        figures = table(args, colorizer, directory)
        print_table(figures)
    if args.json and processes.is_first():
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def data_directory(data: str) -> Path:
    return Path(data) if Path(data).is_dir() else Path("data") / data


def batches(args, colorizer: AnyColorizer, directory: Path, level: str, limit: int | None) -> Any:
    return pipeline.eval_batches(
        directory,
        args.split,
        size=colorizer.image_size,
        batch_size=colorizer.batch_size,
        level=level,
        tokenize=colorizer.tokenize,
        limit=limit,
        crop=args.crop,
    )


def outputs(args, colorizer: AnyColorizer, directory: Path) -> Iterator[tuple[Any, Any, Any]]:
    """Truth, lightness and raw output in [-1,1], batch by batch, unpadded."""
    for batch in batches(args, colorizer, directory, args.captions, args.limit):
        count = int(batch["weights"].sum())
        truth = batch["image"][:count].astype(np.float32) / 255.0
        lightness = color.lightness(truth)
        spans = phrase_spans(colorizer, batch["captions"][:count]) if args.masks else None
        raw = coloured(colorizer, lightness, batch["input_ids"][:count], args.seed, spans)
        yield truth, lightness, raw


def phrase_spans(colorizer: AnyColorizer, texts: list[str]) -> np.ndarray:
    """The tokens of each caption's phrases; a caption without any has padding only."""
    rows = [list(_spans_within(colorizer.tokenize, text)) for text in texts]
    found = np.zeros((len(texts), max(map(len, rows)) or 1, colorizer.tokenize.max_length), bool)
    for row, spans in zip(found, rows, strict=True):
        for place, span in zip(row, spans, strict=False):
            place[:] = span
    return found


def _spans_within(tokenize: Tokenizer, text: str) -> Iterator[np.ndarray]:
    """Of each colour phrase that a long caption's tokens still hold."""
    for phrase in phrases.colour_phrases(text):
        try:
            yield phrases.spans(tokenize, text, [text[phrase.start : phrase.stop]])[0]
        except UserError:
            continue


def coloured(
    colorizer: AnyColorizer,
    lightness: np.ndarray,
    ids: np.ndarray,
    seed: int,
    spans: np.ndarray | None = None,
) -> np.ndarray:
    """Raw outputs for pictures of the model's own size."""
    prints = [fingerprint(picture[..., 0]) for picture in lightness]
    instances = () if spans is None else (spans,)
    return colorizer(lightness[..., 0], ids, prints, seed, *instances)


def table(args, colorizer: AnyColorizer, directory: Path) -> dict[str, dict[str, float]]:
    """Figures of every row over the whole set."""
    averaged, mean_ab = mean_chroma(directory, args.split)
    scores: dict[str, list[Any]] = {}
    lpips = None if args.lpips is None else release.read_lpips("vgg16", args.lpips)
    for truth, lightness, raw in outputs(args, colorizer, directory):
        plain, guided = colorizer.reconstruct(truth * 2.0 - 1.0)
        rows = {
            f"output ({args.captions} captions)": shown(raw, lightness),
            "output, raw decode": np.clip((raw + 1.0) / 2.0, 0.0, 1.0),
            "gray": painted(lightness, np.zeros(2, np.float32)),
            f"mean chroma of {averaged}": painted(lightness, mean_ab),
            "autoencoder": shown(plain, lightness),
            "autoencoder, guided decoder": shown(guided, lightness),
            "truth": truth,
        }
        for name, image in rows.items():
            scores.setdefault(name, []).append(_scores(image, truth, lpips))
    return {name: _figures(np.concatenate(parts, axis=1)) for name, parts in scores.items()}


def shown(raw: np.ndarray, lightness: np.ndarray) -> np.ndarray:
    """A decoded picture in [0,1] as people see it: with the input's lightness."""
    return color.with_lightness(np.clip((raw + 1.0) / 2.0, 0.0, 1.0), lightness)


def painted(lightness: np.ndarray, ab: np.ndarray) -> np.ndarray:
    """One chroma for all pixels, at each pixel's lightness."""
    chroma = np.broadcast_to(ab, (*lightness.shape[:-1], 2))
    lab = np.concatenate([lightness, chroma], axis=-1)
    return np.clip(color.lab_to_srgb(color.fit_gamut(lab)), 0.0, 1.0)


@jax.jit
def _scores(image: jax.Array, truth: jax.Array, lpips: Params | None) -> jax.Array:
    # What is shown is 8-bit, so that is what is measured.
    image = jnp.round(image * 255.0) / 255.0
    values = [metrics.mse(image, truth), metrics.ssim(image, truth), metrics.colourfulness(image)]
    if lpips is not None:
        pair = (enlarged(of * 2.0 - 1.0, LPIPS_SIDE) for of in (image, truth))
        values.append(apply(Lpips("vgg16"), lpips, *pair))
    return jnp.stack(values)


def _figures(values: np.ndarray) -> dict[str, float]:
    squared, ssim, colourfulness = values[:3]
    figures = {
        # Capped as the per-image one: the truth's is infinite, which JSON cannot say.
        "psnr_pooled": min(60.0, float(metrics.psnr_pooled(jnp.asarray(squared)))),
        "psnr_per_image": float(metrics.psnr_per_image(jnp.asarray(squared)).mean()),
        "ssim": float(ssim.mean()),
        "colourfulness": float(colourfulness.mean()),
    }
    if len(values) > 3:
        figures["lpips"] = float(values[3].mean())
    return figures | {"pictures": len(squared)}


def mean_chroma(directory: Path, split: str) -> tuple[str, np.ndarray]:
    """Mean a and b over the first pictures of the training split, or of `split` without one.

    Also the name of the split it is, which the table shows.
    """
    name = "train" if "train" in records.splits(directory) else split
    source = records.open_split(directory, name)
    indices = range(min(MEAN_CHROMA_PICTURES, len(source)))
    total = np.zeros(2)
    for data in source.__getitems__(list(indices)):
        image = transforms.decode(records.Record.unpack(data).image).astype(np.float32) / 255.0
        total += color.srgb_to_lab(image)[..., 1:].mean(axis=(0, 1))
    return name, (total / len(indices)).astype(np.float32)


COLUMNS = {  # heading, decimals
    "psnr_pooled": ("PSNR pooled", 2),
    "psnr_per_image": ("PSNR per image", 2),
    "ssim": ("SSIM", 4),
    "lpips": ("LPIPS (VGG)", 4),
    "colourfulness": ("colourfulness", 2),
}


def print_table(figures: dict[str, dict[str, float]]) -> None:
    first = next(iter(figures.values()))
    shown = {name: column for name, column in COLUMNS.items() if name in first}
    print(f"{first['pictures']} pictures, lightness kept\n")
    print(f"{'':32}" + "".join(f"{head:>16}" for head, _ in shown.values()))
    for row, values in figures.items():
        cells = (f"{values[name]:16.{decimals}f}" for name, (_, decimals) in shown.items())
        print(f"{row:32}{''.join(cells)}")


def swap(args, colorizer: AnyColorizer, directory: Path) -> dict[str, Any]:
    """How far two prompts pull the centre's mean ab apart along their colours' difference.

    The projection of each picture's difference on that of the prototypes, in Lab units, and the
    share of pictures where it exceeds 5.
    """
    first, second = (_colour_of(prompt) for prompt in args.swap)
    if first == second:
        raise UserError(f"both prompts say {first!r}; --swap needs two colours")
    direction = colour_names.prototype(first)[1:] - colour_names.prototype(second)[1:]
    direction /= np.linalg.norm(direction)
    wanted = set(filter(None, args.labels.split(",")))
    found: list[float] = []
    for batch in batches(args, colorizer, directory, "none", None):
        chosen = [
            i
            for i, (label, weight) in enumerate(zip(batch["labels"], batch["weights"], strict=True))
            if weight and (not wanted or label in wanted)
        ]
        if chosen:
            found += list(_pulls(args, colorizer, batch["image"][chosen], direction))
        if len(found) >= args.limit:
            break
    if not found:
        raise UserError(f"no picture of '{args.split}' has a label of {sorted(wanted)}")
    values = np.asarray(found[: args.limit])
    return {
        "pictures": len(values),
        "mean projection": float(values.mean()),
        "share above 5": float((values > 5.0).mean()),
    }


def _pulls(args, colorizer: AnyColorizer, images: np.ndarray, direction: np.ndarray) -> np.ndarray:
    lightness = color.lightness(images.astype(np.float32) / 255.0)
    quarter = colorizer.image_size // 4

    def centre(prompt: str) -> np.ndarray:
        ids = np.repeat(colorizer.tokenize([prompt]), len(images), axis=0)
        raw = coloured(colorizer, lightness, ids, args.seed)
        inner = color.srgb_to_lab(shown(raw, lightness))[:, quarter:-quarter, quarter:-quarter, 1:]
        return inner.mean(axis=(1, 2))

    return (centre(args.swap[0]) - centre(args.swap[1])) @ direction


def _colour_of(prompt: str) -> str:
    words = [word for word in prompt.lower().split() if word in colour_names.CHROMATIC_COLOURS]
    if len(words) != 1:
        raise UserError(
            f"prompt {prompt!r} must hold one colour of {', '.join(colour_names.CHROMATIC_COLOURS)}"
        )
    return words[0]


if __name__ == "__main__":
    errors.run(main)
