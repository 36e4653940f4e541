"""What can be changed in a finished colouring without sampling it again."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from colorjax.errors import UserError

MOST_TINT = 50.0
MOST_SCALE = 5.0
_TINT, _SCALE = "tint", "chroma_scale"  # in a note


@dataclass(frozen=True)
class Look:
    """A change of all of a picture's chroma.

    Attributes:
        scale: of ab; 0 is gray, 1 changes nothing.
        warm: what is added to b: above 0 to yellow, below to blue; CIE Lab's units.
        magenta: what is added to a: above 0 to magenta, below to green.
    """

    scale: float = 1.0
    warm: float = 0.0
    magenta: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.scale <= MOST_SCALE:
            raise UserError(f"vividness is {self.scale:g}; it must be in 0..{MOST_SCALE:g}")
        for name, value in (("warm", self.warm), ("magenta", self.magenta)):
            if not -MOST_TINT <= value <= MOST_TINT:
                raise UserError(f"tint {name} is {value:g}; it must be within {MOST_TINT:g} of 0")

    @classmethod
    def of(cls, text: str) -> "Look":
        """The tint that a command line gives: two numbers, such as "8,-3".

        Raises:
            UserError: it gives something else.
        """
        try:
            warm, magenta = map(float, text.split(","))
        except ValueError:
            raise UserError(
                f"tint is {text!r}; give WARM,MAGENTA, two numbers such as 8,-3 (below 0: cold "
                "and green)"
            ) from None
        return cls(warm=warm, magenta=magenta)

    @classmethod
    def of_note(cls, note: Mapping[str, Any]) -> "Look":
        """The look that a result's note tells of."""
        look = cls() if _TINT not in note else cls.of(str(note[_TINT]))
        return replace(look, scale=float(note.get(_SCALE, 1.0)))

    def applied(self, ab: Float[np.ndarray, "h w 2"]) -> Float[np.ndarray, "h w 2"]:
        """The changed chroma."""
        changed: np.ndarray = ab * np.float32(self.scale)
        return changed + np.array([self.magenta, self.warm], np.float32)

    @property
    def about(self) -> dict[str, object]:
        """For the note of a result: what is not as usual."""
        about: dict[str, object] = {}
        if (self.warm, self.magenta) != (0.0, 0.0):
            about[_TINT] = f"{self.warm:g},{self.magenta:g}"
        if self.scale != 1.0:
            about[_SCALE] = self.scale
        return about

    def noted(self, note: Mapping[str, Any]) -> dict[str, Any]:
        """A note of another look with this one's."""
        return {k: v for k, v in note.items() if k not in (_TINT, _SCALE)} | self.about
