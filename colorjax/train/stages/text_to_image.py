"""A stand-in for Stable Diffusion's UNet at sizes where none exists: latents and captions only.

The latent stage without channel-extended convolutions; the decoder is guided in its samples.
"""

from typing import Any

from ml_collections import ConfigDict

from colorjax.maths.types import Params
from colorjax.train.stages import latent
from colorjax.train.stages.stage import Batch, Stage, Weights


def build(config: ConfigDict, options: ConfigDict, weights: Weights, total_steps: int) -> Stage:
    """The latent stage of a UNet without extended convolutions, under another name."""
    without = config.copy_and_resolve_references()
    with without.unlocked():
        without.model.unet.cec = "none"
    stage = latent.build(without, options, weights, total_steps)

    def finish(params: Params, frozen: Params, batch: Batch) -> tuple[Params, dict[str, Any]]:
        return {"text_to_image_unet": stage.finish(params, frozen, batch)[0]["unet"]}, {}

    return stage._replace(finish=finish)
