"""What `benchmarks.gpu_stages` can train: stages with what is set otherwise, and baselines."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from benchmarks.reproduction import trained
from colorjax.configs import diffusing_colors, lcad
from colorjax.data.tokenizer import Tokenizer
from colorjax.train import run, weights
from colorjax.train.stages import STAGES
from colorjax.train.stages.stage import Stage


class Job(NamedTuple):
    """A stage, the variants of its configuration, and what is set otherwise."""

    recipe: Callable[[str], ConfigDict]
    variants: str
    settings: dict[str, Any]


COLD = "tiny,sigma=0.1"
JOBS = {
    # Of what is shown, at the photograph's lightness: without LPIPS and critic, which see texture.
    "luminance": Job(
        lcad.get_config,
        "tiny",
        dict(
            batch_size=256,
            learning_rate=1e-3,
            ema_decay=0.999,
            b2=0.99,
            perceptual_weight=0.0,
            adversarial_weight=0.0,
            shown_weight=100.0,
        ),
    ),
    "latent": Job(
        lcad.get_config,
        "tiny",
        dict(batch_size=1024, learning_rate=6e-4, ema_decay=0.9995, weight_decay=0.02),
    ),
    "consistency": Job(
        lcad.get_config,
        "tiny",
        dict(batch_size=512, learning_rate=4e-4, ema_decay=0.995, weight_decay=0.02),
    ),
    "ranker": Job(
        diffusing_colors.get_config,
        COLD,
        dict(
            batch_size=128, learning_rate=3e-4, ema_decay=0.999, output_share=0.4, faded_share=0.2
        ),
    ),
    "cold": Job(
        diffusing_colors.get_config,
        COLD,
        dict(batch_size=1024, learning_rate=6e-4, ema_decay=0.9995, weight_decay=0.05),
    ),
    "distill": Job(
        diffusing_colors.get_config,
        COLD,
        dict(batch_size=512, learning_rate=4e-4, ema_decay=0.9995, weight_decay=0.02),
    ),
}
BASELINES = ("regression", "classification")
OF_BASELINE = dict(batch_size=1024, learning_rate=1e-3, ema_decay=0.9995)


class Trainee(NamedTuple):
    """A stage with its configuration, and how it becomes a part of the release."""

    name: str
    config: ConfigDict
    stage: Stage
    sizes: dict[str, Any]

    @property
    def options(self) -> ConfigDict:
        return self.config[self.name]


def trainee(name: str, workdir: Path, pool: dict[str, Any], batch_size: int) -> Trainee:
    """The stage as it begins now: with what `workdir`'s release and the bundled one have.

    A `batch_size` of 0 is the stage's own.
    """
    if name in BASELINES:
        networks = trained.Networks.of(trained.KINDS[name])
        config = trained.configuration(networks.kind, Path())
        config[name].update(OF_BASELINE, schedule="constant", warmup_steps=100)
        config[name].batch_size = batch_size or config[name].batch_size
        prior = trained.prior_of(pool["image"][: trained.PRIOR_PICTURES])
        return Trainee(name, config, trained.stage(networks, config, prior), {})
    job = JOBS[name]
    config = job.recipe(f"{job.variants},stage={name}")
    config.init_from = "bundled"
    narrow = STAGES[name].narrows and jax.default_backend() != "cpu"
    config.dtype = "bfloat16" if narrow else "float32"
    config[name].update(job.settings, schedule="constant", warmup_steps=200, clip_norm=1.0)
    config[name].batch_size = batch_size or config[name].batch_size
    tokens, begun = (
        weights.find_tokenizer(config, workdir),
        weights.find_weights(name, config, workdir),
    )
    text = begun.sizes["text_encoder"]
    tokenize = Tokenizer(tokens, text["max_position_embeddings"], text["vocab_size"])
    stage = run.build(name, config, begun._replace(tokenize=tokenize), 1)
    return Trainee(name, config, stage, begun.sizes)
