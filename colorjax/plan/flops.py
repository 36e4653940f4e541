"""FLOPs of matrix products and convolutions of a traced program.

XLA's own count takes the body of a loop once, however often it runs.
"""

import math
from collections.abc import Iterator
from typing import Any

from jax.extend import core


def products(jaxpr: core.Jaxpr) -> float:
    """FLOPs of a program, loops as often as they run."""
    return _count(jaxpr, True)


def repeated(jaxpr: core.Jaxpr) -> float:
    """FLOPs that loops do after their first round."""
    return _count(jaxpr, True) - _count(jaxpr, False)


def _count(jaxpr: core.Jaxpr, rounds: bool) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        kind, options = equation.primitive.name, equation.params
        if kind == "dot_general":
            total += _dot(equation)
        elif kind == "conv_general_dilated":
            total += _convolution(equation)
        times = options["length"] if kind == "scan" and rounds else 1
        inner = [_count(inner, rounds) for inner in _inner(options)]
        # One branch of several runs: one of them for each platform, or the dearest at most.
        total += max(inner) if kind == "cond" else times * sum(inner)
    return total


def _inner(options: dict[str, Any]) -> Iterator[core.Jaxpr]:
    for value in options.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            if isinstance(one, core.ClosedJaxpr):
                yield one.jaxpr
            elif isinstance(one, core.Jaxpr):
                yield one


def _dot(equation: Any) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    # A multiplication and an addition for each output and each contracted place.
    return 2.0 * equation.outvars[0].aval.size * math.prod(left[i] for i in contracted)


def _convolution(equation: Any) -> float:
    """FLOPs of a convolution; a zero between rows, as in a stride's gradient, costs nothing."""
    kernel = equation.invars[1].aval
    outputs = kernel.shape[equation.params["dimension_numbers"].rhs_spec[0]]
    dilation = math.prod(equation.params["lhs_dilation"])
    return 2.0 * equation.outvars[0].aval.size * kernel.size / outputs / dilation
