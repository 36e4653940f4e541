"""More colour for photographs that have some."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from colorjax.colorize.chroma import recombine
from colorjax.colorize.jobs import Job, Part, pictures
from colorjax.colorize.painters import Small, Usual
from colorjax.colorize.running import PictureColorizer
from colorjax.errors import UserError
from colorjax.methods import fading


@dataclass(frozen=True)
class Enhancement(Usual):
    """More colour for faded photographs: their own chroma by a gain, at full size, and the model's
    in so far as theirs is not to be trusted (`methods.fading`).

    `t_start` says where the photographs stand, in (0, 1] with 1 for gray; None estimates it from
    each one.
    """

    t_start: float | None = None

    keeps_colours: ClassVar[bool] = True

    @property
    def about(self) -> Mapping[str, Any]:
        """The flag with its number."""
        return {"enhance": "auto" if self.t_start is None else f"{self.t_start:g}"}

    @classmethod
    def of(cls, strength: str) -> "Enhancement":
        """By a number or "auto".

        Raises:
            UserError: it is neither.
        """
        if strength == "auto":
            return cls()
        try:
            t_start = float(strength)
        except ValueError:
            t_start = -1.0
        if not 0.0 < t_start <= 1.0:
            raise UserError(f"enhance is {strength!r}; it must be above 0, at most 1, or 'auto'")
        return cls(t_start)

    def compute(self, colorizer: PictureColorizer, jobs: Sequence[Job], seed: int) -> Sequence[Any]:
        """For each photograph the model's picture, and where it stands."""
        batch = pictures(colorizer, jobs, seed)
        if self.t_start is None:
            times = colorizer.starting_times(np.asarray(batch.faded))
        else:
            times = np.full(len(jobs), self.t_start)
        raws = colorizer.enhance(batch._replace(t_start=times))
        return list(zip(raws, times.tolist(), strict=True))

    def figures(self, job: Job, computed: tuple[Small, float]) -> Mapping[str, float]:
        """Where it stands."""
        return {"t0": round(computed[1], 3)}

    def render(self, job: Job, computed: tuple[Small, float]) -> Iterator[Part]:
        """The photograph with both chromas."""
        assert job.rgb is not None  # `keeps_colours`
        raw, t_start = computed
        own, model = (float(weight[0]) for weight in fading.weights(np.array([t_start])))
        chroma = recombine.chroma_of(raw, job.small)
        rgb = recombine.with_chroma(job.rgb, own, chroma._replace(ab=model * chroma.ab))
        yield Part("", recombine.quantized(rgb, job.dtype))
