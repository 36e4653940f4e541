"""The UNet without the other networks, and each of its levels without the others: to profile."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh, NamedSharding
from ml_collections import ConfigDict

from colorjax.devices import sharding
from colorjax.maths.schedule import sample_timesteps
from colorjax.maths.types import Params, PRNGKey
from colorjax.methods import lcad
from colorjax.models.unet import UNet
from colorjax.train import optim
from colorjax.train.stages import latent
from colorjax.train.stages.stage import Stage, single_loss_stage


def model_of(config: ConfigDict) -> lcad.LCAD:
    """The model that the latent stage trains, with its compute type and remat policy."""
    return lcad.build(config.model.to_dict(), jnp.dtype(config.dtype), config.remat)


def stage(config: ConfigDict, options: ConfigDict) -> Stage:
    """The latent stage without the frozen networks.

    Latents, text states and the luminance feature come in the batch, as `batch` shapes it. Weights
    that the UNet does not train are shapes; nothing can be sampled or released.
    """
    model, key = model_of(config), jax.random.key(config.seed)
    # The batch has the one feature that the UNet reads, wherever it stands among the encoder's.
    reader = model._replace(unet=model.unet.clone(cec_feature=0))

    def whole(key: PRNGKey) -> Params:
        return lcad.init(model, key)["unet"]

    def loss(params: Params, frozen: Params, batch: dict[str, Any], key: PRNGKey) -> Any:
        z_0, (time_key, eps_key) = batch["latents"], jax.random.split(key)
        value = latent.denoising_loss(
            reader,
            {"unet": optim.merge(params, frozen)},
            z_0,
            sample_timesteps(time_key, len(z_0), model.schedule),
            jax.random.normal(eps_key, z_0.shape),
            context=batch["context"],
            features=(batch["feature"],) if model.unet.cec != "none" else None,
        )
        return value, {}

    rest = jax.eval_shape(lambda key: optim.split(whole(key), options.trainable)[1], key)
    return single_loss_stage(
        init=lambda key, start: optim.split(whole(key), options.trainable)[0],
        loss=loss,
        frozen=rest,
        options=options,
        total_steps=1000,
        dtype=config.dtype,
        predict=lambda *_: {},
        finish=lambda *_: ({}, {}),
    )


def batch(config: ConfigDict, count: int, to: NamedSharding | None = None) -> dict[str, Any]:
    """Shapes of a batch of `count` for `stage`, with a sharding if one is given."""
    model = model_of(config)
    side = config.model.image_size // model.vae.factor
    length = config.model.text_encoder.max_position_embeddings
    pixels = jax.ShapeDtypeStruct((1, *[config.model.image_size] * 2, 1), jnp.float32)
    encoder, key = model.luminance_encoder, jax.random.key(0)
    features, _ = jax.eval_shape(encoder.init_with_output, key, pixels)
    shapes = {
        "latents": (side, side, model.vae.latent_channels),
        "context": (length, model.text_encoder.hidden_size),
        "feature": features[model.unet.cec_feature].shape[1:],
    }
    return {
        name: jax.ShapeDtypeStruct((count, *shape), jnp.float32, sharding=to)
        for name, shape in shapes.items()
        if name != "feature" or model.unet.cec != "none"
    }


class Level(NamedTuple):
    """A level of a UNet: a module of its own, which takes the maps of the level before."""

    name: str  # what the UNet's parameters call it
    module: Any
    inputs: tuple[Any, ...]  # shapes


def levels(unet: UNet, batch: dict[str, Any]) -> Iterator[Level]:
    """The levels of a UNet in order, each with the shapes that it takes for a `batch`."""
    kind, last = unet.dtype, len(unet.block_out_channels) - 1
    count, height, width, _ = batch["latents"].shape

    def shape(*sizes: int) -> Any:
        return jax.ShapeDtypeStruct((count, *sizes), kind)

    maps = shape(height, width, unet.block_out_channels[0])
    time = shape(4 * unet.block_out_channels[0])
    context = shape(*batch["context"].shape[1:])
    feature = shape(*batch["feature"].shape[1:]) if "feature" in batch else None
    skips = [maps]

    def output(module: Any, *inputs: Any) -> Any:
        return jax.eval_shape(module.init_with_output, jax.random.key(0), *inputs)[0]

    for i in range(last + 1):
        down = unet.down(i, parent=None)
        yield Level(f"down_blocks_{i}", down, (maps, time, context, feature))
        maps, more = output(down, maps, time, context, feature)
        skips += more
    middle = unet.middle(parent=None)
    yield Level("mid_block", middle, (maps, time, context))
    for i in range(last + 1):
        up = unet.up(i, parent=None)
        taken = [skips.pop() for _ in range(unet.layers_per_block + 1)][::-1]
        yield Level(f"up_blocks_{i}", up, (maps, time, context, taken))
        maps = output(up, maps, time, context, list(taken))


def gradient(level: Level, config: ConfigDict, options: ConfigDict, mesh: Mesh) -> Any:
    """A level forwards and backwards, traced: gradients of its trained weights and its inputs.

    Weights are whole on every device, as they are inside a step; the batch's rows are split.
    """

    def init(*inputs: Any) -> Params:
        fresh = level.module.init(jax.random.key(0), *inputs)["params"]
        return optim.narrowed(fresh, config.dtype)

    weights = jax.eval_shape(init, *level.inputs)
    flat = flatten_dict({level.name: weights}, sep="/")
    chosen = optim.trained(flat, options.trainable)
    trained, rest = (
        {path: leaf for path, leaf in flat.items() if (path in chosen) == yes}
        for yes in (True, False)
    )

    def run(trained: Params, rest: Params, inputs: Any) -> Any:
        params = unflatten_dict(trained | rest, sep="/")[level.name]
        return level.module.apply({"params": params}, *inputs)

    def step(trained: Params, rest: Params, inputs: Any, cotangent: Any) -> Any:
        def forward(trained: Params, inputs: Any) -> Any:
            return run(trained, rest, inputs)

        return jax.vjp(forward, trained, inputs)[1](cotangent)

    maps = jax.eval_shape(run, trained, rest, level.inputs)
    everywhere, rows = sharding.replicated(mesh), NamedSharding(mesh, sharding.BATCH)

    def on(tree: Any, where: NamedSharding) -> Any:
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), tree
        )

    placed = (
        on(trained, everywhere),
        on(rest, everywhere),
        on(level.inputs, rows),
        on(maps, rows),
    )
    with jax.set_mesh(mesh):
        return jax.jit(step).trace(*placed)
