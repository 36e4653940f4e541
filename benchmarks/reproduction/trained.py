"""Colorizers of one evaluation, trained here: the baselines that every paper beats.

Direct regression of a and b by least squares, and classification as CIC (`bins`). Both have the
bundled UNet's shape and its text, and begin, as L-CAD and Diffusing Colors do, with the
text-to-image UNet; first and last convolution are new. They read the lightness in blocks of 4x4
pixels, for which the regression gives a and b of each pixel, and CIC one distribution, a quarter of
the size, as in its paper; that is brought to full size by a bilinear filter.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict
from safetensors.numpy import load_file

from benchmarks.reproduction import bins
from colorjax import release
from colorjax.configs import common
from colorjax.data.tokenizer import FILES, Tokenizer
from colorjax.devices import sharding
from colorjax.evaluate.painters import Raw
from colorjax.evaluate.pictures import Batch
from colorjax.maths import color
from colorjax.maths.types import Array, Params, PRNGKey, TokenIds
from colorjax.methods import stable_diffusion
from colorjax.models.layers import apply
from colorjax.models.unet import UNet
from colorjax.train import loop, optim, run
from colorjax.train.stages.stage import Stage, single_loss_stage

BLOCK = 4  # pixels a side, that one place of the network's maps stands for
SCALE = 110.0  # of a and b, where they are regressed
PRIOR_PICTURES = 2000  # that tell how frequent colours are
STEPS = 1000
Chroma = Float[Array, "b H W 2"]


class Kind(NamedTuple):
    """What the network's last convolution gives, as a loss and as a and b."""

    name: str
    title: str
    channels: int
    loss: Callable[[Array, Chroma, Any], Float[Array, ""]]
    chroma: Callable[[Array], Chroma]


def blocks(image: Float[Array, "b H W c"]) -> Float[Array, "b h w d"]:
    """Each block of pixels as the channels of one place."""
    b, height, width, c = image.shape
    cut = image.reshape(b, height // BLOCK, BLOCK, width // BLOCK, BLOCK, c)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(b, height // BLOCK, width // BLOCK, -1)


def pixels(maps: Float[Array, "b h w d"]) -> Float[Array, "b H W c"]:
    """The inverse of `blocks`."""
    b, height, width, d = maps.shape
    cut = maps.reshape(b, height, width, BLOCK, BLOCK, d // BLOCK**2)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(b, height * BLOCK, width * BLOCK, -1)


def _regression_loss(output: Array, ab: Chroma, _: Any) -> Float[Array, ""]:
    return jnp.square(pixels(output) - ab / SCALE).mean()


def _classification_loss(output: Array, ab: Chroma, weights: Any) -> Float[Array, ""]:
    small = blocks(ab).reshape(-1, BLOCK**2, 2).mean(axis=1)
    return bins.loss(output.reshape(-1, output.shape[-1]), small, weights)


def _annealed(output: Array) -> Chroma:
    small = bins.annealed_mean(output)
    b, height, width, _ = small.shape
    return jax.image.resize(small, (b, height * BLOCK, width * BLOCK, 2), "bilinear")


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "regression",
            "direct regression, trained",
            2 * BLOCK**2,
            _regression_loss,
            lambda output: SCALE * pixels(output),
        ),
        Kind(
            "classification",
            "classification as CIC, trained",
            len(bins.centres()),
            _classification_loss,
            _annealed,
        ),
    )
}


class Networks(NamedTuple):
    """The text encoder, frozen, and the UNet of a kind."""

    kind: Kind
    base: stable_diffusion.StableDiffusion
    unet: UNet

    @classmethod
    def of(cls, kind: Kind) -> "Networks":
        """With the bundled model's sizes."""
        config = release.read_config(release.BUNDLED)
        sizes = config | {"unet": config["unet"] | {"cec": "none"}}
        base = stable_diffusion.build(sizes)
        return cls(kind, base, base.unet.copy(out_channels=kind.channels))

    def init(self, key: PRNGKey, start: Params) -> Params:
        """The text-to-image UNet with a first and a last convolution of its own."""
        text = self.base.text_encoder
        context = jnp.zeros((1, text.max_position_embeddings, text.hidden_size))
        maps = jnp.zeros((1, 2 * BLOCK, 2 * BLOCK, BLOCK**2))
        fresh: Params = self.unet.init(key, maps, jnp.zeros(1), context)["params"]
        return start | {name: fresh[name] for name in ("conv_in", "conv_out")}

    def __call__(
        self,
        params: Params,
        frozen: Params,
        lightness: Float[Array, "b H W 1"],
        input_ids: TokenIds,
    ) -> Array:
        """The last convolution's output."""
        context = stable_diffusion.encode_text(self.base, frozen, input_ids)
        maps = blocks(lightness / 50.0 - 1.0)
        output: Array = apply(self.unet, params, maps, jnp.zeros(len(maps)), context)
        return output


