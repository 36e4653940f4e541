"""The configured method's colorization, from shapes alone: what its release would run."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from ml_collections import ConfigDict

from colorjax import errors
from colorjax.devices import replicas, sharding
from colorjax.maths.color import luminance_from_lightness
from colorjax.methods import diffusing_colors, lcad
from colorjax.plan import flops
from colorjax.plan.costs import Lowered
from colorjax.types import Image, Params, PRNGKey

PHRASES = 8  # places for phrases in a batch, where sampling is instance-aware


class Sampler(NamedTuple):
    """A method's colorization with the settings of a configuration."""

    init: Callable[[PRNGKey], Params]  # the parts that it reads
    run: Callable[[Params, dict[str, Any]], Image]  # of a batch as `batch_shapes` has it


def sampler(config: ConfigDict, mesh: Mesh, per_chip: int) -> Lowered:
    """Colorization of `per_chip` pictures of the model's size on each device of a mesh.

    Weights are whole on every device, in the compute type; prompts and pictures are split.

    Raises:
        UserError: the configuration's method, or a setting of it, does not exist.
    """
    rows, everywhere = NamedSharding(mesh, sharding.BATCH), sharding.replicated(mesh)
    method = of_config(config)

    def narrow(key: PRNGKey) -> Params:
        return jax.tree.map(lambda leaf: leaf.astype(config.dtype), method.init(key))

    def shape(leaf: Any, to: NamedSharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=to)

    params = jax.tree.map(
        lambda leaf: shape(leaf, everywhere), jax.eval_shape(narrow, jax.random.key(0))
    )
    batch = batch_shapes(config, per_chip * mesh.size)
    batch = jax.tree.map(lambda leaf: shape(leaf, rows), batch)
    # As a colorizer does on several devices: each runs the program of one device on its pictures.
    spread = replicas.Spread(method.run, mesh, batched=(False, True)).jitted
    traced = spread.trace(params, batch)
    of_device = traced.jaxpr.jaxpr
    return Lowered(
        "sampler",
        per_chip,
        traced.lower(),
        # Nothing is computed twice without a backward pass: the trace is the mathematics.
        flops=flops.products(of_device),
        repeated=flops.repeated(of_device),
    )


def of_config(config: ConfigDict) -> Sampler:
    """The sampler of the configuration's method.

    Raises:
        UserError: the configuration's method, or a setting of it, does not exist.
    """
    methods = {"lcad": _lcad, "diffusing_colors": _diffusing_colors}
    errors.one_of("method", config.method, methods)
    return methods[config.method](config)


def batch_shapes(config: ConfigDict, count: int) -> dict[str, Any]:
    """Shapes of what a colorizer hands to its program for so many pictures."""
    size, length = config.model.image_size, config.model.text_encoder.max_position_embeddings
    shapes: dict[str, Any] = {
        "lightness": jax.ShapeDtypeStruct((count, size, size, 1), jnp.float32),
        "input_ids": jax.ShapeDtypeStruct((count, length), jnp.int32),
        "uncond_input_ids": jax.ShapeDtypeStruct((count, length), jnp.int32),
        "seeds": jax.ShapeDtypeStruct((count,), jnp.uint32),
    }
    if config.method == "lcad" and config.model.colorize.instance_aware:
        shapes["spans"] = jax.ShapeDtypeStruct((count, PHRASES, length), jnp.bool_)
    return shapes


def _lcad(config: ConfigDict) -> Sampler:
    model = lcad.build(config.model.to_dict(), jnp.dtype(config.dtype))
    section = config.model.colorize
    options = lcad.Options(**_chosen(section, lcad.Options._fields))
    lcad.check(model, options)

    def run(params: Params, batch: dict[str, Any]) -> Image:
        inputs = lcad.Inputs(
            luminance_from_lightness(batch["lightness"]),
            batch["input_ids"],
            batch["uncond_input_ids"],
            section.guidance_scale,
            keys=_keys(batch["seeds"]),
            temperature=section.temperature,
            spans=batch.get("spans"),
        )
        return lcad.colorize(model, params, inputs, options)

    return Sampler(lambda key: lcad.init(model, key), run)


def _diffusing_colors(config: ConfigDict) -> Sampler:
    sizes, dtype = config.model.to_dict(), jnp.dtype(config.dtype)
    model, shared = diffusing_colors.build(sizes, dtype), lcad.build(sizes, dtype)
    section = config.model.cold_colorize
    options = diffusing_colors.Options(**_chosen(section, diffusing_colors.Options._fields))
    diffusing_colors.check(model, options)

    def init(key: PRNGKey) -> Params:
        fresh = lcad.init(shared, key)
        parts = ["text_encoder", "vae"]
        parts += ["luminance_encoder"] * (model.cold.decoder == "guided")
        unet = diffusing_colors.init_unet(model, key)
        return {part: fresh[part] for part in parts} | {"cold_unet": unet}

    def run(params: Params, batch: dict[str, Any]) -> Image:
        inputs = diffusing_colors.Inputs(
            luminance_from_lightness(batch["lightness"]),
            batch["input_ids"],
            # A scale of 1 is no guidance, and half the work.
            batch["uncond_input_ids"] if section.guidance_scale != 1.0 else None,
            section.guidance_scale,
            section.vividness,
            keys=_keys(batch["seeds"]),
        )
        return diffusing_colors.colorize(model, params, inputs, options)

    return Sampler(init, run)


def _chosen(section: ConfigDict, fields: tuple[str, ...]) -> dict[str, Any]:
    """The settings of a configuration's section that are options: a change compiles anew."""
    return {name: section[name] for name in fields if name in section}


def _keys(seeds: Any) -> Any:
    return jax.vmap(lambda bits: jax.random.fold_in(jax.random.key(0), bits))(seeds)
