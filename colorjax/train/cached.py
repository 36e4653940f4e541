"""Cached latents in training: which stages can use them, and of which weights they must be."""

from collections.abc import Mapping

from ml_collections import ConfigDict

from colorjax.data import latents
from colorjax.errors import UserError
from colorjax.train.stages import STAGES

PART = "vae"


def check_stage(name: str, config: ConfigDict) -> None:
    """Refuses cached latents for a stage that needs pictures.

    Raises:
        UserError: the training split has latents, and the stage cannot read them.
    """
    data = config.data
    if latents.of_split(data.directory, data.train_split) and not STAGES[name].reads_latents:
        able = ", ".join(stage for stage, recipe in STAGES.items() if recipe.reads_latents)
        raise UserError(
            f"'{data.directory}' has cached latents, which stage {name!r} cannot learn from (only "
            f"{able}): give the directory that they were made of by --config.data.directory=DIR"
        )


def check_weights(config: ConfigDict, inputs: Mapping[str, str]) -> None:
    """Refuses latents that another VAE has made.

    Args:
        inputs: SHA-256 of each part that the stage reads.

    Raises:
        UserError: they are stale.
    """
    data = config.data
    cache = latents.of_split(data.directory, data.train_split)
    if cache is not None and cache.sha256 != inputs[PART]:
        raise UserError(
            f"the latents of '{data.directory}' were made by another VAE (SHA-256 "
            f"{cache.sha256[:12]}) than this run's ({inputs[PART][:12]}): make them again by "
            "python -m colorjax.prepare --cache=latents --model=RELEASE, with this run's release"
        )
