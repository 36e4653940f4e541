"""L-CAD: language-based colorization with any-level descriptions (Chang et al., NeurIPS 2023).

    python -m colorjax.train --config=configs/lcad.py --config.init_from=DIR
        trains the luminance encoder, then the UNet, at Stable Diffusion 1.5's size
    python -m colorjax.train --config=configs/lcad.py:tiny
        trains the bundled model from nothing on CIFAR-10
    python -m colorjax.train --config=configs/lcad.py:tiny,stage=latent
        runs one stage
    python -m colorjax.train --config=configs/lcad.py:released
        as the released code, where it differs from the paper (see `_as_released`)
    python -m colorjax.train --config=configs/lcad.py:data=imagenet,captions=scarce,stage=latent \
            --config.init_from=RELEASE
        the paper's section 4.4: ImageNet without descriptions, from the weights of COCO
    python -m colorjax.train --config=configs/lcad.py:ablation=no_slr
        the paper's ablation (section 4.3) without luminance in the UNet; its other two, no_lic
        (plain decoder) and no_iss (no masks), are ways of sampling the full model

`--config.latent.min_snr=5` weights the loss by min-SNR (Hang et al. 2023), which neither the paper
nor the release does, nor what `--config.luminance.shown_weight=100` does: it adds to the luminance
stage's loss the squared error that is left when the photograph's lightness is put back, as results
have it. `--config.latent.lora_rank=8` trains low-rank adapters (Hu et al. 2021) of the
UNet's attention instead; the release has them merged, and beside that as the part `lora`.
`:stage=consistency` distils the UNet to few steps (`colorjax/maths/consistency.py`), and
`:stage=decoder` mends the colours of the VAE's means (`colorjax/train/stages/decoder.py`).

Variants, after a colon and between commas: `tiny`, `released`, `stage`, `data` (coco,
multi_instance, imagenet: `data/<name>`), `captions` (any, scarce), `cec` (none, conv_in,
down_blocks), `trainable` (paper, released, all), `ablation`.

Where the numbers come from (paper, section 3.5, unless said otherwise):

| | luminance | latent |
|---|---|---|
| optimizer | Adam | Adam |
| learning rate | 1e-6 | 5e-5 |
| batch | 8 | 32 (released code: 16 on each of 2 GPUs) |
| epochs | 10 | 50 |
| scarce captions, dropped captions | - | 30 %, 10 % |
"""

from ml_collections import ConfigDict

from colorjax.configs import common
from colorjax.errors import UserError

DATA = ("coco", "multi_instance", "imagenet")
CEC = ("none", "conv_in", "down_blocks")
TRAINABLE = {
    # Extended channels only, the rest of the UNet as pretrained (paper, section 3.3).
    "paper": ("(.*/)?cec_.*",),
    # The released code since January 2024: first convolution, output blocks, head.
    "released": ("(cec_)?conv_in/.*", "up_blocks_.*", "conv_norm_out/.*", "conv_out/.*"),
    "all": (".*",),
}
ABLATIONS = ("", "no_slr")
SAME_MODEL = {"no_lic": "with --decoder=plain", "no_iss": "without --masks"}

# Of the luminance stage (paper, section 3.2, Eq. 4); `released` in `losses.artifact_weights`.
PIXEL_LOSS = dict(
    artifact_weights="paper",
    adversarial_weight=1.0,
    discriminator=dict(features=64, layers=3),
    discriminator_start=0,  # the released code asks for a step and gives none
    perceptual_weight=0.5,
    perceptual_size=0,
    # Of what is wrong once the photograph's lightness is put back; ours, neither has it.
    shown_weight=0.0,
)
# Of the stage that teaches the decoder what means of latents show, which neither of them has.
OF_DECODER = dict(
    versions=2,  # of a picture, in other hues, that its latents are mixed with
    mixed_share=0.5,  # of the pictures
    shown_weight=100.0,  # of the squared error at the picture's own lightness, beside L1
)
# Of the latent stage, and in neither the paper nor the release: off.
OURS = dict(min_snr=0.0, **common.lora("unet"))
# Of the stage that distils the UNet to few steps, which neither of them has.
OF_CONSISTENCY = dict(
    skip=20,  # timesteps between what the student is asked and what it learns from
    width=1e-3,  # of the pseudo-Huber distance
    least_guidance=1.0,
    most_guidance=10.0,
    negative_prompt="",
    temperature=1.0,  # the least one of the noise that is learned; up to 1 all are
)


