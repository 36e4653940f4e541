"""What a colorizer takes: pictures, and settings as tables of data, whatever computes with them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Bool, Float, UInt

from colorjax.errors import UserError, one_of
from colorjax.maths.types import Array, Image, TokenIds

Value = float | int | str
AUTO = "auto"
# Settings that are of the release's own networks, or say something of the photograph.
OF_OWN_METHOD = ("lora", "negative_prompt")
# What `vividness="auto"` chooses from: the range that Diffusing Colors' page shows.
CANDIDATES = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4)


class Setting(NamedTuple):
    """A row of a method's table: flags, checks, defaults and help texts are all made of it."""

    name: str
    kind: type[float] | type[int] | type[str]
    help: str
    default: Value  # where neither the release nor a person says anything
    traced: bool = False  # a change costs nothing; of a static setting it compiles another program
    least: float = -math.inf
    most: float = math.inf
    choices: tuple[str, ...] = ()  # what a str can be; () is any text
    words: tuple[str, ...] = ()  # what may stand in a number's place
    neutral: Value | None = None  # at this value the setting is left out of the program

    def parse(self, value: object) -> Value:
        """A value of a command line, of a release or of a caller, checked.

        Raises:
            UserError: it is of another kind, not finite, out of range or none of the choices.
        """
        if self.kind is str or value in self.words:
            return self._text(value)
        number = self._number(value)
        if not math.isfinite(number) or not self.least <= number <= self.most:
            raise UserError(f"{self.name} is {number}; it must be {self._allowed}")
        return number

    def _text(self, value: object) -> str:
        if self.choices:
            one_of(self.name, value, self.choices)
        if not isinstance(value, str):
            raise UserError(f"{self.name} is {value!r}; it must be a text")
        return value

    def _number(self, value: object) -> float | int:
        mistake = UserError(f"{self.name} is {value!r}; it must be {self._allowed}")
        if isinstance(value, bool):
            raise mistake
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            raise mistake from None
        if self.kind is not int:
            return number
        if not number.is_integer():
            raise mistake
        return int(number)

    @property
    def _allowed(self) -> str:
        number = "a whole number" if self.kind is int else "a number"
        if self.most < math.inf:
            number = f"{number} from {self.least:g} to {self.most:g}"
        elif self.least > -math.inf:
            number = f"{number}, {self.least:g} or more"
        return " or ".join([number, *map(repr, self.words)])

    @property
    def metavar(self) -> str:
        """What can be given, as help texts show it."""
        if self.kind is str:
            return "|".join(self.choices) or "TEXT"
        return "|".join(["N" if self.kind is int else "FLOAT", *self.words])


@dataclass(frozen=True)
class Table:
    """The settings of a method of colorization."""

    name: str  # what --method and `colorjax.load` take
    title: str
    settings: tuple[Setting, ...]

    def setting(self, name: str) -> Setting | None:
        """The row of the table, or None if another method has it or none."""
        return next((row for row in self.settings if row.name == name), None)

    def defaults(self) -> dict[str, Value]:
        """Every setting's value where nobody says anything."""
        return {row.name: row.default for row in self.settings}

    def is_taking(self, chosen: Iterable[str]) -> bool:
        """Whether settings can be chosen where it takes the place of a release's own method."""
        return all(self.setting(name) and name not in OF_OWN_METHOD for name in chosen)

    def traced(self, name: str, values: Mapping[str, Value]) -> float | None:
        """A traced number; None where its value means that nothing is computed for it."""
        row, value = self.setting(name), values.get(name)
        if row is None or value is None or value in (AUTO, row.neutral):
            return None
        return float(value)

    def changed(
        self, values: Mapping[str, Value], chosen: Mapping[str, object], others: Iterable["Table"]
    ) -> dict[str, Value]:
        """Values with those of traced settings changed.

        Args:
            others: the tables of all methods, by which a foreign setting is told.

        Raises:
            UserError: a setting is static, another method's, or cannot have its value.
        """
        refuse_foreign(self, chosen, others)
        result = dict(values)
        for name, value in chosen.items():
            row = self.setting(name)
            assert row is not None
            if not row.traced:
                raise UserError(f"{name} is fixed when a model is loaded: give it there")
            result[name] = row.parse(value)
        return result


def owners(tables: Iterable[Table]) -> dict[str, tuple[Setting, list[str]]]:
    """Every setting by name, and which methods have it."""
    rows: dict[str, tuple[Setting, list[str]]] = {}
    for table in tables:
        for row in table.settings:
            rows.setdefault(row.name, (row, []))[1].append(table.name)
    return rows


def refuse_foreign(table: Table, names: Iterable[str], tables: Iterable[Table]) -> None:
    """Checks that settings are a method's own.

    Raises:
        UserError: one is of another method, or of none.
    """
    known = owners(tables)
    for name in names:
        one_of("setting", name, known)
        methods = known[name][1]
        if table.name not in methods:
            raise UserError(f"--{name} is a setting of --method={methods[0]}, not of {table.name}")


class Pictures(NamedTuple):
    """What a batch is coloured from: the only input of every program beside the parameters.

    A caller gives lightness to seed, and of the rest what it wants; the colorizer fills in its
    settings and the missing rows. What is None is left out of the program.
    """

    lightness: Float[Array, "b h w 1"] | Float[Array, "b h w"]  # L in 0..100, at the model's size
    input_ids: TokenIds
    seed: UInt[Array, "b"] | int  # of the noise: one for all, or one for each
    spans: Bool[Array, "b k n"] | None = None  # the tokens of each phrase that has a mask
    masks: Float[Array, "b k h w"] | None = None  # of the phrases; None: by attention
    faded: Image | None = None  # colours to begin with instead of gray
    t_start: Float[Array, "b"] | None = None  # where `faded` stands: 1 is gray
    uncond_input_ids: TokenIds | None = None
    guidance_scale: Float[Array, ""] | float | None = None
    temperature: Float[Array, ""] | float | None = None
    vividness: Float[Array, ""] | float | None = None
    fidelity: Float[Array, ""] | float | None = None
