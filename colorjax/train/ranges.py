"""What the numbers of a training configuration may be: told before a stage begins, not in it."""

import math
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from colorjax.errors import UserError


class Range(NamedTuple):
    """From `least` on, up to `most`; `text` says so."""

    least: float
    most: float
    text: str

    def holds(self, value: Any) -> bool:
        # NaN compares with nothing.
        return isinstance(value, int | float) and self.least <= value <= self.most


_LARGE = 1e9
_POSITIVE = Range(1e-30, _LARGE, "a number above 0")
_COUNT = Range(0, 1e12, "a whole number, 0 or more")
_ONE_OR_MORE = Range(1, 1e12, "a whole number, 1 or more")
_AMOUNT = Range(0.0, _LARGE, "a number, 0 or more")
_SHARE = Range(0.0, 1.0, "a number from 0 to 1")
_DECAY = Range(0.0, math.nextafter(1.0, 0.0), "a number from 0 to below 1")

OF_RUN = {
    "seed": Range(0, 2**32 - 1, f"a whole number from 0 to {2**32 - 1}"),
    "log_every": _COUNT,
    "sample_every": _COUNT,
    "checkpoint_every": _COUNT,
    "keep_checkpoints": _ONE_OR_MORE,
    "evaluate_every": _COUNT,
    "evaluate_pictures": _ONE_OR_MORE,
}
OF_STAGE = {
    "batch_size": _ONE_OR_MORE,
    "epochs": _POSITIVE,
    "total_steps": _COUNT,
    "learning_rate": _POSITIVE,
    "warmup_steps": _COUNT,
    "b1": _DECAY,
    "b2": _DECAY,
    "weight_decay": _AMOUNT,
    "clip_norm": _AMOUNT,
    "accumulate": _ONE_OR_MORE,
    "spike_factor": _AMOUNT,
    "max_skipped": _COUNT,
    "ema_decay": _DECAY,
    "scarce_share": _SHARE,
    "drop_share": _SHARE,
    "partial_share": _SHARE,
    "turned_share": _SHARE,
    "gray_share": _SHARE,
}
OF_SOME_STAGES = {
    "output_share": _SHARE,
    "faded_share": _SHARE,
    "shown_weight": _AMOUNT,
    "uncoloured_share": _SHARE,
    "min_snr": _AMOUNT,
    "lora_rank": _COUNT,
    "lora_alpha": _AMOUNT,
    "guidance_scale": _AMOUNT,
    "begin_weight": _AMOUNT,
    "adversarial_weight": _AMOUNT,
    "perceptual_weight": _AMOUNT,
    "skip": Range(1, 500, "a whole number from 1 to 500"),
    "width": _POSITIVE,
    "least_guidance": _AMOUNT,
    "most_guidance": _AMOUNT,
    "temperature": _SHARE,
    "step": Range(1e-3, 0.5, "a number from 0.001 to 0.5"),
}


def check(config: ConfigDict, stage: str) -> None:
    """Checks the numbers of a run and of one of its stages.

    Raises:
        UserError: one is out of its range; the sentence names the flag.
    """
    rows = [(key, config[key], of) for key, of in OF_RUN.items()]
    options = config[stage]
    of_stage = OF_STAGE | {key: of for key, of in OF_SOME_STAGES.items() if key in options}
    rows += [(f"{stage}.{key}", options[key], of) for key, of in of_stage.items()]
    for key, value, of in rows:
        if not of.holds(value):
            raise UserError(f"--config.{key} is {value}; it must be {of.text}")
    if 0.0 < options.spike_factor <= 1.0:
        raise UserError(
            f"--config.{stage}.spike_factor is {options.spike_factor}; it must be above 1, "
            "or 0 for none: a usual step would be left out"
        )
