"""A release goes on learning from one's own pictures, a few dozen are enough.

    python -m colorjax.train --config=configs/finetune.py --config.pictures=DIR \
        --config.init_from=RELEASE

Sizes and settings are the release's. Pictures without captions are named by its image tower, and
their colours are measured; a fifth of the pictures is held out, and measured before, on the way and
after. What is trained are low-rank adapters of the UNet's attention (Hu et al. 2021), which the
release has merged and beside that as a part of its own. docs/finetune.md shows it on 50 pictures.

Variants, after a colon and between commas: `method` (lcad, diffusing_colors; by default the
release's own), `all` (all of the UNet is trained, not adapters).
"""

from ml_collections import ConfigDict

from colorjax.configs import common

METHODS = ("", "lcad", "diffusing_colors")
STAGES = {"lcad": "latent", "diffusing_colors": "cold"}
PARTS = {"latent": "unet", "cold": "cold_unet"}


def get_config(argument: str | None = None) -> ConfigDict:
    """The configuration of the variants after the colon.

    Raises:
        UserError: an unknown variant.
    """
    variant = common.parse(argument, method="", all=False)
    config = common.run()
    config.name = "finetune"
    config.recipe = common.recipe("finetune", variant)
    config.pictures = ""  # the folder
    config.captions = ""  # a file of their captions, where it lies elsewhere
    config.hold_out = 0.2  # share of them that is measured and not trained on
    config.method = common.choice("method", variant["method"], METHODS)
    config.model = common.sd15()  # the release's take their place
    config.data.update(train_split="train", eval_split="test")
    config.sample_every = 0
    config.checkpoint_every = 100
    config.log_every = 20
    config.evaluate_every = 100
    for stage, part in PARTS.items():
        config[stage] = common.stage(
            batch_size=8,
            total_steps=400,
            learning_rate=5e-5 if variant["all"] else 1e-3,
            warmup_steps=20,
            clip_norm=1.0,
            ema_decay=0.99,
            scarce_share=0.3,
            drop_share=0.1,
            partial_share=0.5,
        )
        config[stage].update(common.lora(part))
        config[stage].lora_rank = 0 if variant["all"] else 8
    config.latent.min_snr = 0.0
    config.cold.gray_start_share = 0.1
    # The method is a release's to say, where no variant does: `train.finetune` decides.
    config.stages = (STAGES[config.method],) if config.method else ()
    return config
