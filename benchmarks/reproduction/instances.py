"""Two and four CIFAR-10 objects in one picture, a colour asked of each: does it come, and stay?

    python -m benchmarks.reproduction.instances --count=40

One object cannot show what instance-aware sampling is for. Each picture has a phrase for each
object ("the red car, the blue truck, ..."), and its quarter or half is the phrase's mask. Measured
with masks and without, by both methods: the share of objects that have the colour of their own
phrase and of another's, the CDR across their borders, and the colourfulness.
"""

import argparse
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw

from benchmarks import pages
from benchmarks.instance_aware import NOUNS
from benchmarks.reproduction.page import FOLDER, PAGE
from colorjax import errors, files, release
from colorjax.colorize.colorizer import Colorizer
from colorjax.data import colour_names, phrases, records, transforms
from colorjax.devices import compile_cache
from colorjax.evaluate.pictures import data_directory, seeds_of, shown
from colorjax.maths import color, metrics, regions
from colorjax.methods.method import Pictures

SIDE, INNER = 32, slice(8, 24)
LAYOUTS = {2: (1, 2), 4: (2, 2)}  # objects -> rows and columns
BATCH = 20
# The cold residual is a picture's colour itself, which guidance multiplies: it bears less of it.
SETTINGS: dict[str, dict[str, Any]] = {
    "lcad": {"guidance_scale": 4.0},
    "diffusing_colors": {"guidance_scale": 1.6, "num_steps": 4},
}
SHOWN, SCALE = 4, 4


class Composites(NamedTuple):
    """Pictures of several objects, what is said of each, and where it is."""

    truth: np.ndarray  # [n,h,w,3] in [0,1]
    prompts: list[str]
    colours: np.ndarray  # [n,k] words
    masks: np.ndarray  # [k,h,w]


def composites(data: str, count: int, objects: int) -> Composites:
    """The test pictures in their order, with other colours asked of each object."""
    rng = np.random.default_rng(objects)
    source = records.open_split(data_directory(data), "test")
    rows = [records.Record.unpack(r) for r in source.__getitems__(list(range(objects * count)))]
    images = np.stack([transforms.decode(row.image) for row in rows]).astype(np.float32) / 255.0
    down, across = LAYOUTS[objects]
    tiles = images.reshape(count, down, across, SIDE, SIDE, 3)
    truth = tiles.transpose(0, 1, 3, 2, 4, 5).reshape(count, down * SIDE, across * SIDE, 3)
    words = colour_names.CHROMATIC_COLOURS
    colours = np.stack([rng.choice(words, objects, replace=False) for _ in range(count)])
    labels = np.array([NOUNS.get(str(row.label), str(row.label)) for row in rows])
    prompts = [
        ", ".join(f"the {colour} {noun}" for colour, noun in zip(own, nouns, strict=True))
        for own, nouns in zip(colours, labels.reshape(count, objects), strict=True)
    ]
    masks = np.zeros((objects, down * SIDE, across * SIDE), np.float32)
    for place, mask in enumerate(masks):
        top, left = (SIDE * part for part in divmod(place, across))
        mask[top : top + SIDE, left : left + SIDE] = 1.0
    return Composites(truth, prompts, colours, masks)


def colour(colorizer: Colorizer, of: Composites, masked: bool) -> np.ndarray:
    """All of them, in [0,1] at their own lightness."""
    results = []
    for start in range(0, len(of.prompts), BATCH):
        rows = slice(start, start + BATCH)
        prompts = of.prompts[rows]
        lightness = color.lightness(of.truth[rows])
        spans = masks = None
        if masked:
            each = [
                [phrases.without_article(one) for one in phrases.instance_phrases(prompt)]
                for prompt in prompts
            ]
            pairs = zip(prompts, each, strict=True)
            spans = np.stack([phrases.spans(colorizer.tokenize, *pair) for pair in pairs])
            masks = np.repeat(of.masks[None], len(prompts), axis=0)
        seeds = seeds_of(np.arange(start, start + len(prompts), dtype=np.uint32))
        tokens = colorizer.tokenize(prompts)
        raw = colorizer(Pictures(lightness[..., 0], tokens, seeds, spans=spans, masks=masks))
        results.append(shown(raw, lightness))
    return np.concatenate(results)


