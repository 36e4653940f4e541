"""The UNet without the other networks, and each of its levels without the others: to profile."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh, NamedSharding
from ml_collections import ConfigDict

from colorjax.devices import sharding
from colorjax.maths.schedule import add_noise, sample_timesteps
from colorjax.methods import lcad
from colorjax.models.unet import UNet
from colorjax.train import optim
from colorjax.train.stages.stage import Stage, single_loss_stage


def model_of(config: ConfigDict) -> lcad.LCAD:
    return lcad.build(config.model.to_dict(), jnp.dtype(config.dtype), config.remat)


def stage(config: ConfigDict, options: ConfigDict) -> Stage:
    """The latent stage with latents, text states and luminance features given in the batch."""
    model, key = model_of(config), jax.random.key(config.seed)

    def whole(key: Any) -> Any:
        return lcad.init(model, key)["unet"]

    def loss(params: Any, frozen: Any, batch: Any, key: Any) -> Any:
        z_0, (time_key, eps_key) = batch["latents"], jax.random.split(key)
        timesteps = sample_timesteps(time_key, len(z_0), model.schedule)
        eps = jax.random.normal(eps_key, z_0.shape)
        z_t = add_noise(z_0, eps, timesteps, model.schedule)
        tree = {"unet": optim.merge(params, frozen)}
        features = (batch["feature"],) if model.unet.cec != "none" else None
        found = lcad.predict_eps(model, tree, z_t, timesteps, batch["context"], features)
        return ((found - eps) ** 2).mean(), {}

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
    """Shapes of what `stage` is given."""
    model = model_of(config)
    side = config.model.image_size // model.vae.factor
    length = config.model.text_encoder.max_position_embeddings
    shapes = {
        "latents": (side, side, model.vae.latent_channels),
        "context": (length, model.text_encoder.hidden_size),
        "feature": (side, side, model.vae.block_out_channels[-1]),
    }
    return {
        name: jax.ShapeDtypeStruct((count, *shape), jnp.float32, sharding=to)
        for name, shape in shapes.items()
        if name != "feature" or model.unet.cec != "none"
    }


class Level(NamedTuple):
    name: str  # of its parameters
    module: Any
    inputs: tuple[Any, ...]  # shapes


def levels(unet: UNet, given: dict[str, Any]) -> Iterator[Level]:
    """The levels of a UNet in order, each with the shapes that it gets for a `batch`."""
    kind, last = unet.dtype, len(unet.block_out_channels) - 1
    count, height, width, _ = given["latents"].shape

    def shape(*sizes: int) -> Any:
        return jax.ShapeDtypeStruct((count, *sizes), kind)

    maps = shape(height, width, unet.block_out_channels[0])
    time = shape(4 * unet.block_out_channels[0])
    context = shape(*given["context"].shape[1:])
    feature = shape(*given["feature"].shape[1:]) if "feature" in given else None
    skips = [maps]

    def out(module: Any, *inputs: Any) -> Any:
        def run(*inputs: Any) -> Any:
            return module.init_with_output(jax.random.key(0), *inputs)[0]

        return jax.eval_shape(run, *inputs)

    for i in range(last + 1):
        down = unet.down(i, parent=None)
        yield Level(f"down_blocks_{i}", down, (maps, time, context, feature))
        maps, more = out(down, maps, time, context, feature)
        skips += more
    middle = unet.middle(parent=None)
    yield Level("mid_block", middle, (maps, time, context))
    for i in range(last + 1):
        up = unet.up(i, parent=None)
        taken = [skips.pop() for _ in range(unet.layers_per_block + 1)][::-1]
        yield Level(f"up_blocks_{i}", up, (maps, time, context, taken))
        maps = out(up, maps, time, context, list(taken))


def gradient(level: Level, config: ConfigDict, options: ConfigDict, mesh: Mesh) -> Any:
    """A level forwards and backwards, lowered: gradients of its trained weights and inputs.

    Everything is whole on every device, as weights are inside a step; the rows are split.
    """

    def init(*inputs: Any) -> Any:
        fresh = level.module.init(jax.random.key(0), *inputs)["params"]
        return optim.narrowed(fresh, config.dtype)

    made = jax.eval_shape(init, *level.inputs)
    flat = flatten_dict({level.name: made}, sep="/")
    chosen = optim.trained(flat, options.trainable)
    trained, rest = (
        {path: leaf for path, leaf in flat.items() if (path in chosen) == yes}
        for yes in (True, False)
    )

    def run(trained: Any, rest: Any, inputs: Any) -> Any:
        params = unflatten_dict(trained | rest, sep="/")[level.name]
        return level.module.apply({"params": params}, *inputs)

    def step(trained: Any, rest: Any, inputs: Any, cotangent: Any) -> Any:
        return jax.vjp(lambda *of: run(of[0], rest, of[1]), trained, inputs)[1](cotangent)

    given = jax.eval_shape(run, trained, rest, level.inputs)
    everywhere, rows = sharding.replicated(mesh), NamedSharding(mesh, sharding.BATCH)

    def on(tree: Any, where: NamedSharding) -> Any:
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), tree
        )

    placed = (
        on(trained, everywhere),
        on(rest, everywhere),
        on(level.inputs, rows),
        on(given, rows),
    )
    with jax.set_mesh(mesh):
        return jax.jit(step).trace(*placed)
