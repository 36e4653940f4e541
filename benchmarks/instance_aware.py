"""Instance-aware sampling: do attention and colours go where the masks say?

    python -m benchmarks.instance_aware --model=bundled --count=200

Two CIFAR-10 test pictures side by side make one of two instances, the prompt gives each a colour of
its own ("the red car, the blue truck"), and the masks are the halves. Printed for each step size:
the share of instances that have the colour of their own phrase, and of the other's; and the share
of the phrases' attention that falls into their masks, at the first step.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from colorjax import errors, release
from colorjax.colorize.colorizer import Colorizer
from colorjax.data import colour_names, phrases, records, transforms
from colorjax.devices import compile_cache
from colorjax.evaluate.pictures import data_directory, shown
from colorjax.maths import color, guidance, samplers
from colorjax.maths.types import Params
from colorjax.methods import lcad, method

NOUNS = {"automobile": "car", "airplane": "plane"}
BATCH = 50


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--data", default="cifar10", help="a name in data/, or a directory")
    parser.add_argument("--count", type=int, default=200, help="composites, of two instances each")
    parser.add_argument("--objective", choices=guidance.OBJECTIVES, default="inside")
    parser.add_argument("--masks", choices=("given", "attention"), default="given")
    parser.add_argument("--articles", choices=("in", "out"), default="out", help="of the phrases")
    parser.add_argument("--step_sizes", default="0,released,1,3,10,20,50,100")
    parser.add_argument("--guidance_scale", type=float)
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def composites(
    data: str, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, list[str], list[np.ndarray]]:
    """Lightness [n,32,64], prompts, and the two colours of each."""
    source = records.open_split(data_directory(data), "test")
    pictures = [records.Record.unpack(row) for row in source.__getitems__(list(range(2 * count)))]
    images = np.stack([transforms.decode(record.image) for record in pictures]).astype(np.float32)
    pairs = np.concatenate([images[0::2], images[1::2]], axis=2) / 255.0
    colours = [rng.choice(colour_names.CHROMATIC_COLOURS, 2, replace=False) for _ in range(count)]
    prompts = []
    for one, other, (first, second) in zip(pictures[0::2], pictures[1::2], colours, strict=True):
        nouns = [NOUNS.get(str(record.label), str(record.label)) for record in (one, other)]
        prompts.append(f"the {first} {nouns[0]}, the {second} {nouns[1]}")
    return color.lightness(pairs)[..., 0], prompts, colours


def apart(rgb: np.ndarray, pair: np.ndarray) -> float:
    """How far the instances' mean ab lie apart along their colours' difference, in Lab units."""
    lab = color.srgb_to_lab(rgb)
    left, right = (lab[8:24, at + 8 : at + 24, 1:].mean((0, 1)) for at in (0, 32))
    direction = colour_names.prototype(pair[0])[1:] - colour_names.prototype(pair[1])[1:]
    return float((left - right) @ direction / np.linalg.norm(direction))


def named(rgb: np.ndarray) -> list[str]:
    """The colour words of both instances: their central halves."""
    lab = color.srgb_to_lab(rgb)
    return [colour_names.name_colour(lab[8:24, left + 8 : left + 24]) for left in (0, 32)]


class Composites(NamedTuple):
    """Pairs of pictures side by side, with what is said of them and where their halves are."""

    lightness: np.ndarray  # [n,32,64]
    tokens: np.ndarray
    spans: np.ndarray
    colours: list[np.ndarray]  # the two colours of each

    def batch(self, rows: slice) -> "Composites":
        """Some of them."""
        return Composites(*(part[rows] for part in self))


def halves() -> np.ndarray:
    """The masks of both instances."""
    masks = np.zeros((2, 32, 64), np.float32)
    masks[0, :, :32] = masks[1, :, 32:] = 1.0
    return masks


class Study:
    """Colours composites at any step size, and looks at the attention of the first step."""

    def __init__(self, colorizer: Colorizer, args: argparse.Namespace) -> None:
        self.colorizer, self.by_attention = colorizer, args.masks == "attention"
        options = lcad.METHOD.static(colorizer.settings)
        self.options = options._replace(refine_objective=args.objective)
        self.colorize = jax.jit(self._colorize, static_argnames="released")
        self.attention_inside = jax.jit(self._attention_inside, static_argnames="released")

    def inputs(self, composites: Composites, seed: int) -> lcad.Inputs:
        """What the sampler is given."""
        count = len(composites.tokens)
        nothing = self.colorizer.tokenize([""])
        masks = None if self.by_attention else np.repeat(halves()[None], count, axis=0)
        return lcad.Inputs(
            color.luminance_from_lightness(composites.lightness[..., None]),
            composites.tokens,
            np.repeat(nothing, count, axis=0),
            self.colorizer.settings["guidance_scale"],
            jax.random.split(jax.random.key(seed), count),
            temperature=self.colorizer.settings["temperature"],
            masks=masks,
            spans=composites.spans,
        )

    def _colorize(
        self, params: Params, inputs: lcad.Inputs, step_size: jax.Array, *, released: bool
    ) -> jax.Array:
        options = self.options._replace(refine_step_size="released" if released else step_size)
        return lcad.colorize(self.colorizer.model, params, inputs, options)

    def _attention_inside(
        self, params: Params, inputs: lcad.Inputs, step_size: jax.Array, *, released: bool
    ) -> jax.Array:
        model, options = self.colorizer.model, self.options
        features = lcad.encode_luminance(model, params, inputs.luminance)
        context = lcad.encode_text(model, params, inputs.input_ids)
        first = samplers.time_grid(model.schedule, options.num_steps, options.spacing).timesteps[0]
        noise = lcad.initial_noise(model, inputs)
        time = jnp.full(len(noise), first)
        _, captured = lcad.predict_and_capture(model, params, noise, time, context, features)
        masks = jnp.broadcast_to(halves(), (len(noise), *halves().shape))
        pixels = noise.shape[1] * noise.shape[2] if released else None
        shares = []
        for layer in jax.tree.leaves(captured["capture"]):
            refined = guidance.refine_logits(
                layer, masks, inputs.spans, step_size, options.refine_objective, pixels
            )
            attention = jax.nn.softmax(refined, axis=-1).mean(1)
            seen = jnp.einsum("bqn,bkn->bkq", attention, inputs.spans.astype(jnp.float32))
            cells = guidance.cell_masks(masks, layer.shape[2])
            shares.append((seen * cells).sum() / seen.sum())
        return jnp.stack(shares).mean()


def measure(study: Study, composites: Composites, word: str) -> dict[str, float | str]:
    """The figures of a step size, a number or "released"."""
    released = word == method.RELEASED
    step_size = 1.0 if released else float(word)
    own = other = 0
    inside, distances = [], []
    count, params = len(composites.tokens), study.colorizer.params
    for start in range(0, count, BATCH):
        batch = composites.batch(slice(start, min(start + BATCH, count)))
        inputs = study.inputs(batch, start)
        raw = np.asarray(study.colorize(params, inputs, step_size, released=released))
        share = study.attention_inside(params, inputs, step_size, released=released)
        inside.append(float(share))
        for picture, pair in zip(shown(raw, batch.lightness[..., None]), batch.colours):
            words = named(picture)
            distances.append(apart(picture, pair))
            own += sum(word == wanted for word, wanted in zip(words, pair, strict=True))
            other += sum(word == wanted for word, wanted in zip(words, pair[::-1], strict=True))
    return dict(
        step_size=word,
        own_colour=own / (2 * count),
        other_colour=other / (2 * count),
        apart=float(np.mean(distances)),
        attention_inside=float(np.mean(inside)),
    )


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    compile_cache.setup()
    colorizer = Colorizer(
        release.locate(args.model), batch_size=BATCH, guidance_scale=args.guidance_scale
    )
    lightness, prompts, colours = composites(args.data, args.count, np.random.default_rng(0))
    tokenize = colorizer.tokenize
    content = phrases.without_article if args.articles == "out" else str
    spans = [
        phrases.spans(tokenize, p, list(map(content, phrases.instance_phrases(p)))) for p in prompts
    ]
    pairs = Composites(lightness, tokenize(prompts), np.stack(spans), colours)
    study = Study(colorizer, args)
    rows = []
    for word in args.step_sizes.split(","):
        rows.append(measure(study, pairs, word))
        print(
            "  ".join(
                f"{name} {value if name == 'step_size' else round(value, 3)}"
                for name, value in rows[-1].items()
            ),
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    errors.run(main)