def figures(images: np.ndarray, of: Composites) -> dict[str, float]:
    """Whose colour each object's middle has; the word is the nearest prototype by ab."""
    words = colour_names.CHROMATIC_COLOURS
    prototypes = np.stack([colour_names.prototype(word)[1:] for word in words])
    _, across = LAYOUTS[len(of.masks)]
    named = np.empty(of.colours.shape, object)
    ab = np.asarray(color.srgb_to_lab(images))[..., 1:]
    for place in range(len(of.masks)):
        top, left = (SIDE * part for part in divmod(place, across))
        tile = ab[:, top : top + SIDE, left : left + SIDE][:, INNER, INNER].mean(axis=(1, 2))
        nearest = np.linalg.norm(tile[:, None] - prototypes, axis=-1).argmin(axis=1)
        named[:, place] = [words[i] for i in nearest]
    own = named == of.colours
    others = np.array([[word in row for word in mine] for mine, row in zip(named, of.colours)])
    ratio = regions.colour_discrepancy_ratio(
        jnp.asarray(ab),
        jnp.asarray(color.srgb_to_lab(of.truth)[..., 1:]),
        jnp.broadcast_to(of.masks, (len(ab), *of.masks.shape)),
    )
    half = 1.96 * np.sqrt(own.mean() * (1 - own.mean()) / own.size)
    return {
        "objects": own.size,
        "own colour": float(own.mean()),
        "own colour, half of the 95 % interval": float(half),
        "another object's colour": float((others & ~own).mean()),
        "CDR": float(jnp.nanmean(ratio)),
        "colourfulness": float(metrics.colourfulness(jnp.asarray(images)).mean()),
    }


def sheet(columns: dict[str, np.ndarray], prompts: list[str]) -> bytes:
    """A row for each picture, the versions side by side, and what was asked beneath."""
    first = next(iter(columns.values()))
    height, width = (side * SCALE for side in first.shape[1:3])
    page = Image.new("RGB", ((width + 8) * len(columns), (height + 34) * SHOWN + 20), "white")
    draw = ImageDraw.Draw(page)
    for x, (name, images) in enumerate(columns.items()):
        draw.text((x * (width + 8) + 2, 4), name, fill="black")
        for y, image in enumerate(images[:SHOWN]):
            tile = Image.fromarray(color.unit_to_bytes(image)).resize(
                (width, height), Image.Resampling.NEAREST
            )
            page.paste(tile, (x * (width + 8), 20 + y * (height + 34)))
    for y, prompt in enumerate(prompts[:SHOWN]):
        draw.text((2, 24 + y * (height + 34) + height), prompt, fill="black")
    file = io.BytesIO()
    page.save(file, "PNG", optimize=True)
    return file.getvalue()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--data", default="cifar10", help="a name in data/, or a directory")
    parser.add_argument("--count", type=int, default=40, help="pictures of each number of objects")
    parser.add_argument("--objects", type=int, nargs="+", default=[2, 4], choices=LAYOUTS)
    parser.add_argument("--json", type=Path, default=FOLDER / "instances.json")
    args = parser.parse_args(arguments)
    compile_cache.setup()
    rows: dict[str, Any] = {}
    for objects in args.objects:
        of = composites(args.data, args.count, objects)
        columns = {"gray": color.gray(color.lightness(of.truth))}
        for method, settings in SETTINGS.items():
            colorizer = Colorizer(release.BUNDLED, method, batch_size=BATCH, **settings)
            for masked in (False, True):
                name = f"{method}, {'masks' if masked else 'no masks'}"
                columns[name] = colour(colorizer, of, masked)
                row = f"{objects} objects, {name}"
                rows[row] = figures(columns[name], of)
                print(f"{row}: {rows[row]}", flush=True)
        picture = args.json.with_name(f"instances_{objects}.png")
        files.write_bytes(picture, sheet(columns, of.prompts))
    files.write_text(args.json, json.dumps(rows, indent=1) + "\n")
    pages.fill(PAGE, "instances", table(rows))
    return 0


def table(rows: dict[str, Any]) -> str:
    """Markdown of the figures, the share of own colours with its interval."""
    heads = ["", "own colour", "another object's colour", "CDR", "colourfulness"]
    lines = [
        [
            name,
            f"{of['own colour']:.3f} ± {of['own colour, half of the 95 % interval']:.3f}",
            f"{of[heads[2]]:.3f}",
            f"{of['CDR']:.3f}",
            f"{of['colourfulness']:.1f}",
        ]
        for name, of in rows.items()
    ]
    return pages.table(heads, lines)


if __name__ == "__main__":
    errors.run(main)
