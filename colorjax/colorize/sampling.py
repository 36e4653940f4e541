"""A sampling run in pieces: between two of them it can be looked at, left and joined.

The pieces are the run of `programs.PROGRAMS["colorize"]`, cut between steps: the same scan body,
over the same batch. Pictures in one run need not have begun together.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from colorjax.colorize.pieces import PIECES, State
from colorjax.colorize.programs import Networks
from colorjax.colorize.running import Raw
from colorjax.devices import program_store
from colorjax.inputs import Pictures
from colorjax.maths import integrators
from colorjax.maths.types import Array, Params

Fill = Callable[[Pictures, int], Pictures]


class Pieces:
    """The programs that a run in pieces consists of, each made when it is first asked for."""

    def __init__(self, networks: Networks, deciding: list[Any]) -> None:
        """Nothing is compiled yet; `deciding` is as of `program_store.Program`."""
        self.num_steps = networks.method.num_steps(networks.options)
        self._networks, self._deciding = networks, deciding
        self._programs: dict[tuple[Any, ...], Any] = {("seat",): jax.jit(seated)}

    @property
    def compiled(self) -> Iterable[Any]:
        """Those that there are so far."""
        return self._programs.values()

    def __call__(self, name: str, *constants: Any) -> Any:
        """The program of a name of `pieces.PIECES`, or "seat", with constants behind."""
        key = (name, *constants)
        if key not in self._programs:
            run = PIECES[name]

            def function(*arguments: Any) -> Any:
                return run(self._networks, *arguments, *constants)

            self._programs[key] = program_store.Program(function, [*key, *self._deciding])
        return self._programs[key]


class SeatedSampling:
    """A run of a colorizer's method; see `running.Sampling`."""

    def __init__(self, pieces: Pieces, finish: str, params: Params, fill: Fill, seats: int) -> None:
        """Nobody is in it yet.

        Args:
            finish: the piece that ends it.
            fill: pictures and a number to so many, with the settings that their program reads.
        """
        self._pieces, self._finish, self._params, self._fill = pieces, finish, params, fill
        self._seats, self._num_steps = seats, pieces.num_steps
        self._state: State | None = None
        self._ahead: Array = None
        self._places = np.full(seats, self._num_steps, np.int32)

    @property
    def places(self) -> Int[np.ndarray, " seats"]:
        """How many steps the picture in each seat has behind it; `num_steps` where none is."""
        return self._places

    def enter(self, pictures: Pictures, seats: Sequence[int]) -> None:
        """Gives pictures seats, from the first step.

        As many are begun as there are seats, so that it is the program of this batch.
        """
        fresh = self._pieces("begin")(self._params, self._fill(pictures, self._seats))
        row = np.zeros(self._seats, np.int32)
        row[list(seats)] = np.arange(len(seats))
        is_new = np.isin(np.arange(self._seats), seats)
        self._places = np.where(is_new, 0, self._places).astype(np.int32)
        self._state = self._pieces("seat")(self._state or fresh, fresh, row, is_new)

    def leave(self, seat: int) -> None:
        """Frees a seat: what is in it is not computed to its end."""
        self._places[seat] = self._num_steps

    def advance(self, count: int) -> None:
        """Takes every picture so many steps further, or to its end."""
        assert self._state is not None, "somebody must have entered"
        state = self._state._replace(places=self._places)
        carry, places, self._ahead = self._pieces("advance", count)(self._params, state)
        self._state = state._replace(carry=carry)
        self._places = np.array(places)  # waits until it is computed

    def images(self) -> Raw:
        """The pictures of all seats in [-1,1]; of those that are not at their end, a preview."""
        assert self._state is not None and self._ahead is not None, "nothing has been computed"
        course = self._state.course
        return np.asarray(self._pieces(self._finish)(self._params, course, self._ahead))


def seated(state: State, fresh: State, row: Int[Array, " b"], is_new: Bool[Array, " b"]) -> State:
    """A run's state with rows of another one's in some seats.

    Args:
        row: which row of `fresh` a seat takes, where it is new.
    """
    rows = jax.tree.map(lambda leaf: leaf[row] if jnp.ndim(leaf) else leaf, fresh)
    result: State = integrators.chosen(is_new, rows, state)
    return result
