"""Cached latents and text states in training: who can use them, and of which weights they are."""

from collections.abc import Mapping

from ml_collections import ConfigDict

from colorjax.data import latents, texts
from colorjax.errors import UserError
from colorjax.train.stages import STAGES, learned

PART, TEXT = "vae", "text_encoder"


def check_stage(name: str, config: ConfigDict) -> None:
    """Refuses cached latents for a stage that needs pictures.

    Raises:
        UserError: the training split has latents, and the stage cannot read them; or text states,
            and it changes what made them.
    """
    data = config.data
    if texts.of_split(data.directory, data.train_split) and learned.adapts_text(config[name]):
        raise UserError(
            f"'{data.directory}' has cached text states, and stage {name!r} trains the text "
            "encoder: cache with --texts=no, or leave the text encoder out of lora_targets"
        )
    if latents.of_split(data.directory, data.train_split) and not STAGES[name].reads_latents:
        able = ", ".join(stage for stage, recipe in STAGES.items() if recipe.reads_latents)
        raise UserError(
            f"'{data.directory}' has cached latents, which stage {name!r} cannot learn from (only "
            f"{able}): give the directory that they were made of by --config.data.directory=DIR"
        )


def check_weights(config: ConfigDict, inputs: Mapping[str, str]) -> None:
    """Refuses latents that another VAE has made, and text states of another text encoder.

    Args:
        inputs: SHA-256 of each part that the stage reads.

    Raises:
        UserError: they are stale.
    """
    data = config.data
    made = {
        PART: ("latents", "VAE", latents.of_split(data.directory, data.train_split)),
        TEXT: ("text states", "text encoder", texts.of_split(data.directory, data.train_split)),
    }
    for part, (what, maker, cache) in made.items():
        if cache is not None and cache.sha256 != inputs[part]:
            raise UserError(
                f"the {what} of '{data.directory}' were made by another {maker} (SHA-256 "
                f"{cache.sha256[:12]}) than this run's ({inputs[part][:12]}): make them again by "
                "python -m colorjax.prepare --cache=latents --model=RELEASE, with this run's "
                "release"
            )
