"""Trajectory distillation: cold diffusion's walk in one evaluation, learned from the walk itself.

Symbols are those of `colorjax.maths.cold_diffusion`. The walk of a teacher r follows
dz/dt = -r(z, t) from the source s at t = 1 down to t = 0, where it ends in full colour. It is

    z(t) = s + integral of r(z(u), u) du over (t, 1) = s + (1 - t) R(s, t),

where R(s, t) is the mean of r over the way from 1 to t. A student that knows R ends the walk at
once, z(0) = s + R(s, 0). For a time t' = t - D the integral has one piece more,

    (1 - t') R(s, t') = (1 - t) R(s, t) + integral of r(z(u), u) du over (t', t),

and the midpoint rule makes that piece D r(z(t) + D/2 r(z(t), t), t - D/2) up to a D^3-th part. With
the student's own R(s, t) in z(t) this is a target for its R(s, t'): each time learns from the one
before, and t = 1, where no way lies behind, from the teacher, R(s, 1) = r(s, 1). Nothing is walked
in training, and no pairs of beginnings and ends are stored.

R(s, t) for t above 0 is of use too. r(s, 1) is an average over all colours that the picture might
have, near to the truth in the mean and pale, and R(s, 0) leads to one of them; s + R(s, t) lies
between, with the mean slope of the way so far taken for the whole way. That a one-step model can
trade fidelity for colour by such a time is the idea of OFTSR (ICLR 2026); the equations are ours.
"""

from collections.abc import Callable

import jax
from jaxtyping import Float

from colorjax.maths.cold_diffusion import Times, per_picture
from colorjax.maths.types import Array, Latents

Residual = Callable[[Latents, Times], Latents]


def target(
    student: Residual,
    teacher: Residual,
    source: Latents,
    t: Times,
    size: Float[Array, ""] | float,
) -> tuple[Latents, Times]:
    """What the student is to say for the time t' = t - D, and t' itself; without a gradient.

    Args:
        student: (s, t) -> R, the mean of the teacher's residual from 1 to t.
        teacher: (z_t, t) -> r, the full residual, guided or not.
        source: s, the gray latents with their noise.
        t: in [D, 1].
        size: D.
    """
    way = per_picture(1.0 - t) * student(source, t)
    z_t = source + way
    middle = z_t + 0.5 * size * teacher(z_t, t)
    way = way + size * teacher(middle, t - 0.5 * size)
    later = t - size
    return jax.lax.stop_gradient(way / per_picture(1.0 - later)), later
