"""Training losses, of arrays only."""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from colorjax.errors import one_of
from colorjax.maths import color
from colorjax.maths.schedule import split_moments
from colorjax.maths.types import Array, Image, Moments

ARTIFACT_WINDOW = 7
ARTIFACT_VARIANTS = ("paper", "released")


def _local_variance(values: Float[Array, "b H W 1"], unbiased: bool) -> Float[Array, "b H W 1"]:
    """The variance over the window around each pixel, edges mirrored."""
    reach = ARTIFACT_WINDOW // 2
    padded = jnp.pad(values, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="reflect")
    window = (1, ARTIFACT_WINDOW, ARTIFACT_WINDOW, 1)
    count = ARTIFACT_WINDOW**2

    def mean(values: Array) -> Array:
        total = jax.lax.reduce_window(values, 0.0, jax.lax.add, window, (1, 1, 1, 1), "VALID")
        return total / count

    # Two passes over shifted values would need the window's own mean; subtracting the picture's
    # mean first keeps E[v^2] - E[v]^2 from cancelling in float32.
    centred = padded - jax.lax.stop_gradient(padded.mean((1, 2, 3), keepdims=True))
    variance = jnp.maximum(mean(centred**2) - mean(centred) ** 2, 0.0)
    return variance * (count / (count - 1) if unbiased else 1.0)


def artifact_weights(
    target: Image, reconstruction: Image, variant: str = "paper"
) -> Float[Array, "b H W 1"]:
    """Weighs pixels by the artifacts around them: the local variance of the absolute error.

    "paper" is L-CAD Eq. 3, the biased variance over 7x7 windows; that the error is summed over
    the channels first is read off the released code. "released" multiplies the unbiased local
    variance by the fifth root of the whole picture's (over channels and pixels). The gradient
    flows through the weights in both.

    Raises:
        UserError: an unknown variant.
    """
    one_of("artifact_weights", variant, ARTIFACT_VARIANTS)
    error = jnp.abs(target - reconstruction).sum(axis=-1, keepdims=True)
    if variant == "paper":
        return _local_variance(error, unbiased=False)
    variance = jnp.var(error, axis=(1, 2, 3), ddof=1, keepdims=True)
    # An exact reconstruction has variance 0, where the root's gradient is infinite.
    root = jnp.where(variance > 0.0, variance, 1.0) ** 0.2 * (variance > 0.0)
    return root * _local_variance(error, unbiased=True)


def artifact_l1(target: Image, reconstruction: Image, variant: str = "paper") -> Float[Array, ""]:
    """Mean of |M (target - reconstruction)| with the artifact weights M (L-CAD section 3.2)."""
    weights = artifact_weights(target, reconstruction, variant)
    # The products come first, as released: the difference of two products rounds differently.
    return jnp.abs(weights * reconstruction - weights * target).mean()


def hinge(real: Float[Array, "b h w 1"], fake: Float[Array, "b h w 1"]) -> Float[Array, ""]:
    """The critic's hinge loss (Lim and Ye 2017), halved as in the reference."""
    return 0.5 * (jax.nn.relu(1.0 - real).mean() + jax.nn.relu(1.0 + fake).mean())


def adaptive_weight(
    reconstruction: Float[Array, "..."], adversarial: Float[Array, "..."]
) -> Float[Array, ""]:
    """Balances two losses by the norms of their gradients at the decoder's last kernel.

    VQGAN (Esser et al. 2021) Eq. 7, with the reference's constants; without gradient itself.
    """
    norm, norm_adversarial = (
        jnp.linalg.norm(jnp.ravel(gradient)) for gradient in (reconstruction, adversarial)
    )
    return jax.lax.stop_gradient(jnp.clip(norm / (norm_adversarial + 1e-4), 0.0, 1e4))


def shown_mse(target: Image, reconstruction: Image) -> Float[Array, ""]:
    """Mean squared error in sRGB's [0,1] of the reconstruction at the target's own lightness.

    What is left of an error when a photograph's lightness is put back: that of its chroma, in the
    unit that PSNR counts. Where a colour does not exist at its lightness the gradient takes the
    share of chroma that does for a constant.
    """
    truth, decoded = (jnp.clip(color.to_unit(side), 0.0, 1.0) for side in (target, reconstruction))
    shown = color.with_lightness(decoded, color.lightness(truth))
    return jnp.square(shown - truth).mean()


def chroma_mse(target: Image, reconstruction: Image) -> Float[Array, ""]:
    """Mean squared error of the difference from each pixel's own mean over the channels."""

    def chroma(image: Image) -> Image:
        return image - image.mean(axis=-1, keepdims=True)

    return ((chroma(target) - chroma(reconstruction)) ** 2).mean()


def kl_to_standard_normal(moments: Moments) -> Float[Array, "b"]:
    """The KL divergence of each picture's posterior from N(0, 1), summed over its latent."""
    mean, log_variance = split_moments(moments)
    terms = mean**2 + jnp.exp(log_variance) - 1.0 - log_variance
    return 0.5 * terms.sum(axis=(1, 2, 3))


def contrastive(logits: Float[Array, "b b"], same: Float[Array, "b b"]) -> Float[Array, ""]:
    """CLIP's symmetric cross-entropy; `same` marks pairs with equal captions, which share the mass.

    Short captions repeat within a batch; without sharing, a repeated caption would be pushed away
    from its own picture.
    """
    targets = same / same.sum(axis=1, keepdims=True)
    images = -(targets * jax.nn.log_softmax(logits, axis=1)).sum(axis=1).mean()
    texts = -(targets.T * jax.nn.log_softmax(logits.T, axis=1)).sum(axis=1).mean()
    return 0.5 * (images + texts)


def bradley_terry(
    scores: Float[Array, "b k"], scales: Float[Array, "b k"], best: Float[Array, " b"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Compares versions of a picture, whose chroma was scaled, in pairs.

    The loss is -log sigmoid(r_i - r_j) over the pairs where i is known to be better than j: both
    scales lie on one side of the best one, the best itself belongs to both, and i is nearer to it.
    Too pale and too vivid are never compared.

    Returns:
        The mean loss, and the share of the pairs that the scores order rightly.
    """
    # In the logarithm half and double the chroma are equally far from right.
    place = _log_scale(scales) - _log_scale(best)[:, None]
    one_side = place[:, :, None] * place[:, None, :] >= 0.0
    better = one_side & (jnp.abs(place)[:, :, None] < jnp.abs(place)[:, None, :])
    margins = scores[:, :, None] - scores[:, None, :]
    count = jnp.maximum(better.sum(), 1)
    # softplus(-m) is -log sigmoid(m) without the overflow.
    loss = jnp.where(better, jax.nn.softplus(-margins), 0.0).sum() / count
    return loss, (better & (margins > 0.0)).sum() / count


def soft_choice(
    scores: Float[Array, "b k"],
    scales: Float[Array, "b k"],
    best: Float[Array, " b"],
    width: float = 0.15,
) -> Float[Array, ""]:
    """The cross-entropy of the scores' softmax with softmax(-|ln s - ln best| / width)."""
    distance = jnp.abs(_log_scale(scales) - _log_scale(best)[:, None])
    targets = jax.nn.softmax(-distance / width, axis=1)
    return -(targets * jax.nn.log_softmax(scores, axis=1)).sum(axis=1).mean()


def _log_scale(scales: Float[Array, "..."]) -> Float[Array, "..."]:
    # Scale 0, a gray picture, is among the versions.
    return jnp.log(jnp.maximum(scales, 1e-3))
