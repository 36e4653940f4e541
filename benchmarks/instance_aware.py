"""Instance-aware sampling: do attention and colours go where the masks say?

    python benchmarks/instance_aware.py --model=bundled --count=200

Two CIFAR-10 test pictures side by side make one of two instances, the prompt gives each a colour of
its own ("the red car, the blue truck"), and the masks are the halves. Printed for each step size:
the share of instances that have the colour of their own phrase, and of the other's; and the share
of the phrases' attention that falls into their masks, at the first step.
"""

import argparse
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from colorjax import errors, release
from colorjax.colorize.colorizer import Colorizer
from colorjax.data import colour_names, phrases, records, transforms
from colorjax.devices import compile_cache
from colorjax.evaluate import shown
from colorjax.maths import color, guidance, samplers
from colorjax.methods import lcad

NOUNS = {"automobile": "car", "airplane": "plane"}
BATCH = 50


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--data", default="data/cifar10")
    parser.add_argument("--count", type=int, default=200, help="composites, of two instances each")
    parser.add_argument("--objective", choices=guidance.OBJECTIVES, default="inside")
    parser.add_argument("--masks", choices=("given", "attention"), default="given")
    parser.add_argument("--articles", choices=("in", "out"), default="out", help="of the phrases")
    parser.add_argument("--step_sizes", default="0,1,100,300,1000,3000,10000")
    parser.add_argument("--guidance_scale", type=float)
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def composites(data: str, count: int, rng: np.random.Generator):
    """Lightness [n,32,64], prompts, and the two colours of each."""
    source = records.open_split(data, "test")
    found = [records.Record.unpack(row) for row in source.__getitems__(list(range(2 * count)))]
    images = np.stack([transforms.decode(record.image) for record in found]).astype(np.float32)
    pairs = np.concatenate([images[0::2], images[1::2]], axis=2) / 255.0
    colours = [rng.choice(colour_names.CHROMATIC_COLOURS, 2, replace=False) for _ in range(count)]
    prompts = []
    for one, other, (first, second) in zip(found[0::2], found[1::2], colours, strict=True):
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


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    compile_cache.setup()
    colorizer = Colorizer(release.locate(args.model), BATCH, instance_aware=True)
    model, params, options = colorizer.model, colorizer._params, colorizer.options
    options = options._replace(refine_objective=args.objective)
    scale = colorizer.guidance_scale if args.guidance_scale is None else args.guidance_scale
    lightness, prompts, colours = composites(args.data, args.count, np.random.default_rng(0))
    tokens = colorizer.tokenize(prompts)
    content = phrases.without_article if args.articles == "out" else str
    spans = np.stack(
        [
            phrases.spans(colorizer.tokenize, p, list(map(content, phrases.instance_phrases(p))))
            for p in prompts
        ]
    )
    halves = np.zeros((2, 32, 64), np.float32)
    halves[0, :, :32] = halves[1, :, 32:] = 1.0
    nothing = colorizer.tokenize([""])

    def inputs_of(rows: slice) -> lcad.Inputs:
        count = len(tokens[rows])
        given = args.masks == "given"
        return lcad.Inputs(
            color.luminance_from_lightness(lightness[rows][..., None]),
            tokens[rows],
            np.repeat(nothing, count, axis=0),
            scale,
            jax.random.split(jax.random.key(rows.start), count),
            temperature=colorizer.temperature,
            masks=np.repeat(halves[None], count, axis=0) if given else None,
            spans=spans[rows],
        )

    @jax.jit
    def colorize(params, inputs, step_size):
        return lcad.colorize(model, params, inputs, options._replace(refine_step_size=step_size))

    @jax.jit
    def attention_inside(params, inputs, step_size):
        features = lcad.encode_luminance(model, params, inputs.luminance)
        context = lcad.encode_text(model, params, inputs.input_ids)
        first = samplers.time_grid(model.schedule, options.num_steps, options.spacing).timesteps[0]
        noise = lcad.initial_noise(model, inputs)
        time = jnp.full(len(noise), first)
        _, captured = lcad.predict_and_capture(model, params, noise, time, context, features)
        shares = []
        for layer in jax.tree.leaves(captured["capture"]):
            masks = jnp.broadcast_to(halves, (len(noise), *halves.shape))
            refined = guidance.refine_logits(layer, masks, inputs.spans, step_size, args.objective)
            attention = jax.nn.softmax(refined, axis=-1).mean(1)
            seen = jnp.einsum("bqn,bkn->bkq", attention, inputs.spans.astype(jnp.float32))
            cells = guidance.cell_masks(masks, layer.shape[2])
            shares.append((seen * cells).sum() / seen.sum())
        return jnp.stack(shares).mean()

    rows = []
    for step_size in map(float, args.step_sizes.split(",")):
        own = other = 0
        inside, distances = [], []
        for start in range(0, args.count, BATCH):
            batch = slice(start, min(start + BATCH, args.count))
            inputs = inputs_of(batch)
            raw = np.asarray(colorize(params, inputs, step_size))
            inside.append(float(attention_inside(params, inputs, step_size)))
            for picture, pair in zip(shown(raw, lightness[batch][..., None]), colours[batch]):
                words = named(picture)
                distances.append(apart(picture, pair))
                own += sum(word == wanted for word, wanted in zip(words, pair, strict=True))
                other += sum(word == wanted for word, wanted in zip(words, pair[::-1], strict=True))
        total = 2 * args.count
        row = dict(
            step_size=step_size,
            own_colour=own / total,
            other_colour=other / total,
            apart=float(np.mean(distances)),
            attention_inside=float(np.mean(inside)),
        )
        rows.append(row)
        print("  ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    errors.run(main)
