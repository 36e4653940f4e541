"""The programs of a sampling run that is made in pieces: pure functions, see `sampling`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Int

from colorjax.colorize.programs import Networks, ranked
from colorjax.inputs import Pictures
from colorjax.maths import integrators
from colorjax.maths.types import Array, Image, Latents, Params
from colorjax.methods.method import Walk


class State(NamedTuple):
    """A sampling run between two pieces; see `maths.integrators`."""

    course: Any
    carry: Any
    places: Int[Array, " b"]


def begin(networks: Networks, params: Params, pictures: Pictures) -> State:
    """What is computed before the first step."""
    method, model, options = networks[:3]
    course = method.begin(model, params, pictures, options)
    carry = method.integrator(model, params, course, options).start(course.start)
    return State(course, carry, jnp.zeros(len(course.start), jnp.int32))


def advance(
    networks: Networks, params: Params, state: State, count: int
) -> tuple[Any, Int[Array, " b"], Latents]:
    """Carry and places up to so many steps further, and where the run seems to end."""
    method, model, options = networks[:3]
    integrator = method.integrator(model, params, state.course, options)
    carry, places = integrators.advance(integrator, state.carry, state.places, count)
    before, after = integrator.latents(state.carry), integrator.latents(carry)
    ahead = integrators.extrapolated(integrator, before, after, state.places, places)
    return carry, places, ahead


def finish(networks: Networks, params: Params, course: Any, latents: Latents) -> Image:
    """The pictures of latents, as `PROGRAMS["colorize"]` has them."""
    method, model, options = networks[:3]
    return method.finish(model, params, course, latents, options)


def finish_ranked(networks: Networks, params: Params, course: Any, latents: Latents) -> Image:
    """The pictures of latents at the vividness that the ranker takes."""
    method, model = networks[:2]
    walked = Walk(latents, method.gray(model, params, course))
    _, _, chosen, raw = ranked(networks, params, walked, course.luminance)
    return raw[jnp.arange(len(latents)), chosen]


PIECES: dict[str, Callable[..., Any]] = {
    "begin": begin,
    "advance": advance,
    "finish": finish,
    "finish_ranked": finish_ranked,
}
