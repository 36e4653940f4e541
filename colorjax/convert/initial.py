"""The methods before their training: Stable Diffusion, and what each needs beside it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from colorjax.convert import formats
from colorjax.convert.formats import Source
from colorjax.errors import UserError

UNUSED = ("conv_norm_out/", "conv_out/")
TOWER = "vision_model/"


def _stable_diffusion(path: Path) -> Source:
    """A folder of diffusers, or an original file."""
    return formats.FORMATS["diffusers" if path.is_dir() else "ldm"](path, ())


def lcad(paths: Sequence[Path]) -> Source:
    """Reads Stable Diffusion for L-CAD's training."""
    (path,) = paths
    return extend(_stable_diffusion(path))


def cold(paths: Sequence[Path]) -> Source:
    """Reads Stable Diffusion for Diffusing Colors' training, and CLIP's image tower for its ranker.

    Raises:
        UserError: there is no CLIP, or it has no image tower.
    """
    if len(paths) != 2:
        raise UserError(
            "--format=init-cold reads two: Stable Diffusion by the first --input, and CLIP, such "
            "as clip-vit-large-patch14, whose image tower the ranker needs, by a second --input"
        )
    source, clip = _stable_diffusion(paths[0]), formats.FORMATS["clip"](paths[1], ())
    tower = clip.parts.get("image_encoder", {})
    kept = {path: leaf for path, leaf in tower.items() if path.startswith(TOWER)}
    if not kept:
        raise UserError(f"'{paths[1]}' has no image tower of CLIP; give it by the second --input")
    # The projections belong to CLIP's own text tower, which may not be Stable Diffusion's.
    source.parts["image_encoder"] = kept
    source.keys |= {("image_encoder", path): clip.keys["image_encoder", path] for path in kept}
    source.unknown |= clip.unknown
    if "image_encoder" in clip.settings:
        source.settings["image_encoder"] = clip.settings["image_encoder"]
    return source


FORMATS: dict[str, Callable[[Sequence[Path]], Source]] = {"init-lcad": lcad, "init-cold": cold}
NEEDED = {
    "init-lcad": formats.NEEDED["lcad"],
    "init-cold": (*formats.NEEDED["diffusers"], "image_encoder"),
}


def extend(source: Source) -> Source:
    """Adds zero CEC kernels and a luminance encoder that starts as the VAE's (L-CAD 3.2, 3.3).

    Its 1x1 convolutions are zero, so that the decoder and the UNet start as they were.
    """
    unet, vae = source.parts.get("unet", {}), source.parts.get("vae", {})
    encoder = {}
    for path, leaf in vae.items():
        side, _, rest = path.partition("/")
        if side != "encoder" or rest.startswith(UNUSED):
            continue
        encoder[rest] = leaf
        if rest.endswith("conv2/bias"):
            width = leaf.shape[0]
            tap = rest.removesuffix("/conv2/bias").replace("/resnets_", "/zero_convs_")
            encoder[f"{tap}/kernel"] = np.zeros((1, 1, width, width), leaf.dtype)
            encoder[f"{tap}/bias"] = np.zeros(width, leaf.dtype)
    source.parts["luminance_encoder"] = encoder
    source.keys |= {("luminance_encoder", path): f"copy of encoder/{path}" for path in encoder}
    kernel = unet.get("conv_in/kernel")
    last = vae.get("encoder/mid_block/resnets_1/conv2/bias")
    if kernel is not None and last is not None:
        shape = (*kernel.shape[:2], last.shape[0], kernel.shape[-1])
        unet["cec_conv_in/kernel"] = np.zeros(shape, kernel.dtype)
        source.keys["unet", "cec_conv_in/kernel"] = "the CEC kernel"
    return source
