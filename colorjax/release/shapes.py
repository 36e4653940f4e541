"""The shapes of a model's parameters, worked out once for a configuration and kept.

They say whether weights are a model's own. Working them out traces the initialisation of every
network, which takes longer than reading the weights and colouring a photograph.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from colorjax import files
from colorjax.errors import UserError
from colorjax.maths.types import Params

_DAMAGED = (AttributeError, TypeError, ValueError)


def kept(name: str, config: Mapping[str, Any], init: Callable[[Any], Params]) -> Params:
    """What `init` of a key would return, as `jax.ShapeDtypeStruct`s.

    Args:
        name: of the function, which tells it from others of the same configuration.
        config: all that the shapes depend on, beside the code and the libraries.
        init: is only traced, and only where nobody has asked for the same before.
    """
    versions = [metadata.version(library) for library in ("flax", "jax")]
    deciding = [name, config, files.own_digest(), versions, jax.config.values["jax_enable_x64"]]
    digest = hashlib.sha256(json.dumps(deciding, sort_keys=True, default=str).encode())
    try:
        path = files.cache_folder("shapes", f"{digest.hexdigest()[:32]}.json")
    except RuntimeError:  # no home
        return _traced(init)
    if path.is_file():
        with contextlib.suppress(UserError, *_DAMAGED):  # and made anew
            leaves = files.read_json(path, advice="it is made anew")
            flat = {key: jax.ShapeDtypeStruct(*leaf) for key, leaf in leaves.items()}
            if flat:
                return unflatten_dict(flat, sep="/")
    shapes = _traced(init)
    leaves = {k: [v.shape, str(v.dtype)] for k, v in flatten_dict(shapes, sep="/").items()}
    with contextlib.suppress(UserError):  # a full disk, or another's folder
        files.write_text(path, json.dumps(leaves))
    return shapes


def _traced(init: Callable[[Any], Params]) -> Params:
    shapes: Params = jax.eval_shape(init, jax.random.key(0))
    return shapes
