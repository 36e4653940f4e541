"""colorjax's side of `benchmarks.gpu`.

Attention is measured as the package has it, by cuDNN where that is there, and by XLA. Programs are
traced one after the other and compiled at once, in threads.
"""

import concurrent.futures
import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.gpu import (
    GUIDANCE,
    NUM_STEPS,
    SAMPLED,
    SIZES,
    TOKENS,
    VOCABULARY,
    Log,
    Size,
    arguments,
    timed,
    wait_for,
)
from colorjax.maths.schedule import sample_timesteps
from colorjax.methods import lcad
from colorjax.models import attention
from colorjax.plan import flops
from colorjax.train import optim
from colorjax.train.stages import latent

PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # bfloat16, FLOP/s
FLASH_CALL = "cudnn$fmha"


class Program(NamedTuple):
    """What was traced: its compilation, which may be under way, and its products' FLOPs."""

    compiled: concurrent.futures.Future[Any]
    flops: float


def model_of(size: Size) -> lcad.LCAD:
    text = dict(
        vocab_size=VOCABULARY,
        hidden_size=size.text,
        intermediate_size=4 * size.text,
        num_hidden_layers=size.text_layers,
        num_attention_heads=size.text // 64,
        max_position_embeddings=TOKENS,
        hidden_act="quick_gelu",
    )
    vae = dict(
        block_out_channels=size.vae, layers_per_block=2, latent_channels=4, norm_num_groups=32
    )
    config = dict(
        text_encoder=text,
        vae=vae,
        unet=dict(block_out_channels=size.unet, cec="down_blocks"),
        schedule=dict(num_timesteps=1000, beta_start=0.00085, beta_end=0.012),
        scaling_factor=0.18215,
    )
    return lcad.build(config, jnp.bfloat16)


@contextlib.contextmanager
def attending_by(kind: str) -> Iterator[None]:
    """Programs traced inside have this attention: "xla", or "cudnn" as the package chooses it."""
    original = attention.cudnn_is_there
    if kind == "xla":
        attention.cudnn_is_there = lambda: False
    try:
        yield
    finally:
        attention.cudnn_is_there = original


@functools.partial(jax.jit, static_argnums=(1, 2))
def _normal(seed: Any, shape: tuple[int, ...], dtype: str) -> Any:
    width = math.prod(shape[:-1]) or 1
    return (jax.random.normal(jax.random.key(seed), shape) * width**-0.5).astype(dtype)


def random_weights(shapes: Any, dtype: str) -> Any:
    """Normal numbers of each leaf's shape, made on the device: a small program for each shape."""
    leaves, tree = jax.tree.flatten(shapes)
    return tree.unflatten([_normal(i, leaf.shape, dtype) for i, leaf in enumerate(leaves)])


def of_type(shapes: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), shapes)


def batch_of(size: Size) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (size.batch, size.side, size.side, 3), np.uint8),
        "input_ids": rng.integers(0, VOCABULARY, (size.batch, TOKENS)).astype(np.int32),
    }


