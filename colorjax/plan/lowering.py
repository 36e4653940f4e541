"""Programs of the real stages from shapes alone: no weights, no data, no device."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding
from ml_collections import ConfigDict

from colorjax import errors
from colorjax.devices import chips, sharding
from colorjax.errors import UserError
from colorjax.maths.types import Params
from colorjax.methods import diffusing_colors, lcad
from colorjax.methods.distances import init_lpips
from colorjax.plan import flops, sampling, unet_levels
from colorjax.plan.costs import Lowered
from colorjax.train import loop, optim
from colorjax.train.stages import STAGES, luminance
from colorjax.train.stages.stage import Stage, Weights

STARTED = ("cold_unet", "distilled_unet")


def mesh_of(topology: chips.Topology, config: ConfigDict) -> Mesh:
    """The mesh that training would make on a topology.

    Raises:
        UserError: the compiler knows no such topology.
    """
    more: dict[str, Any] = {"chips_per_host_bounds": [1, 1, 1]} if topology.size == 1 else {}
    if topology.name.startswith("v4:"):
        more["chip_config_name"] = "megacore"  # a chip's two cores as one device, as v4 hosts do
    try:
        described = topologies.get_topology_desc(topology.name, "tpu", **more)
    except Exception as error:  # libtpu has one type for all
        raise UserError(
            f"topology {topology.name!r} cannot be compiled for: {errors.first_line(error)}"
        ) from error
    mesh = config.mesh
    return sharding.make_mesh(mesh.data, mesh.fsdp, mesh.dcn, described.devices)


def stage_of(name: str, config: ConfigDict) -> Stage:
    """A stage whose weights are shapes: those of fresh parts, with no release to start from."""
    recipe = STAGES[name]
    built: list[Stage] = []

    def weights() -> tuple[Params, Params]:
        fresh = _fresh(config)
        names = (*recipe.needs, *recipe.may_use, luminance.LPIPS_PART)
        parts = {part: fresh[part] for part in names}
        # Only these stages cannot begin from nothing: what they train has learned something before.
        begun_from = ("vae",) if name == "decoder" else STARTED
        start = {role: fresh[role] for role in recipe.starts_from if role in begun_from}
        begun = Weights(parts, start, sizes={}, inputs={}, tokenize=_tokens(config))
        stage = recipe.build(config, config[name], begun, 1000)
        built.append(stage)  # its functions are good outside of the trace, its weights are not
        return stage.frozen, stage.start

    frozen, start = jax.eval_shape(weights)
    return built[0]._replace(frozen=frozen, start=start)


def _tokens(config: ConfigDict) -> Callable[[Sequence[str]], np.ndarray]:
    """A tokenizer's shapes."""
    length = config.model.text_encoder.max_position_embeddings
    return lambda texts: np.zeros((len(texts), length), np.int32)


def _fresh(config: ConfigDict) -> Params:
    """Random weights of every part of the configuration's method."""
    sizes, dtype, key = config.model.to_dict(), jnp.dtype(config.dtype), jax.random.key(0)
    fresh = lcad.init(lcad.build(sizes, dtype), key)
    fresh[luminance.LPIPS_PART] = init_lpips("vgg16", key)
    if config.method == "diffusing_colors":
        model = diffusing_colors.build(sizes, dtype)
        tower = diffusing_colors.init_ranker(model, key)["vision_model"]
        fresh |= {part: diffusing_colors.init_unet(model, key) for part in STARTED}
        fresh |= {"image_encoder": {"vision_model": tower}}
    return fresh


def lower(
    config: ConfigDict, topology: chips.Topology, what: str, per_chip: int, *, masks: bool = False
) -> Lowered:
    """A program of a configuration for a topology, `per_chip` pictures on each of its chips.

    Args:
        what: a stage, for its training step; "unet", for the latent stage's step of that network
            without the others; or "sampler", for the configured method's colorization.
        masks: whether the sampler is instance-aware.
    """
    mesh = mesh_of(topology, config)
    if what == "sampler":
        return sampling.sampler(config, mesh, per_chip, masks=masks)
    return training(config, mesh, what, per_chip)


def training(config: ConfigDict, mesh: Mesh, what: str, per_chip: int) -> Lowered:
    """The step of the stage `what` on a mesh, or with "unet" the latent stage's of that alone."""
    sharding.check_rules(config.sharding_rules)
    rows = NamedSharding(mesh, sharding.BATCH)
    options = config.latent if what == "unet" else config[what]
    stage = _stage(what, config)
    programs = loop.programs(stage, options, config, mesh)
    frozen = _narrowed(stage.frozen, config)
    rules = config.sharding_rules
    where = sharding.tree_shardings({"frozen": frozen}, mesh, rules)["frozen"]
    state, frozen = placed(programs.abstract, programs.shardings), placed(frozen, where)
    # Before the mesh is set: what its shapes come from would be run on the described devices.
    batch = _batch(what, config, per_chip * mesh.size, rows)
    with jax.set_mesh(mesh):
        traced = programs.step.trace(state, frozen, batch)
        program = traced.lower()
    return Lowered(
        what,
        per_chip,
        program,
        flops=_step_flops(what, config) * per_chip,
        repeated=flops.repeated(traced.jaxpr.jaxpr) / mesh.size,
        inputs=(state, frozen),
    )


def placed(tree: Any, shardings: Any) -> Any:
    """The shapes of a tree, each with the sharding at its place in another."""
    return jax.tree.map(
        lambda leaf, to: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=to), tree, shardings
    )


def _stage(what: str, config: ConfigDict) -> Stage:
    return unet_levels.stage(config, config.latent) if what == "unet" else stage_of(what, config)


def _narrowed(frozen: Any, config: ConfigDict) -> Any:
    """Shapes of frozen weights in the type that training keeps them in."""
    return jax.eval_shape(lambda tree: optim.narrowed(tree, config.dtype), frozen)


def _step_flops(what: str, config: ConfigDict) -> float:
    """FLOPs of a step for one picture.

    Without remat and without parts, so that nothing is computed twice; the optimizer's update has
    no products, so it does not matter that a batch would share it.
    """
    config = config.copy_and_resolve_references()
    config.remat = "none"
    config["latent" if what == "unet" else what].accumulate = 1
    stage, key = _stage(what, config), jax.random.key(0)
    state = jax.eval_shape(stage.init, key, stage.start)
    batch = _batch(what, config, 1)
    traced = jax.jit(stage.step).trace(state, _narrowed(stage.frozen, config), batch, key)
    return flops.products(traced.jaxpr.jaxpr)


def _batch(
    what: str, config: ConfigDict, count: int, to: NamedSharding | None = None
) -> dict[str, Any]:
    """Shapes of a batch as the step of `what` takes it."""
    if what == "unet":
        return unet_levels.batch(config, count, to)
    size, length = config.model.image_size, config.model.text_encoder.max_position_embeddings
    return {
        "image": jax.ShapeDtypeStruct((count, size, size, 3), np.uint8, sharding=to),
        "input_ids": jax.ShapeDtypeStruct((count, length), np.int32, sharding=to),
    }
