"""The bundled model's stages on one GPU, for seconds each.

    python -m benchmarks.gpu_stages --data data/cifar10=3 data/photographs=1 \
        --stages luminance=40 latent=180 consistency=90 --output=runs/gpu

Examples are drawn by the training's own pipeline, in processes, into a pool that lies on the device
whole; a step takes its batch from there at random, and many steps are one call. The stages are
`colorjax.train`'s, and every one begins with what those before it left; `regression` and
`classification` are the baselines of `benchmarks.reproduction`. All are compiled at once, before
the first begins. How long one lasts is told in seconds, so the learning rate falls by a cosine of
the time that has passed, and ends at zero on any card.
"""

import argparse
import concurrent.futures
import functools
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict
from safetensors.numpy import save_file

from benchmarks.gpu_trainees import BASELINES, JOBS, Trainee, trainee
from colorjax import release
from colorjax.data import pipeline
from colorjax.data.tokenizer import FILES, Tokenizer
from colorjax.maths.types import Params, PRNGKey
from colorjax.train import optim, run
from colorjax.train.stages import STAGES
from colorjax.train.stages.stage import Stage

Pool = dict[str, Any]
DRAWN = 256  # examples at a time
SAID_EVERY = 5.0  # seconds
CAPTIONS = dict(scarce_share=0.4, drop_share=0.1, partial_share=0.5, turned_share=0.2)


