"""Programs of the real stages from shapes alone: no weights, no data, no device."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding
from ml_collections import ConfigDict

from colorjax.devices import chips, sharding
from colorjax.errors import UserError
from colorjax.methods import lcad
from colorjax.plan import flops, unet_levels
from colorjax.train import loop, optim
from colorjax.train.stages import STAGES
from colorjax.train.stages.stage import Stage, Weights


class Lowered(NamedTuple):
    program: Any  # to be compiled
    flops: float  # of the mathematics, on a chip
    repeated: float  # FLOPs on a chip that loops do after their first round
    given: Any = None  # the shapes of the state and of the frozen weights, with where they lie


def mesh_of(topology: chips.Topology, config: ConfigDict) -> Mesh:
    """The mesh that training would make on a topology."""
    more: dict[str, Any] = {"chips_per_host_bounds": [1, 1, 1]} if topology.size == 1 else {}
    if topology.name.startswith("v4:"):
        more["chip_config_name"] = "megacore"  # a chip's two cores as one device, as v4 hosts do
    try:
        found = topologies.get_topology_desc(topology.name, "tpu", **more)
    except Exception as error:  # libtpu has one type for all
        told = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise UserError(f"topology {topology.name!r} cannot be compiled for: {told}") from error
    mesh = config.mesh
    return sharding.make_mesh(mesh.data, mesh.fsdp, mesh.dcn, found.devices)


def stage_of(name: str, config: ConfigDict) -> Stage:
    """A stage whose weights are shapes: of fresh parts, with nothing given to start from."""
    recipe = STAGES[name]
    model = lcad.build(config.model.to_dict(), jnp.dtype(config.dtype))
    built: list[Stage] = []

    def frozen() -> Any:
        fresh = lcad.init(model, jax.random.key(0))
        parts = {part: fresh[part] for part in recipe.needs}
        weights = Weights(parts, start={}, sizes={}, inputs={})
        stage = recipe.build(config, config[name], weights, 1000)
        built.append(stage)
        return stage.frozen

    shapes = jax.eval_shape(frozen)
    return built[0]._replace(frozen=shapes, start={})


def lower(config: ConfigDict, topology: chips.Topology, what: str, per_chip: int) -> Lowered:
    """The training step of a stage, or the `sampler`, for a topology."""
    mesh = mesh_of(topology, config)
    if what == "sampler":
        return _sampler(config, mesh, per_chip)
    return training(config, mesh, what, per_chip)


def training(config: ConfigDict, mesh: Mesh, what: str, per_chip: int) -> Lowered:
    """The step of the stage `what` on a mesh, or with "unet" the latent stage's, of that alone."""
    rows = NamedSharding(mesh, sharding.BATCH)
    options = config.latent if what == "unet" else config[what]
    batch = unet_levels.batch if what == "unet" else _batch
    stage = _stage(what, config)
    made = loop.programs(stage, options, config, mesh)
    frozen = _narrowed(stage.frozen, config)
    rules = config.sharding_rules
    where = sharding.tree_shardings({"frozen": frozen}, mesh, rules)["frozen"]
    state, frozen = placed(made.abstract, made.shardings), placed(frozen, where)
    with jax.set_mesh(mesh):
        traced = made.step.trace(state, frozen, batch(config, per_chip * mesh.size, rows))
        program = traced.lower()
    again = flops.repeated(traced.jaxpr.jaxpr) / mesh.size
    return Lowered(program, _step_flops(what, config) * per_chip, again, (state, frozen))


def _stage(what: str, config: ConfigDict) -> Stage:
    return unet_levels.stage(config, config.latent) if what == "unet" else stage_of(what, config)


def _narrowed(frozen: Any, config: ConfigDict) -> Any:
    return jax.eval_shape(lambda tree: optim.narrowed(tree, config.dtype), frozen)


def _step_flops(what: str, config: ConfigDict) -> float:
    """Of a step for one picture: nothing is computed twice, and the update has no products."""
    config = config.copy_and_resolve_references()
    config.remat = "none"
    config["latent" if what == "unet" else what].accumulate = 1
    stage, key = _stage(what, config), jax.random.key(0)
    state = jax.eval_shape(lambda: stage.init(key, {}))
    batch = (unet_levels.batch if what == "unet" else _batch)(config, 1)
    traced = jax.jit(stage.step).trace(state, _narrowed(stage.frozen, config), batch, key)
    return flops.products(traced.jaxpr.jaxpr)


def placed(tree: Any, shardings: Any) -> Any:
    """Shapes with where they lie."""
    return jax.tree.map(
        lambda leaf, to: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=to), tree, shardings
    )


def _batch(config: ConfigDict, count: int, to: NamedSharding | None = None) -> dict[str, Any]:
    size, length = config.model.image_size, config.model.text_encoder.max_position_embeddings
    return {
        "image": jax.ShapeDtypeStruct((count, size, size, 3), np.uint8, sharding=to),
        "input_ids": jax.ShapeDtypeStruct((count, length), np.int32, sharding=to),
    }


def _sampler(config: ConfigDict, mesh: Mesh, per_chip: int) -> Lowered:
    dtype = jnp.dtype(config.dtype)
    model, sampling = lcad.build(config.model.to_dict(), dtype), config.model.colorize
    options = lcad.Options(sampling.num_steps, sampling.spacing)
    rows, everywhere = NamedSharding(mesh, sharding.BATCH), sharding.replicated(mesh)
    params = jax.eval_shape(lambda: lcad.init(model, jax.random.key(0)))
    params = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype, sharding=everywhere), params
    )

    def sample(params: Any, batch: Any, seed: Any) -> Any:
        light = batch["image"][..., :1].astype(jnp.float32) / 127.5 - 1.0
        keys = jax.vmap(lambda bits: jax.random.fold_in(jax.random.key(0), bits))(seed)
        ids = batch["input_ids"]
        inputs = lcad.Inputs(light, ids, ids, sampling.guidance_scale, keys)
        return lcad.colorize(model, params, inputs, options)

    count = per_chip * mesh.size
    seed = jax.ShapeDtypeStruct((count,), np.uint32, sharding=rows)
    jitted = jax.jit(sample, out_shardings=rows)
    with jax.set_mesh(mesh):
        traced = jitted.trace(params, _batch(config, count, rows), seed)
        program = traced.lower()
    again = flops.repeated(traced.jaxpr.jaxpr) / mesh.size
    return Lowered(program, _sampler_flops(model, params, config) * per_chip, again)


def _sampler_flops(model: lcad.LCAD, params: Any, config: ConfigDict) -> float:
    """Of one picture: both guidance branches of every step, and the decoder."""
    side = config.model.image_size // model.vae.factor
    latents = jnp.zeros((2, side, side, model.vae.latent_channels))
    length = config.model.text_encoder.max_position_embeddings
    context = jnp.zeros((2, length, model.text_encoder.hidden_size))
    feature = (jnp.zeros((2, side, side, model.vae.block_out_channels[-1])),)
    plain = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)

    def denoise(params: Any) -> Any:
        time = jnp.zeros(2, jnp.int32)
        return lcad.predict_eps(model, params, latents, time, context, feature)

    def decode(params: Any) -> Any:
        return lcad.decode(model, params, latents[:1], None)

    one, last = (
        flops.products(jax.jit(part).trace(plain).jaxpr.jaxpr) for part in (denoise, decode)
    )
    return one * config.model.colorize.num_steps + last
