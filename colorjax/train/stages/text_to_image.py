"""A stand-in for Stable Diffusion's UNet at sizes where none exists: latents and captions only.

The latent stage without channel-extended convolutions; the decoder is guided in its samples.
"""

from ml_collections import ConfigDict

from colorjax.train.stages import latent
from colorjax.train.stages.stage import Stage
from colorjax.types import Params

NEEDS = latent.NEEDS
STARTS_FROM: dict[str, tuple[str, ...]] = {"unet": ("text_to_image_unet",)}
MUST_START = False


def build(
    config: ConfigDict, options: ConfigDict, parts: Params, start: Params, total_steps: int
) -> Stage:
    without = config.copy_and_resolve_references()
    with without.unlocked():
        without.model.unet.cec = "none"
    stage = latent.build(without, options, parts, start, total_steps)

    def finish(params, frozen, batch):
        return {"text_to_image_unet": stage.finish(params, frozen, batch)[0]["unet"]}, {}

    return stage._replace(finish=finish)
