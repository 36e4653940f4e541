"""The configured method's colorization, from shapes alone: what its release would run."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from ml_collections import ConfigDict

from colorjax.devices import replicas
from colorjax.maths.types import Image, Params, PRNGKey
from colorjax.methods import registry
from colorjax.methods.method import Method, Pictures, Value
from colorjax.plan import flops
from colorjax.plan.costs import Lowered

PHRASES = 8  # places for phrases in a batch, where sampling is instance-aware


def sampler(config: ConfigDict, mesh: Mesh, per_chip: int, *, masks: bool = False) -> Lowered:
    """Colorization of `per_chip` pictures of the model's size on each device of a mesh.

    Weights are whole on every device, in the compute type; prompts and pictures are split. With
    `masks` it is instance-aware, by masks that attention makes.

    Raises:
        UserError: the configuration's method, or a setting of it, does not exist.
    """
    method, sizes = registry.find(config.method), config.model.to_dict()
    model = method.build(sizes, jnp.dtype(config.dtype))
    values = method.resolve(sizes, {})
    method.validate(model, values)
    options = method.static(values)

    def narrow(key: PRNGKey) -> Params:
        narrowed: Params = jax.tree.map(
            lambda leaf: leaf.astype(config.dtype), method.init(model, key)
        )
        return narrowed

    def run(params: Params, pictures: Pictures) -> Image:
        return method.colorize(model, params, pictures, options)

    pictures = picture_shapes(config, method, values, per_chip * mesh.size, masks)
    specs = jax.tree.map(lambda leaf: replicas.CUT if leaf.ndim else replicas.WHOLE, pictures)
    params = jax.eval_shape(narrow, jax.random.key(0))
    params = jax.tree.map(lambda leaf: _placed(leaf, mesh, replicas.WHOLE), params)
    pictures = jax.tree.map(lambda leaf, spec: _placed(leaf, mesh, spec), pictures, specs)
    # As a colorizer does on several devices: each runs the program of one device on its pictures.
    traced = replicas.program(run, mesh, replicas.WHOLE, specs).trace(params, pictures)
    of_device = traced.jaxpr.jaxpr
    return Lowered(
        "sampler",
        per_chip,
        traced.lower(),
        # Nothing is computed twice without a backward pass: the trace is the mathematics.
        flops=flops.products(of_device),
        repeated=flops.repeated(of_device),
    )


def picture_shapes(
    config: ConfigDict,
    method: Method[Any, Any],
    values: dict[str, Value],
    count: int,
    masks: bool = False,
) -> Pictures:
    """Shapes of what a colorizer hands to the method's program for so many pictures."""
    size, length = config.model.image_size, config.model.text_encoder.max_position_embeddings

    def number(name: str) -> Any:
        return None if method.traced(name, values) is None else _shape(jnp.float32)

    guided = method.traced("guidance_scale", values) is not None
    return Pictures(
        lightness=_shape(jnp.float32, count, size, size, 1),
        input_ids=_shape(jnp.int32, count, length),
        seed=_shape(jnp.uint32, count),
        spans=_shape(jnp.bool_, count, PHRASES, length) if masks else None,
        uncond_input_ids=_shape(jnp.int32, count, length) if guided else None,
        guidance_scale=number("guidance_scale"),
        temperature=number("temperature"),
        vividness=number("vividness"),
        fidelity=number("fidelity"),
    )


def _shape(kind: Any, *sizes: int) -> Any:
    return jax.ShapeDtypeStruct(sizes, kind)


def _placed(leaf: Any, mesh: Mesh, spec: Any) -> Any:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec))
