"""The measures by name: what each is called, what is better, and how pictures' values become one.

`STATISTICS` are of values that every picture has, so that they can be resampled; `DISTANCES` are
of whole sets.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Scores = Mapping[str, Float[np.ndarray, " n"]]  # of each picture, by name
Statistic = Callable[[Float[np.ndarray, "*r n"]], Float[np.ndarray, "*r"]]
PSNR_CAP = 60.0  # dB, as for a single picture: the truth's own is infinite, which JSON cannot say


class Measure(NamedTuple):
    """One column of the table."""

    name: str
    heading: str
    decimals: int
    best: str  # "high", "low", or "" where the truth's own value is what to come near to
    of: str = ""  # the pictures' values that it is made of; "" for a distance of sets
    about: str = ""


def _mean(values: Float[np.ndarray, "*r n"]) -> Float[np.ndarray, "*r"]:
    return np.asarray(np.nanmean(values, axis=-1))


def _pooled(values: Float[np.ndarray, "*r n"]) -> Float[np.ndarray, "*r"]:
    with np.errstate(divide="ignore"):
        return np.asarray(np.minimum(PSNR_CAP, -10.0 * np.log10(values.mean(axis=-1))))


def _size_of_mean(values: Float[np.ndarray, "*r n"]) -> Float[np.ndarray, "*r"]:
    return np.asarray(np.abs(values.mean(axis=-1)))


def _mean_size(values: Float[np.ndarray, "*r n"]) -> Float[np.ndarray, "*r"]:
    return np.asarray(np.abs(values).mean(axis=-1))


STATISTICS: dict[Measure, Statistic] = {
    Measure("psnr_pooled", "PSNR pooled", 2, "high", "mse", "dB, of the error over all"): _pooled,
    Measure("psnr_per_image", "PSNR per image", 2, "high", "psnr", "dB, at most 60"): _mean,
    Measure("ssim", "SSIM", 4, "high", "ssim", "7x7 uniform, data range 255"): _mean,
    Measure("ssim_225", "SSIM CT2", 4, "high", "ssim_225", "data range 225, as CT2's code"): _mean,
    Measure("lpips", "LPIPS (VGG)", 4, "low", "lpips", "version 0.1"): _mean,
    Measure("lpips_alex", "LPIPS (Alex)", 4, "low", "lpips_alex", "version 0.1"): _mean,
    Measure("chroma_error", "ab error", 2, "low", "chroma_error", "mean distance in ab"): _mean,
    Measure("ciede2000", "CIEDE2000", 2, "low", "ciede2000", "mean over pixels"): _mean,
    Measure(
        "ciede2000_95", "CIEDE2000 95 %", 2, "low", "ciede2000_95", "a picture's 95th percentile"
    ): _mean,
    Measure(
        "colourfulness", "colourfulness", 2, "", "colourfulness", "Hasler and Suesstrunk"
    ): _mean,
    Measure(
        "delta_colourfulness",
        "dCF of means",
        2,
        "low",
        "colourfulness_difference",
        "|mean - truth's mean|: DDColor, MultiColor, CT2, L-CAD",
    ): _size_of_mean,
    Measure(
        "delta_colourfulness_per_image",
        "dCF per image",
        2,
        "low",
        "colourfulness_difference",
        "mean |own - truth's|: VVFM-Color",
    ): _mean_size,
    Measure("obedience", "obedience", 3, "high", "obedience", "colour words that are shown"): _mean,
    Measure("cdr", "CDR", 3, "high", "cdr", "colour differences kept across borders"): _mean,
    Measure("clip_score", "CLIP score", 2, "high", "clip_score", "100 cos"): _mean,
}
DISTANCES = (
    Measure("frechet_vgg16", "Frechet VGG16", 2, "low", about="of relu5_3's means; no FID"),
    Measure("kid_vgg16", "KID VGG16 x1000", 2, "low", about="of the same features; no KID"),
    Measure("fid", "FID", 2, "low", about="pytorch-fid's Inception"),
    Measure("kid", "KID x1000", 2, "low", about="pytorch-fid's Inception"),
)
MEASURES = (*STATISTICS, *DISTANCES)
BY_NAME = {measure.name: measure for measure in MEASURES}


def statistic(measure: Measure) -> Statistic:
    """How pictures' values become one figure, over the last axis."""
    return STATISTICS[measure]


def figures(scores: Scores) -> dict[str, float | int]:
    """Every statistic that there are values for; one that no picture has is left out."""
    known = {
        measure: scores[measure.of]
        for measure in STATISTICS
        if measure.of in scores and not np.isnan(scores[measure.of]).all()
    }
    return {measure.name: float(STATISTICS[measure](values)) for measure, values in known.items()}
