"""Checkpoints of a training state, by Orbax. The only file that names Orbax, whose API moves."""

from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from colorjax.errors import UserError


class Checkpoints:
    """Numbered checkpoints of one tree in a folder, saved in the background.

    The step number is also the data position: the pipeline gives any step's batch directly.
    """

    def __init__(self, directory: Path, keep: int = 2) -> None:
        self._directory = directory
        self._checkpointer = ocp.training.Checkpointer(
            str(directory.absolute()),
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=ocp.training.preservation_policies.LatestN(keep),
        )

    @property
    def latest(self) -> int | None:
        checkpoint = self._checkpointer.latest
        return None if checkpoint is None else checkpoint.step

    def save(self, step: int, tree: Any) -> None:
        """Starts to write; a failure of the previous save is raised here."""
        self._checkpointer.save_async(step, tree)

    def restore(self, step: int, shardings: Any, abstract: Any) -> Any:
        """The tree of a step, placed as `shardings` says, whatever mesh it was saved from.

        Raises:
            UserError: the stored tree is another one, such as after a change of the model.
        """
        like = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            abstract,
            shardings,
        )
        try:
            return self._checkpointer.load(step, like)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"the checkpoint of step {step} in '{self._directory}' does not fit this "
                f"configuration ({str(error).splitlines()[0][:200]}); give another --workdir or "
                "the configuration it was made with"
            ) from error

    def close(self) -> None:
        """Waits until everything is written."""
        self._checkpointer.close()
