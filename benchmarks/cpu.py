"""Stable Diffusion 1.5's networks on this machine's CPU, beside torch, in float32.

    python -m benchmarks.cpu --size sd15 --threads 2

Measured are a forward pass of the UNet, the decoder, the text encoder, and the whole colorization
of a picture of 256 pixels in a few steps with guidance in one batch, of random weights: they change
no time. torch runs diffusers' and transformers' networks, in both layouts of memory that it
knows, of which the faster counts. The sides take turns, each a process. Figures are the least
of the rounds' CPU seconds, of all threads: other programs do not change them much.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu import GUIDANCE, SIZES, TOKENS, Size
from benchmarks.timing import fastest

PARTS = ("unet", "decoder", "text_encoder", "pipeline")
SCALING = 0.18215
Run = Callable[[], Any]


def of_jax(size: Size, part: str, steps: int) -> Iterator[tuple[str, Run]]:
    """What is timed of colorjax, by the name of its variant."""
    import jax
    import jax.numpy as jnp

    from benchmarks.gpu_jax import model_of, random_weights
    from colorjax.maths import guidance, integrators, samplers
    from colorjax.methods import lcad, stable_diffusion

    model = model_of(size)
    unet = model.unet.clone(cec="none", dtype=jnp.float32)
    text, vae = (m.clone(dtype=jnp.float32) for m in (model.text_encoder, model.vae))
    model = model._replace(unet=unet, text_encoder=text, vae=vae)
    shapes = jax.eval_shape(lambda key: lcad.init(model, key), jax.random.key(0))
    needed = {"decoder": ("vae",), "pipeline": ("text_encoder", "unet", "vae")}.get(part, (part,))
    params = random_weights({name: shapes[name] for name in needed}, "float32")
    side = size.side // 8
    z, ids = jnp.zeros((1, side, side, 4)), jnp.zeros((1, TOKENS), jnp.int32)
    context, t = jnp.ones((1, TOKENS, size.text)), jnp.zeros(1, jnp.int32)

    def pipeline(params: Any, z: Any, ids: Any) -> Any:
        states = stable_diffusion.encode_text(model, params, jnp.concatenate([ids, ids]))

        def both(z_t: Any, t: Any) -> Any:
            return stable_diffusion.predict_eps(model, params, z_t, t, states, None)

        guided = guidance.classifier_free(both, GUIDANCE)
        z_0 = integrators.run(samplers.ddim(guided, model.schedule, steps, "even"), z)
        return stable_diffusion.decode(model, params, z_0, None)

    functions: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "unet": (
            lambda p, z: stable_diffusion.predict_eps(model, p, z, t, context, None),
            (z,),
        ),
        "decoder": (lambda p, z: stable_diffusion.decode(model, p, z, None), (z,)),
        "text_encoder": (lambda p, ids: stable_diffusion.encode_text(model, p, ids), (ids,)),
        "pipeline": (pipeline, (z, ids)),
    }
    function, inputs = functions[part]
    jitted = jax.jit(function)
    yield "colorjax", lambda: jax.block_until_ready(jitted(params, *inputs))


def of_torch(size: Size, part: str, steps: int) -> Iterator[tuple[str, Run]]:
    """What is timed of torch, by the name of its variant."""
    import torch

    from benchmarks.gpu_torch import networks, schedule

    parts = networks(size, torch.float32)
    alphas, side = schedule(), size.side // 8
    z, ids = torch.zeros(1, 4, side, side), torch.zeros(1, TOKENS, dtype=torch.long)
    context = torch.ones(1, TOKENS, size.text)

    def unet(z: Any, t: int, context: Any) -> Any:
        return parts["unet"](z, torch.full((len(z),), t), context)[0]

    def decode(z: Any) -> Any:
        return parts["vae"].decode(z / SCALING)[0]

    def pipeline() -> Any:
        states = parts["text_encoder"](torch.cat([ids, ids]))[0]
        z_t, times = z, list(range(1, 1000, 1000 // steps))[:steps][::-1]
        for place, t in enumerate(times):
            uncond, cond = unet(torch.cat([z_t, z_t]), t, states).chunk(2)
            eps = uncond + GUIDANCE * (cond - uncond)
            alpha = alphas[t]
            before = alphas[times[place + 1]] if place + 1 < len(times) else alphas[0]
            z_0 = (z_t - (1 - alpha).sqrt() * eps) / alpha.sqrt()
            z_t = before.sqrt() * z_0 + (1 - before).sqrt() * eps
        return decode(z_t)

    parts["text_encoder"] = parts.pop("text")
    runs: dict[str, Run] = {
        "unet": lambda: unet(z, 0, context),
        "decoder": lambda: decode(z),
        "text_encoder": lambda: parts["text_encoder"](ids),
        "pipeline": pipeline,
    }
    for name, layout in (("channels", torch.contiguous_format), ("pixels", torch.channels_last)):
        for module in parts.values():
            module.to(memory_format=layout)
        with torch.inference_mode():
            yield f"torch, {name} first", runs[part]


def side_of(args: argparse.Namespace) -> dict[str, float]:
    """CPU seconds of each variant of one side, in this process."""
    size, library = SIZES[args.size], None
    if args.side == "torch":
        import torch

        from benchmarks import pytorch

        library = pytorch.prepare()
        torch.set_num_threads(args.threads)
    measured = {"torch": of_torch, "jax": of_jax}[args.side](size, args.part, args.steps)
    times = {name: fastest(run, args.rounds) for name, run in measured}
    del library
    return times


def measure(args: argparse.Namespace, part: str) -> dict[str, float]:
    """CPU seconds of each variant of both sides, each in a process of its own."""
    flags = "--xla_cpu_multi_thread_eigen=false " if args.threads == 1 else ""
    environment = os.environ | {
        "OMP_NUM_THREADS": str(args.threads),
        "OMP_WAIT_POLICY": "passive",  # a thread that waits by running counts as work
        "XLA_FLAGS": f"{flags}intra_op_parallelism_threads={args.threads}" if flags else "",
    }
    rows: dict[str, float] = {}
    for side in ("torch", "jax"):
        command = [sys.executable, "-m", "benchmarks.cpu", f"--part={part}", f"--side={side}"]
        same = ("size", "threads", "rounds", "steps")
        command += [f"--{name}={getattr(args, name)}" for name in same]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        rows |= json.loads(done.stdout.splitlines()[-1])
    return rows


def ratio(rows: dict[str, float]) -> float:
    """colorjax's time over the faster of torch's."""
    return rows["colorjax"] / min(value for name, value in rows.items() if name != "colorjax")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--part", choices=PARTS, help="one of them; all, if not")
    parser.add_argument("--side", choices=("jax", "torch"), help="in this process, and only it")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="of the pipeline")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(arguments)
    if args.side:
        print(json.dumps(side_of(args)))
        return 0
    results = {}
    for part in PARTS if args.part is None else (args.part,):
        results[part] = measure(args, part)
        times = ", ".join(f"{name} {value:.3f} s" for name, value in results[part].items())
        print(f"{part:14}{times}; ratio {ratio(results[part]):.2f}", flush=True)
    if args.json:
        named = {f"{part}, {args.size}": rows for part, rows in results.items()}
        args.json.write_text(json.dumps(named, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
