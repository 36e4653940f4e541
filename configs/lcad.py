"""L-CAD: language-based colorization with any-level descriptions (Chang et al., NeurIPS 2023).

    python -m colorjax.train --config=configs/lcad.py --config.init_from=DIR
        trains the luminance encoder, then the UNet, at Stable Diffusion 1.5's size
    python -m colorjax.train --config=configs/lcad.py:tiny
        trains the bundled model from nothing on CIFAR-10
    python -m colorjax.train --config=configs/lcad.py:tiny,stage=latent
        runs one stage
    python -m colorjax.train --config=configs/lcad.py:cec=conv_in
        as the released weights, not as the paper

Where the numbers come from (paper, section 4.1, unless said otherwise):

| | luminance | latent |
|---|---|---|
| optimizer | Adam | Adam |
| learning rate | 1e-6 | 5e-5 |
| batch | 8 | 32 (released code: 16 on each of 2 GPUs) |
| epochs | 10 | 50 |
| scarce captions, dropped captions | - | 30 %, 10 % |
"""

from ml_collections import ConfigDict

from configs import common

# Extended channels only, the rest of the UNet as pretrained (paper, section 3.2).
PAPER_TRAINABLE = ("(.*/)?cec_.*",)

# Of the luminance stage (paper, section 3.1); `released` in `losses.artifact_weights`.
PIXEL_LOSS = dict(
    artifact_weights="paper",
    adversarial_weight=1.0,
    discriminator=dict(features=64, layers=3),
    discriminator_start=0,  # the released code asks for a step and gives none
    perceptual_weight=0.5,
    perceptual_size=0,
)


def get_config(argument: str | None = None) -> ConfigDict:
    variant = common.parse(argument, tiny=False, stage="", cec="down_blocks")
    config = _tiny() if variant["tiny"] else _full()
    config.name = "lcad_tiny" if variant["tiny"] else "lcad"
    config.method = "lcad"
    config.model.unet.cec = variant["cec"]
    if variant["cec"] == "none":
        config.latent.trainable = (".*",)
    if variant["stage"]:
        config.stages = (variant["stage"],)
    return config


def _full() -> ConfigDict:
    config = common.run()
    config.model = common.sd15()
    config.data.directory = "data/coco"
    config.data.eval_split = "val"
    config.stages = ("luminance", "latent")
    config.luminance = common.stage(batch_size=8, epochs=10.0, learning_rate=1e-6, b1=0.5, b2=0.9)
    config.luminance.update(PIXEL_LOSS)
    config.latent = common.stage(
        epochs=50.0,
        learning_rate=5e-5,
        scarce_share=0.3,
        drop_share=0.1,
        trainable=PAPER_TRAINABLE,
    )
    return config


def _tiny() -> ConfigDict:
    """No pretrained weights exist at this size, so three stages more make stand-ins for them:
    `clip` for CLIP's, `vae` and `text_to_image` (a UNet without CEC that sees captions only) for
    Stable Diffusion's. All of the UNet is trained in `latent`: the stand-in is weak."""
    config = common.run()
    config.model = common.tiny()
    config.data.update(directory="data/cifar10", crop="none")
    config.stages = ("clip", "vae", "luminance", "text_to_image", "latent")
    small = dict(
        batch_size=64, learning_rate=1e-3, schedule="cosine", warmup_steps=200, clip_norm=1.0
    )
    config.clip = common.stage(**small | dict(batch_size=128, epochs=0.75))
    config.vae = common.stage(**small | dict(epochs=1.5, ema_decay=0.995))
    config.vae.kl_weight = 1e-6
    config.vae.chroma_weight = 20.0
    config.luminance = common.stage(**small | dict(batch_size=16, epochs=0.25, b1=0.5, b2=0.9))
    config.luminance.update(PIXEL_LOSS)
    config.luminance.discriminator.layers = 2  # a patch of 34 pixels: the picture
    config.luminance.perceptual_size = 48
    captions = dict(scarce_share=0.3, drop_share=0.1, ema_decay=0.9995)
    config.text_to_image = common.stage(**small | captions | dict(epochs=2.0))
    config.latent = common.stage(**small | captions | dict(epochs=4.0))
    return config
