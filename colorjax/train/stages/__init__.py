"""Training stages: what is learned, from what, with which loss.

A stage is a file here, whose `build` makes it, and a row of `STAGES`.
"""

from collections.abc import Mapping

from colorjax.train.stages import (
    clip,
    cold_diffusion,
    consistency,
    decoder,
    distill,
    latent,
    luminance,
    ranker,
    text_to_image,
    vae,
)
from colorjax.train.stages.stage import Recipe

STAGES: Mapping[str, Recipe] = {
    "clip": Recipe(
        clip.build,
        makes=("text_encoder", "image_encoder"),
        starts_from={"text_encoder": ("text_encoder",), "image_encoder": ("image_encoder",)},
        accumulates=False,  # its loss compares all pictures of a batch
        selects=True,
        narrows=False,
    ),
    "vae": Recipe(vae.build, makes=("vae",), starts_from={"vae": ("vae",)}, narrows=False),
    "luminance": Recipe(
        luminance.build,
        makes=("luminance_encoder",),
        starts_from={"luminance_encoder": ("luminance_encoder",)},
        needs=("vae",),
        check=luminance.check,
    ),
    "decoder": Recipe(
        decoder.build,
        makes=("vae",),
        starts_from={"vae": ("vae",)},
        may_use=("luminance_encoder",),
        must_start=True,
        check=decoder.check,
    ),
    "text_to_image": Recipe(
        text_to_image.build,
        makes=("text_to_image_unet",),
        starts_from={"unet": ("text_to_image_unet",)},
        needs=("text_encoder", "vae", "luminance_encoder"),  # the last for its samples
        selects=True,
        reads_latents=True,
        remats=True,
    ),
    "latent": Recipe(
        latent.build,
        makes=("unet",),
        starts_from={"unet": ("unet", "text_to_image_unet")},
        needs=("text_encoder", "vae", "luminance_encoder"),
        outdates=("consistency_unet",),
        must_start=True,  # the paper's method extends a trained text-to-image UNet
        selects=True,
        reads_latents=True,
        remats=True,
    ),
    "consistency": Recipe(
        consistency.build,
        makes=("consistency_unet",),
        # By `start_part` it is finished; else a student starts from its teacher.
        starts_from={"consistency_unet": ("consistency_unet",)},
        needs=("text_encoder", "vae", "luminance_encoder", "unet"),
        reads_latents=True,
        remats=True,
        check=consistency.check,
    ),
    "cold": Recipe(
        cold_diffusion.build,
        makes=("cold_unet",),
        starts_from={"cold_unet": ("cold_unet", "text_to_image_unet", "unet")},
        needs=("text_encoder", "vae"),
        may_use=("luminance_encoder",),
        outdates=("distilled_unet",),
        remats=True,
        check=cold_diffusion.check,
    ),
    "distill": Recipe(
        distill.build,
        makes=("distilled_unet",),
        # The second, by `start_part`, is finished.
        starts_from={"distilled_unet": ("cold_unet", "distilled_unet")},
        needs=("text_encoder", "vae", "cold_unet"),
        may_use=("luminance_encoder",),
        must_start=True,
        remats=True,
        check=distill.check,
    ),
    "ranker": Recipe(
        ranker.build,
        makes=("ranker",),
        starts_from={"ranker": ("ranker",)},
        needs=("text_encoder", "vae", "image_encoder", "cold_unet"),
        may_use=("luminance_encoder", "distilled_unet"),
        selects=True,
        check=ranker.check,
    ),
}
