"""The rows of the reproduction: what is measured, under which name, and what the papers say."""

from typing import NamedTuple

import numpy as np

from benchmarks.reproduction import trained
from benchmarks.reproduction.baselines import (
    Averaged,
    Constant,
    Make,
    SDEdit,
    text_to_image_release,
)
from colorjax.evaluate.measuring import mean_chroma
from colorjax.evaluate.pictures import Selection

COLD = "diffusing_colors"
WALK = 4  # steps of cold diffusion, where a row says nothing else


class Row(NamedTuple):
    """A painter and the captions that it is told."""

    name: str  # of the file, and what the command takes
    title: str
    make: Make
    captions: str = "complete"
    curve: str = ""  # which lines of the frontier it is a point of, with | between


def _lcad(name: str, title: str, curve: str = "", captions: str = "complete", **settings) -> Row:
    masks = settings.pop("masks", False)
    return Row(
        name,
        title,
        lambda place: place.model(title, "lcad", masks=masks, **settings),
        captions,
        curve,
    )


def _cold(name: str, title: str, curve: str = "", captions: str = "complete", **settings) -> Row:
    masks = settings.pop("masks", False)
    settings.setdefault("num_steps", WALK)
    return Row(
        name,
        title,
        lambda place: place.model(title, COLD, masks=masks, **settings),
        captions,
        curve,
    )


BASELINES = (
    Row("gray", "gray", lambda place: Constant("gray", np.zeros(2, np.float32))),
    Row(
        "mean_chroma",
        "mean chroma of the training set",
        lambda place: Constant("mean chroma", mean_chroma(Selection(place.data, "test"))[1]),
    ),
    Row(
        "text_to_image",
        "text to image, lightness put back",
        lambda place: place.text_to_image("text to image"),
    ),
    Row(
        "sdedit_50",
        "SDEdit of the gray picture, strength 0.5",
        lambda place: SDEdit(text_to_image_release(place.folder / "text_to_image"), 0.5, 20, 2.0),
    ),
    Row(
        "sdedit_80",
        "SDEdit of the gray picture, strength 0.8",
        lambda place: SDEdit(text_to_image_release(place.folder / "text_to_image"), 0.8, 20, 2.0),
    ),
)
LCAD = (
    _lcad("lcad", "L-CAD", "L-CAD, temperature|L-CAD, guidance"),
    _lcad("lcad_scarce", "L-CAD, scarce captions", captions="scarce"),
    _lcad("lcad_plain_decoder", "L-CAD without the luminance-guided decoder", decoder="plain"),
    Row(
        "lcad_no_slr",
        "L-CAD without luminance in the UNet (no SLR)",
        lambda place: place.text_to_image("no SLR", decoder="guided"),
    ),
    _lcad("lcad_masks", "L-CAD, instance-aware by its own attention", masks=True),
    _lcad("lcad_guidance_1", "L-CAD, guidance 1", "L-CAD, guidance", guidance_scale=1.0),
    _lcad("lcad_guidance_4", "L-CAD, guidance 4", "L-CAD, guidance", guidance_scale=4.0),
    _lcad("lcad_temperature_0", "L-CAD, temperature 0", "L-CAD, temperature", temperature=0.0),
    _lcad("lcad_temperature_1", "L-CAD, temperature 1", "L-CAD, temperature", temperature=1.0),
    Row(
        "lcad_mean_of_4",
        "L-CAD, mean of 4 samples",
        lambda place: Averaged(place.model("L-CAD", "lcad"), 4),
        curve="L-CAD, averaged samples",
    ),
    _lcad("lcad_vividness_06", "L-CAD, vividness 0.6", "L-CAD, vividness", vividness=0.6),
    _lcad("lcad_dpm", "L-CAD, DPM-Solver++", sampler="dpmpp_2m"),
    _lcad("lcad_unipc", "L-CAD, UniPC", sampler="unipc"),
)
TRAINED = (
    *(
        Row(
            f"trained_{kind}",
            trained.KINDS[kind].title,
            lambda place, kind=kind: trained.Trained(kind, place.data, place.folder / "trained"),
        )
        for kind in trained.KINDS
    ),
    *(
        Row(
            f"trained_{kind}_scarce",
            f"{trained.KINDS[kind].title}, scarce captions",
            lambda place, kind=kind: trained.Trained(kind, place.data, place.folder / "trained"),
            "scarce",
        )
        for kind in trained.KINDS
    ),
)
# One step from the gray latent without noise and guidance is a regression: what the cold UNet
# says at t = 1, where its loss makes it the mean residual.
MEAN = dict(num_steps=1, temperature=0.0, guidance_scale=1.0)
COLD_ROWS = (
    _cold("regression", "regression: the cold UNet's first estimate", "cold, steps", **MEAN),
    _cold(
        "regression_scarce",
        "regression, scarce captions",
        captions="scarce",
        **MEAN,
    ),
    _cold("cold", "Diffusing Colors", "cold, vividness|cold, steps"),
    _cold("cold_scarce", "Diffusing Colors, scarce captions", captions="scarce"),
    _cold("cold_distilled", "Diffusing Colors, distilled", "cold, steps", num_steps="distilled"),
    _cold("cold_1_step", "Diffusing Colors, 1 step", "cold, steps", num_steps=1),
    _cold("cold_20_steps", "Diffusing Colors, 20 steps", "cold, steps", num_steps=20),
    _cold("cold_guidance_2", "Diffusing Colors, guidance 2", guidance_scale=2.0),
    _cold("cold_vividness_06", "Diffusing Colors, vividness 0.6", "cold, vividness", vividness=0.6),
    _cold("cold_vividness_14", "Diffusing Colors, vividness 1.4", "cold, vividness", vividness=1.4),
    _cold("cold_ranker", "Diffusing Colors, vividness by the ranker", vividness="auto"),
    _cold("cold_guided_decoder", "Diffusing Colors, L-CAD's guided decoder", decoder="guided"),
    _cold("cold_masks", "Diffusing Colors, instance-aware", masks=True),
    _cold(
        "combination",
        "the combination: cold residual, guided decoder, masks, ranker",
        decoder="guided",
        masks=True,
        vividness="auto",
    ),
    _cold(
        "combination_scarce",
        "the combination, scarce captions",
        captions="scarce",
        decoder="guided",
        vividness="auto",
    ),
)
ROWS = {row.name: row for row in (*BASELINES, *TRAINED, *LCAD, *COLD_ROWS)}
