"""Diffusing Colors: latent cold diffusion (Zabari et al., SIGGRAPH Asia 2023) and its ranker.

    python -m colorjax.train --config=configs/diffusing_colors.py --config.init_from=DIR
        the cold UNet from Stable Diffusion 1.5's, then the ranker
    python -m colorjax.train --config=configs/diffusing_colors.py:tiny
        both at the bundled model's size, from the bundled weights
    python -m colorjax.train --config=configs/diffusing_colors.py:tiny,stage=cold,sigma=0.1
        one stage; `sigma`, `prediction`, `gray_channels` are the options that were ablated
    python -m colorjax.train --config=configs/diffusing_colors.py:tiny,stage=distill
        a UNet that colours in one evaluation, of the bundled cold UNet

What is known of the paper, and what is ours:

| | |
|---|---|
| interpolation, full residual, z_t the only picture input, captions by machine | the paper |
| base model, data, loss, learning rate, batch, steps, caption dropout, ranker | not known: ours |
| guidance 1.6, vividness 0.8 | as an independent reader has them |
| 10 % of draws at t = 1, 999 t for the time embedding, VAE means, noise at the gray end | ours |
| 10 % empty, 20 % generic captions, 5 % gray pictures captioned as such | ours |
"""

from ml_collections import ConfigDict

from colorjax.configs import common


def get_config(argument: str | None = None) -> ConfigDict:
    """The configuration of the variants after the colon.

    Raises:
        UserError: an unknown variant.
    """
    variant = common.parse(
        argument, tiny=False, stage="", sigma="", prediction="", gray_channels=""
    )
    config = _tiny() if variant["tiny"] else _with_stages(common.full("coco"))
    config.name = "diffusing_colors_tiny" if variant["tiny"] else "diffusing_colors"
    config.method = "diffusing_colors"
    config.recipe = common.recipe("diffusing_colors", variant)
    if variant["prediction"]:
        config.model.cold.prediction = variant["prediction"]
    if variant["sigma"]:
        config.model.cold.sigma = float(variant["sigma"])
    if variant["gray_channels"]:
        yes = common.choice("gray_channels", variant["gray_channels"], ("yes", "no")) == "yes"
        config.model.cold.gray_channels = yes
    if variant["stage"]:
        config.stages = (variant["stage"],)
    return config


def _with_stages(config: ConfigDict) -> ConfigDict:
    """The same run, of the cold UNet and then the ranker."""
    config.stages = ("cold", "ranker")
    config.cold = common.stage(
        batch_size=64,
        total_steps=50_000,
        learning_rate=1e-5,
        weight_decay=1e-2,
        ema_decay=0.9999,
        scarce_share=0.2,
        drop_share=0.1,
        gray_share=0.05,
    )
    config.cold.update(gray_start_share=0.1, **common.lora("cold_unet"))
    # Ours, as all of the stage is; its teacher is guided as samples are.
    config.distill = common.stage(
        batch_size=64,
        total_steps=10_000,
        learning_rate=1e-5,
        weight_decay=1e-2,
        ema_decay=0.999,
        scarce_share=0.2,
        drop_share=0.1,
    )
    config.distill.update(
        guidance_scale=config.model.cold_colorize.guidance_scale,
        negative_prompt=config.model.cold_colorize.negative_prompt,
        step=0.1,
        begin_weight=0.1,
        **common.FINISH,
    )
    config.ranker = common.stage(
        batch_size=32, epochs=1.0, learning_rate=1e-4, trainable=("head/.*",)
    )
    config.ranker.update(
        output_share=0.3,
        output_steps="",  # of those results: a number, or distilled; empty: the model's own
        guidance_scales=(1.0, 1.3, 1.6),
        faded_share=0.2,
    )
    return config


def _tiny() -> ConfigDict:
    """The frozen small tower knows too little of colour: all of the ranker is trained."""
    config = _with_stages(common.small())
    config.init_from = "bundled"
    small = dict(
        learning_rate=1e-3,
        schedule="cosine",
        warmup_steps=200,
        clip_norm=1.0,
        weight_decay=0.0,
        total_steps=0,
        partial_share=0.5,
    )
    config.cold.update(small | dict(ema_decay=0.9995, epochs=4.0))
    config.distill.update(
        small | dict(learning_rate=5e-4, ema_decay=0.9995, epochs=4.0, guidance_scale=1.2)
    )
    config.distill.perceptual_size = 48
    config.distill.discriminator.layers = 2
    config.ranker.update(
        small | dict(batch_size=16, epochs=0.5, learning_rate=5e-4, trainable=(".*",))
    )
    return config