def train_step(model: lcad.LCAD, size: Size) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The latent stage's step, and how its state is made of the UNet's weights."""
    tx = optax.adamw(1e-5, weight_decay=1e-2)
    side = size.side // model.vae.factor
    shape = (size.batch, side, side, 4)

    def loss(params: Any, frozen: Any, batch: Any, key: Any) -> Any:
        time_key, eps_key, posterior_key = jax.random.split(key, 3)
        value = latent.loss(
            model,
            frozen | {"unet": params},
            batch["image"],
            batch["input_ids"],
            timesteps=sample_timesteps(time_key, size.batch, model.schedule),
            eps=jax.random.normal(eps_key, shape),
            posterior_noise=jax.random.normal(posterior_key, shape),
        )
        return value, {}

    step = optim.make_step(loss, tx, 0.0, dtype=jnp.bfloat16)
    return step, lambda params: optim.create(params, tx, 0.0)


def sampler(model: lcad.LCAD) -> Callable[..., Any]:
    options = lcad.Options(NUM_STEPS, "released", "ddim", "guided")

    def sample(params: Any, luminance: Any, ids: Any, none: Any, key: Any) -> Any:
        keys = jax.random.split(key, len(luminance))
        inputs = lcad.Inputs(luminance, ids, none, GUIDANCE, keys)
        return lcad.colorize(model, params, inputs, options)

    return sample


def sampler_inputs(size: Size, count: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(count)
    luminance = rng.uniform(-1.0, -0.2, (count, size.side, size.side, 1)).astype(np.float32)
    ids = rng.integers(0, VOCABULARY, (2, count, TOKENS)).astype(np.int32)
    return luminance, ids[0], ids[1], jax.random.key(0)


class Side:
    """All programs of this side, compiled while their weights are made."""

    def __init__(self, size: Size, log: Log) -> None:
        self.size, self.log = size, log
        self.model = model_of(size)
        self.shapes = jax.eval_shape(lambda key: lcad.init(self.model, key), jax.random.key(0))
        self.threads = concurrent.futures.ThreadPoolExecutor(8)
        self.programs: dict[str, Program] = {}
        self.step, self.create = train_step(self.model, size)

    def start(
        self, name: str, kind: str, program: Callable[..., Any], *given: Any, **how: Any
    ) -> None:
        """Traces a program and sends it to a compiling thread."""

        def lower() -> Any:
            begin = time.time()
            with attending_by(kind):
                # A function of its own: traces are remembered by function.
                traced = jax.jit(lambda *inputs: program(*inputs), **how).trace(*given)
                count = flops.products(traced.jaxpr.jaxpr)
                lowered = traced.lower()
            self.log.put(f"trace {name}", round(time.time() - begin, 1))
            self.programs[name] = Program(self.threads.submit(self.compile, name, lowered), count)
            return None

        try:
            lower()
        except Exception as error:
            self.log.put(name, {"failed": f"{type(error).__name__}: {str(error)[:400]}"})

    def compile(self, name: str, lowered: Any) -> Any:
        begin = time.time()
        compiled = lowered.compile()
        calls = compiled.as_text().count(FLASH_CALL)
        self.log.put(f"compile {name}", {"seconds": time.time() - begin, "cudnn_calls": calls})
        return compiled

    def start_all(self) -> None:
        frozen = {part: tree for part, tree in self.shapes.items() if part != "unet"}
        state = jax.eval_shape(self.create, self.shapes["unet"])
        batch, key = batch_of(self.size), jax.random.key(0)
        halves = of_type(self.shapes, jnp.bfloat16)
        for kind in ("cudnn", "xla"):
            self.start(
                f"train, {kind}", kind, self.step, state, frozen, batch, key, donate_argnums=0
            )
            for count in SAMPLED:
                if kind == "cudnn" or count == SAMPLED[0]:
                    inputs = sampler_inputs(self.size, count)
                    sample = sampler(self.model)
                    self.start(f"sample {count}, {kind}", kind, sample, halves, *inputs)

    def measure_attention(self) -> None:
        """Self-attention of the finest level, forward and backward, both ways."""
        tokens = (self.size.side // 8) ** 2
        shape = (self.size.batch, tokens, 8, self.size.unet[0] // 8)
        given = [_normal(i, shape, "bfloat16") for i in range(3)]
        for kind in ("xla", "cudnn"):

            def total(query: Any, key: Any, value: Any, kind: str = kind) -> Any:
                mixed = jax.nn.dot_product_attention(query, key, value, implementation=kind)
                return mixed.astype(jnp.float32).sum()

            def measure(total: Any = total) -> dict[str, Any]:
                run = jax.jit(jax.grad(total, (0, 1, 2)))
                return timed(lambda: jax.block_until_ready(run(*given)), self.size.batch)

            self.log.attempt(f"attention of {tokens} tokens, {kind}", measure)

    def measure_samplers(self) -> None:
        weights = random_weights(self.shapes, "bfloat16")
        for name in [name for name in self.programs if name.startswith("sample")]:
            count = int(name.split()[1].strip(","))
            inputs = jax.device_put(sampler_inputs(self.size, count))

            def measure(name: str = name, count: int = count, inputs: Any = inputs) -> Any:
                program = self.programs[name].compiled.result(max(1.0, self.log.left()))
                return timed(lambda: jax.block_until_ready(program(weights, *inputs)), count)

            self.log.attempt(name, measure)

    def measure_training(self) -> None:
        frozen = {part: tree for part, tree in self.shapes.items() if part != "unet"}
        frozen = random_weights(frozen, "float32")
        batch, key = jax.device_put(batch_of(self.size)), jax.random.key(0)
        kind = jax.devices()[0].device_kind
        peak = next((peak for name, peak in PEAKS.items() if name in kind), math.nan)
        counted = max((p.flops for n, p in self.programs.items() if n == "train, xla"), default=0.0)
        for name in ("train, cudnn", "train, xla"):
            if name not in self.programs:
                continue

            def measure(name: str = name) -> dict[str, Any]:
                program = self.programs[name].compiled.result(max(1.0, self.log.left()))
                state = [self.create(random_weights(self.shapes["unet"], "float32"))]

                def run() -> None:
                    state[0], metrics = program(state[0], frozen, batch, key)
                    jax.block_until_ready((state[0], metrics))

                found = timed(run, self.size.batch, flops=counted, batch=self.size.batch)
                memory = jax.devices()[0].memory_stats() or {}
                more = {"peak_bytes": memory.get("peak_bytes_in_use", 0)}
                return found | more | {"mfu": counted / found["seconds"] / peak}

            self.log.attempt(name, measure)


def main() -> None:
    args = arguments(__doc__ or "").parse_args()
    log = Log(args.json, time.time() + args.seconds)
    log.put("device", f"{jax.devices()[0].device_kind}, jax {jax.__version__}")
    side = Side(SIZES[args.size], log)
    side.start_all()
    wait_for(args.start_when, math.inf)
    log.until = time.time() + args.seconds
    side.measure_attention()
    side.measure_training()
    side.measure_samplers()
    side.threads.shutdown(wait=False, cancel_futures=True)
    if args.meet:
        (args.meet / "jax_done").touch()


if __name__ == "__main__":
    main()
