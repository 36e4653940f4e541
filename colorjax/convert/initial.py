"""L-CAD before its training: Stable Diffusion with extensions that are zero."""

import numpy as np

from colorjax.convert.formats import Source

UNUSED = ("conv_norm_out/", "conv_out/")


def extend(source: Source) -> Source:
    """Adds zero CEC kernels and a luminance encoder that starts as the VAE's (L-CAD 3.1, 3.2).

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