def configuration(kind: Kind, data: Path) -> ConfigDict:
    """How it is trained: with the captions of the bundled UNets."""
    config = common.small()
    config.data.directory = str(data)
    config.checkpoint_every, config.sample_every = 200, 0
    config[kind.name] = common.stage(
        batch_size=64,
        total_steps=STEPS,
        learning_rate=1e-3,
        schedule="cosine",
        warmup_steps=100,
        clip_norm=1.0,
        ema_decay=0.998,
        scarce_share=0.3,
        drop_share=0.1,
        partial_share=0.5,
    )
    return config


def stage(networks: Networks, config: ConfigDict, prior: np.ndarray) -> Stage:
    """Its one loss; `prior` is how frequent the classes are."""
    options = config[networks.kind.name]
    weights = bins.rebalancing(prior)

    def loss(
        params: Params, frozen: Params, batch: Any, key: PRNGKey
    ) -> tuple[Array, optim.Metrics]:
        lab = color.srgb_to_lab(color.to_unit(color.from_bytes(batch["image"])))
        output = networks(params, frozen, lab[..., :1], batch["input_ids"])
        return networks.kind.loss(output, lab[..., 1:], weights), {}

    return single_loss_stage(
        init=networks.init,
        loss=loss,
        options=options,
        total_steps=options.total_steps,
        predict=lambda params, frozen, batch, key: {},
        finish=lambda params, frozen, batch: ({}, {}),
        start=release.read_part(release.BUNDLED, "text_to_image_unet"),
        frozen={"text_encoder": release.read_part(release.BUNDLED, "text_encoder")},
    )


def prior_of(images: UInt8[np.ndarray, "n H W 3"]) -> np.ndarray:
    """How frequent the classes are in pictures, at the size of the targets."""
    lab = color.srgb_to_lab(images.astype(np.float32) / 255.0)
    small = np.asarray(blocks(jnp.asarray(lab[..., 1:]))).reshape(-1, BLOCK**2, 2).mean(axis=1)
    return bins.frequencies(small)


def _first_pictures(config: ConfigDict, name: str, tokenize: Tokenizer) -> np.ndarray:
    options = config[name].copy_and_resolve_references()
    options.batch_size = PRIOR_PICTURES
    with contextlib.closing(run.train_batches(config, options, tokenize, 0, alone=True)) as batches:
        images: np.ndarray = next(batches)["image"]
        return images


def _train(kind: Kind, data: Path, folder: Path, tokenize: Tokenizer) -> Params:
    """The UNet that training in `folder`, from its last checkpoint, ends with."""
    config = configuration(kind, data)
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.dcn)
    with jax.set_mesh(mesh):
        prior = prior_of(_first_pictures(config, kind.name, tokenize))
        state = loop.train(
            loop.Run(
                name=kind.name,
                stage=stage(Networks.of(kind), config, prior),
                config=config,
                mesh=mesh,
                directory=folder / kind.name,
                total_steps=STEPS,
                batches=lambda first: run.train_batches(config, config[kind.name], tokenize, first),
                examples={},
            )
        )
    return jax.tree.map(sharding.to_host, optim.averaged(state))


class Trained:
    """A painter; its network is trained, or goes on with that, when it is made.

    A network that `benchmarks.gpu_stages` has trained, `<kind>.safetensors` in the same folder, is
    taken as it is.
    """

    def __init__(self, kind: str, data: Path, folder: Path) -> None:
        self.networks = Networks.of(KINDS[kind])
        self.name = self.networks.kind.title
        text = release.read_config(release.BUNDLED)["text_encoder"]
        self.tokenize = Tokenizer(
            release.tokenizer(release.BUNDLED, FILES),
            text["max_position_embeddings"],
            text["vocab_size"],
        )
        weights = folder / f"{kind}.safetensors"
        self.about_training = {"steps": STEPS} if not weights.is_file() else {"by": "gpu_stages"}
        self.params = (
            unflatten_dict(load_file(weights), sep="/")
            if weights.is_file()
            else _train(self.networks.kind, data, folder, self.tokenize)
        )
        self.params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), self.params)
        self.frozen = {"text_encoder": release.read_part(release.BUNDLED, "text_encoder")}
        self._run = jax.jit(self._chroma)

    def about(self) -> dict[str, Any]:
        """What it is and how it was trained."""
        return {"name": self.name, "settings": self.about_training}

    def paint(self, batch: Batch, seed: int) -> Raw:
        """By each picture's caption; no noise is in it."""
        lightness = color.lightness(batch.truth)
        tokens = self.tokenize(batch.captions)
        ab = np.asarray(self._run(self.params, self.frozen, lightness, tokens))
        lab = color.fit_gamut(np.concatenate([lightness, ab], axis=-1).astype(np.float32))
        raw: Raw = color.from_unit(np.clip(color.lab_to_srgb(lab), 0.0, 1.0))
        return raw

    def _chroma(self, params: Params, frozen: Params, lightness: Array, tokens: Array) -> Chroma:
        return self.networks.kind.chroma(self.networks(params, frozen, lightness, tokens))