def drawn(directory: str, count: int, seed: int, path: Path) -> Path:
    """Writes `count` training examples of a data directory: pictures and token ids."""
    tokens = release.tokenizer(release.BUNDLED, FILES)
    text = release.read_config(release.BUNDLED)["text_encoder"]
    batches = pipeline.train_batches(
        directory,
        "train",
        size=release.read_config(release.BUNDLED)["image_size"],
        batch_size=DRAWN,
        seed=seed,
        tokenize=Tokenizer(tokens, text["max_position_embeddings"], text["vocab_size"]),
        num_threads=1,
        **CAPTIONS | {"crop": None},
    )
    parts = [next(batches) for _ in range(-(-count // DRAWN))]
    batches.close()
    np.savez(path, **{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    return path


def pool_of(shares: dict[str, float], count: int, processes: int, folder: Path) -> Pool:
    """Examples of all data directories by their shares, on the host."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = sum(shares.values())
    # Each directory in as many pieces as there are processes: none of them waits for another.
    pieces = [
        (directory, round(count * share / whole / processes))
        for directory, share in shares.items()
        for _ in range(processes)
    ]
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, context) as workers:
        futures = [
            workers.submit(drawn, directory, most, seed, folder / f"{seed}.npz")
            for seed, (directory, most) in enumerate(pieces)
        ]
        parts = [dict(np.load(future.result())) for future in futures]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def paced(step: optim.Step, pace: Any, ema_decay: float) -> optim.Step:
    """A step that goes `pace` of its way, as at a lower learning rate."""

    def shorter(
        state: optim.TrainState, frozen: Params, batch: Any, key: PRNGKey
    ) -> tuple[optim.TrainState, optim.Metrics]:
        after, metrics = step(state, frozen, batch, key)
        params = jax.tree.map(lambda p, q: p + pace * (q - p), state.params, after.params)
        decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
        ema = jax.tree.map(lambda e, p: e + (1.0 - decay) * (p - e), state.ema, params)
        return after._replace(params=params, ema=ema), metrics

    return shorter


def steps_of(stage: Stage, options: ConfigDict, count: int) -> Callable[..., Any]:
    """`count` steps on batches of the pool: (state, frozen, pool, key, pace) -> state, metrics."""

    def steps(state: Any, frozen: Params, pool: Pool, key: PRNGKey, pace: Any) -> Any:
        step = optim.guarded(paced(stage.step, pace, options.ema_decay), options.spike_factor)

        def one(state: optim.TrainState, _: None) -> tuple[optim.TrainState, optim.Metrics]:
            draw_key, own_key = jax.random.split(jax.random.fold_in(key, state.step))
            most = len(pool["image"])
            rows = jax.random.randint(draw_key, (options.batch_size,), 0, most)
            return step(state, frozen, {name: part[rows] for name, part in pool.items()}, own_key)

        state, metrics = jax.lax.scan(one, state, length=count)
        return state, jax.tree.map(lambda values: values.astype(jnp.float32).mean(), metrics)

    return steps


class Work:
    """All stages of a run, compiled before the first of them begins."""

    def __init__(self, names: list[str], pool: Pool, args: argparse.Namespace) -> None:
        self.host, self.output = pool, args.output
        self.steps, self.batch_size = args.steps, args.batch_size
        self.pool = jax.device_put(pool)
        self.key = jax.random.key(0)
        self.begin = time.time()
        self.threads = concurrent.futures.ThreadPoolExecutor(8)
        self.compiled = {name: self._compiled(name) for name in names}

    def say(self, name: str, **values: Any) -> None:
        row = {"at": round(time.time() - self.begin, 1), "stage": name} | values
        print(json.dumps(row), flush=True)
        with (self.output / "log.jsonl").open("a") as log:
            log.write(json.dumps(row) + "\n")

    def _started(self, of: Trainee) -> tuple[Any, Params]:
        init = jax.jit(lambda start: optim.watched(of.stage.init(self.key, start)))
        frozen = optim.narrowed(jax.tree.map(jnp.asarray, of.stage.frozen), of.config.dtype)
        return init(of.stage.start), frozen

    def _compiled(self, name: str) -> concurrent.futures.Future[Any]:
        of = trainee(name, self.output, self.host, self.batch_size)
        state, frozen = jax.eval_shape(functools.partial(self._started, of))
        program = jax.jit(steps_of(of.stage, of.options, self.steps), donate_argnums=0)
        traced = program.lower(state, frozen, self.pool, self.key, jnp.float32(1.0))
        self.say(name, traced=True)

        def compiled() -> Any:
            result = traced.compile()
            self.say(name, compiled=True)
            return result

        return self.threads.submit(compiled)

    def train(self, name: str, seconds: float) -> None:
        """Trains a stage for so long, and writes what it made."""
        program = self.compiled[name].result()
        of = trainee(name, self.output, self.host, self.batch_size)
        state, frozen = self._started(of)
        begin = said = time.time()
        while (passed := time.time() - begin) < seconds:
            pace = jnp.float32(0.5 + 0.5 * np.cos(np.pi * passed / seconds))
            state, metrics = program(state, frozen, self.pool, self.key, pace)
            metrics = {what: round(float(value), 5) for what, value in metrics.items()}
            if time.time() - said > SAID_EVERY:
                self.say(name, step=int(state.step), pace=round(float(pace), 3), **metrics)
                said = time.time()
        self.say(name, step=int(state.step), seconds=round(time.time() - begin, 1), **metrics)
        self.write(of, jax.tree.map(np.asarray, optim.averaged(state)))

    def write(self, of: Trainee, params: Params) -> None:
        """Adds a stage's parts to the release, and in half precision to the folder."""
        parts = {of.name: params}
        if of.name not in BASELINES:
            first = {name: part[: run.FINISH_EXAMPLES] for name, part in self.host.items()}
            parts, changes = of.stage.finish(params, of.stage.frozen, first)
            sizes = of.config.model.to_dict() | of.sizes | changes | {"method": of.config.method}
            release.write(
                self.output / "release",
                sizes,
                parts,
                release.tokenizer(release.BUNDLED, FILES),
                inherit=release.BUNDLED,
                without=STAGES[of.name].outdates,
            )
            self.say(of.name, sections={key: changes[key] for key in changes})
        for part, tree in parts.items():
            flat = {
                "/".join(path): leaf.astype(np.float16)
                for path, leaf in flatten_dict(jax.tree.map(np.asarray, tree)).items()
            }
            save_file(flat, self.output / f"{part}.safetensors")


def _numbers(values: list[str]) -> dict[str, float]:
    return {name: float(number) for name, _, number in (value.rpartition("=") for value in values)}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", nargs="+", required=True, help="DIRECTORY=SHARE of prepared data")
    parser.add_argument("--stages", nargs="+", required=True, help="STAGE=SECONDS, in this order")
    parser.add_argument("--output", type=Path, required=True, help="a folder for weights and log")
    parser.add_argument("--pool", type=int, default=400_000, help="examples on the device")
    parser.add_argument("--processes", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--steps", type=int, default=50, help="of a call")
    parser.add_argument("--batch_size", type=int, default=0, help="0: the stage's own")
    args = parser.parse_args()
    stages = _numbers(args.stages)
    unknown = [name for name in stages if name not in (*JOBS, *BASELINES)]
    if unknown:
        parser.error(f"stages are {', '.join((*JOBS, *BASELINES))}; not {', '.join(unknown)}")
    pool = pool_of(_numbers(args.data), args.pool, args.processes, args.output / "pool")
    work = Work(list(stages), pool, args)
    for name, seconds in stages.items():
        try:
            work.train(name, seconds)
        except Exception as error:  # it must not cost the others
            work.say(name, failed=f"{type(error).__name__}: {str(error)[:1000]}")
    work.threads.shutdown(wait=False, cancel_futures=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
