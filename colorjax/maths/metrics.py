"""How close two sets of images are, and how colourful one is: mathematics without networks.

Images are sRGB in [0,1], `[b,h,w,3]`, and every value is one per image. Averages over a set,
where padded images weigh 0, are the caller's, except for the pooled PSNR and the differences of
colourfulness, which are no averages of per-image values.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from colorjax.maths import color
from colorjax.maths.types import Array

_PSNR_CAP = 60.0  # dB, an error of 0.001 of the range: finer than bytes can show
_SSIM_WINDOW = 7
# CT2 (Weng et al. 2022) measures bytes with `data_range=225`, a slip for 255 that is in its tables.
CT2_DATA_RANGE = 225.0 / 255.0


def mse(image: Float[Array, "b h w c"], target: Float[Array, "b h w c"]) -> Float[Array, " b"]:
    """Mean squared error of each image over its pixels and channels."""
    return jnp.mean(jnp.square(image - target), axis=(1, 2, 3))


def psnr_pooled(
    mse_values: Float[Array, " n"], weights: Float[Array, " n"] | None = None
) -> Float[Array, ""]:
    """PSNR in dB of the mean squared error pooled over a set: what L-CAD's tables report.

    By Jensen's inequality never above the mean of `psnr_per_image` (uncapped). `weights`: 0 for
    padding; all 1 by default. Infinite for a perfect set, NaN for an empty one.
    """
    return -10.0 * jnp.log10(jnp.average(mse_values, weights=weights))


def psnr_per_image(mse_values: Float[Array, " n"]) -> Float[Array, " n"]:
    """PSNR in dB of each image, capped at 60 dB so that one perfect image cannot rule a mean."""
    floor = 10.0 ** (-_PSNR_CAP / 10.0)
    return jnp.minimum(-10.0 * jnp.log10(jnp.maximum(mse_values, floor)), _PSNR_CAP)


def _window_mean(image: Float[Array, "b h w c"]) -> Float[Array, "b p q c"]:
    window = (1, _SSIM_WINDOW, _SSIM_WINDOW, 1)
    total = jax.lax.reduce_window(image, 0.0, jax.lax.add, window, (1, 1, 1, 1), "VALID")
    return total / _SSIM_WINDOW**2


def ssim(
    image: Float[Array, "b h w c"], target: Float[Array, "b h w c"], data_range: float = 1.0
) -> Float[Array, " b"]:
    """Structural similarity (Wang et al. 2004) of each image, in [-1,1].

    As scikit-image's `structural_similarity(channel_axis=-1)`: a uniform 7x7 window inside the
    picture, the unbiased covariance (n - 1), the mean over windows and channels. Not the 11x11
    Gaussian window of the paper. Sides below 7 raise `ValueError`.

    Args:
        data_range: of the images' values, which scales the two constants; `CT2_DATA_RANGE` is what
            CT2's evaluation takes, and with it every table that was made by its code.
    """
    if min(image.shape[1:3]) < _SSIM_WINDOW:
        raise ValueError(
            f"SSIM needs images of at least {_SSIM_WINDOW} x {_SSIM_WINDOW}, got {image.shape}."
        )
    # Variance does not change with an offset, and differences of squares around the mean keep
    # more of float32's digits than around 0.
    offset = jnp.mean(target, axis=(1, 2), keepdims=True)
    x, y = image - offset, target - offset
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    unbiased = _SSIM_WINDOW**2 / (_SSIM_WINDOW**2 - 1.0)
    variance_x = unbiased * (_window_mean(x * x) - mean_x * mean_x)
    variance_y = unbiased * (_window_mean(y * y) - mean_y * mean_y)
    covariance = unbiased * (_window_mean(x * y) - mean_x * mean_y)
    mean_x, mean_y = mean_x + offset, mean_y + offset
    c_1, c_2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    similarity = (2.0 * mean_x * mean_y + c_1) * (2.0 * covariance + c_2)
    similarity /= (mean_x**2 + mean_y**2 + c_1) * (variance_x + variance_y + c_2)
    return jnp.mean(similarity, axis=(1, 2, 3))


def colourfulness(image: Float[Array, "b h w 3"]) -> Float[Array, " b"]:
    """How colourful each image is: 0 is gray, 15 slightly, 109 extremely colourful.

    Hasler and Suesstrunk (2003), eq. 9: with R, G, B on 0..255, rg = R - G and yb = (R + G)/2 - B,
    it is sqrt(var rg + var yb) + 0.3 sqrt(mean^2 rg + mean^2 yb) with the population variance. The
    gradient at a gray image is not defined (square roots at 0).
    """
    red, green, blue = (255.0 * image[..., channel] for channel in range(3))
    opponents = jnp.stack((red - green, (red + green) / 2.0 - blue))
    spread = jnp.sqrt(jnp.sum(jnp.var(opponents, axis=(2, 3)), axis=0))
    offset = jnp.sqrt(jnp.sum(jnp.square(jnp.mean(opponents, axis=(2, 3))), axis=0))
    return spread + 0.3 * offset


def chroma_error(
    image: Float[Array, "b h w 3"], truth: Float[Array, "b h w 3"]
) -> Float[Array, " b"]:
    """Mean distance of two sRGB images' pixels in the ab plane of CIE Lab, in its units.

    Unlike a squared error of sRGB it does not count what lightness would hide.
    """
    first, second = (color.srgb_to_lab(side)[..., 1:] for side in (image, truth))
    return jnp.sqrt(jnp.sum(jnp.square(first - second), axis=-1)).mean(axis=(1, 2))


def delta_colourfulness_of_means(
    colourfulness: Float[Array, " n"], of_truth: Float[Array, " n"]
) -> Float[Array, ""]:
    """|mean of the set - mean of the truth|: Delta CF of CT2, DDColor and MultiColor.

    Pictures that are too gray and pictures that are too colourful cancel out.
    """
    return jnp.abs(jnp.mean(colourfulness) - jnp.mean(of_truth))


def delta_colourfulness_per_image(
    colourfulness: Float[Array, " n"], of_truth: Float[Array, " n"]
) -> Float[Array, ""]:
    """Mean of each picture's |own - truth's|: Delta CF of VVFM-Color. Never below the other one."""
    return jnp.mean(jnp.abs(colourfulness - of_truth))


def clip_score(image: Float[Array, "n p"], text: Float[Array, "n p"]) -> Float[Array, " n"]:
    """100 max(cos, 0) of CLIP's projected embeddings of pictures and their captions.

    Hessel et al. (2021) multiply by 2.5 and not by 100; 100 is torchmetrics' scale.
    Figures of different CLIP models cannot be compared.
    """
    lengths = jnp.linalg.norm(image, axis=-1) * jnp.linalg.norm(text, axis=-1)
    return 100.0 * jnp.maximum(jnp.sum(image * text, axis=-1) / lengths, 0.0)