def get_config(argument: str | None = None) -> ConfigDict:
    """The configuration of the variants after the colon.

    Raises:
        UserError: an unknown variant, or variants that exclude each other.
    """
    variant = common.parse(
        argument,
        tiny=False,
        released=False,
        stage="",
        data="",
        captions="",
        cec="",
        trainable="",
        ablation="",
    )
    if variant["tiny"] and variant["data"]:
        raise UserError("variant 'data' is for the full size; the tiny model learns CIFAR-10")
    config = (
        _tiny()
        if variant["tiny"]
        else _full(common.choice("data", variant["data"] or "coco", DATA))
    )
    config.method = "lcad"
    if variant["released"]:
        _as_released(config)
    if variant["cec"]:
        config.model.unet.cec = common.choice("cec", variant["cec"], CEC)
    if common.choice("captions", variant["captions"] or "any", ("any", "scarce")) == "scarce":
        config.latent.scarce_share = 1.0
    _ablate(config, variant["ablation"])
    if variant["trainable"]:
        name = common.choice("trainable", variant["trainable"], TRAINABLE)
        config.latent.trainable = TRAINABLE[name]
    elif config.model.unet.cec == "none":
        config.latent.trainable = TRAINABLE["all"]
    if variant["stage"]:
        config.stages = (variant["stage"],)
    # Runs that differ in more than their stages have directories of their own.
    said = [key if value is True else value for key, value in variant.items() if key != "stage"]
    config.recipe = common.recipe("lcad", variant)
    config.name = "_".join(["lcad", *(word for word in said if word not in (False, "", "any"))])
    return config


def _as_released(config: ConfigDict) -> None:
    """One extended convolution, the later trainable set, no LPIPS, AdamW at 2e-5, and captions
    neither replaced by scarce ones nor dropped."""
    config.model.unet.cec = "conv_in"
    config.luminance.update(artifact_weights="released", perceptual_weight=0.0)
    config.latent.update(
        trainable=TRAINABLE["released"],
        learning_rate=2e-5,
        weight_decay=0.01,
        scarce_share=0.0,
        drop_share=0.0,
    )


def _ablate(config: ConfigDict, name: str) -> None:
    """The paper's ablations that are trained (section 4.3).

    Raises:
        UserError: the other two, which sample the full model in another way, or an unknown one.
    """
    if name in SAME_MODEL:
        raise UserError(
            f"ablation {name!r} is the full model, sampled in another way: train it without "
            f"ablation=, and run python -m colorjax.evaluate {SAME_MODEL[name]}"
        )
    if common.choice("ablation", name, ABLATIONS) == "no_slr":
        config.model.unet.cec = "none"


def _full(data: str) -> ConfigDict:
    config = common.full(data)
    config.stages = ("luminance", "latent")
    config.luminance = common.stage(batch_size=8, epochs=10.0, learning_rate=1e-6, b1=0.5, b2=0.9)
    config.luminance.update(PIXEL_LOSS)
    config.latent = common.stage(
        epochs=50.0,
        learning_rate=5e-5,
        scarce_share=0.3,
        drop_share=0.1,
        trainable=TRAINABLE["paper"],
    )
    config.latent.update(OURS)
    config.decoder = common.stage(batch_size=8, total_steps=10_000, learning_rate=1e-5)
    config.decoder.update(OF_DECODER)
    # As latent consistency models are distilled (Luo et al. 2023), but for our scales.
    config.consistency = common.stage(
        total_steps=10_000,
        learning_rate=8e-6,
        warmup_steps=500,
        ema_decay=0.95,
        scarce_share=0.3,
        drop_share=0.1,
    )
    config.consistency.update(OF_CONSISTENCY | common.FINISH)
    return config


def _tiny() -> ConfigDict:
    """No pretrained weights exist at this size, so three stages more make stand-ins for them:
    `clip` for CLIP's, `vae` and `text_to_image` (a UNet without CEC that sees captions only) for
    Stable Diffusion's. All of the UNet is trained in `latent`: the stand-in is weak."""
    config = common.small()
    config.stages = ("clip", "vae", "luminance", "text_to_image", "latent")
    small = dict(
        batch_size=64,
        learning_rate=1e-3,
        schedule="cosine",
        warmup_steps=200,
        clip_norm=1.0,
        partial_share=0.5,
    )
    config.clip = common.stage(**small | dict(batch_size=128, epochs=0.75))
    config.clip.uncoloured_share = 0.0  # pictures shown gray, with their captions as they are
    config.vae = common.stage(**small | dict(epochs=1.5, ema_decay=0.995))
    config.vae.kl_weight = 1e-6
    config.vae.chroma_weight = 20.0
    config.luminance = common.stage(**small | dict(batch_size=16, epochs=0.25, b1=0.5, b2=0.9))
    config.luminance.update(PIXEL_LOSS)
    config.luminance.discriminator.layers = 2  # a patch of 34 pixels: the picture
    config.luminance.perceptual_size = 48
    config.decoder = common.stage(**small | dict(epochs=2.0, learning_rate=3e-4, ema_decay=0.995))
    config.decoder.update(OF_DECODER)
    captions = dict(scarce_share=0.3, drop_share=0.1, ema_decay=0.9995)
    config.text_to_image = common.stage(**small | captions | dict(epochs=2.0))
    config.latent = common.stage(**small | captions | dict(epochs=4.0))
    config.text_to_image.min_snr = 0.0
    config.latent.update(OURS)
    config.consistency = common.stage(
        **small | captions | dict(epochs=2.0, learning_rate=3e-4, ema_decay=0.99)
    )
    config.consistency.update(OF_CONSISTENCY | common.FINISH)
    config.consistency.update(most_guidance=4.0, temperature=0.4, perceptual_size=48)
    config.consistency.discriminator.layers = 2  # as the luminance stage's
    return config
