"""Checkpoints of a training state, by Orbax. The only file that names Orbax, whose API moves.

Orbax writes a step whole or not at all, but does not see later damage: one flipped bit in its
array files is read back as another number. So every step carries the SHA-256 of every leaf, and
`restore` compares.
"""

import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from colorjax import files
from colorjax.devices import processes
from colorjax.errors import UserError, first_line
from colorjax.train import manifests

FORMAT = 1
# What the system says, in the middle of what the layers between say.
_REFUSALS = re.compile(
    "No space left on device|Disk quota exceeded|File too large|Read-only file system|"
    "Permission denied"
)


_TIME = {"type": ["integer", "null"], "minimum": 0, "maximum": 2**62}
_OBJECT = {"type": ["object", "null"]}
_METADATA = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("init_timestamp_nsecs", "commit_timestamp_nsecs"), _TIME),
        **dict.fromkeys(("metrics", "performance_metrics", "custom_metadata"), _OBJECT),
    },
}


class Damaged(Exception):
    """What is stored is not what was saved."""


class Checkpoints:
    """Numbered checkpoints of one tree in a folder, saved in the background.

    The step number is also the data position, and with the seed all of the randomness: the
    pipeline gives any step's batch directly, and a step's key is `fold_in(key(seed), step)`.
    """

    def __init__(
        self, directory: Path, keep: int = 2, say: Callable[[str], None] = lambda text: None
    ) -> None:
        """Opens the folder, and sets aside what cannot be read in it.

        Args:
            keep: how many of the newest steps stay.
            say: hears what was committed and what is damaged.
        """
        # Orbax logs what goes wrong in every thread, and raises it as well.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        sys.unraisablehook = _without_late_callbacks
        self._directory, self._say, self._refused = directory, say, False
        self._pending: tuple[int, str, Any] | None = None
        processes.on_first(self._set_unreadable_aside, "looking through the checkpoints")
        self._checkpointer = ocp.training.Checkpointer(
            str(directory.absolute()),
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=ocp.training.preservation_policies.LatestN(keep),
            cleanup_tmp_directories=True,
        )

    def _set_unreadable_aside(self) -> None:
        """Steps whose metadata cannot be parsed would keep Orbax from starting at all."""
        odd = [path for path in self._directory.glob("[!.]*") if not _may_stay(path)]
        for path in odd:
            self._say(f"'{path}' is no checkpoint and is put aside")
            self._put_aside(path, path.name)
        steps = sorted(int(p.name) for p in self._directory.glob("*") if _is_step(p))
        damaged = []
        for step in steps:
            try:
                _check_metadata(self._directory / str(step))
                ocp.metadata(self._directory / str(step))
            except Exception as error:  # Orbax raises whatever its parsers raise
                damaged.append(step)
                self._say(f"checkpoint of step {step} is damaged ({first_line(error)})")
        if damaged and len(damaged) == len(steps):
            raise self._nothing_left(damaged)
        self._move_away(damaged)

    def _nothing_left(self, damaged: list[int]) -> UserError:
        return UserError(
            f"every checkpoint in '{self._directory}' is damaged (steps {damaged}); delete the "
            "folder to begin again, or put back a copy of it"
        )

    @property
    def steps(self) -> list[int]:
        """The committed steps, oldest first."""
        return [checkpoint.step for checkpoint in self._checkpointer.checkpoints]

    @property
    def latest(self) -> int | None:
        """The newest committed step; None where there is none."""
        return max(self.steps, default=None)

    def save(self, step: int, tree: Any) -> None:
        """Starts to write a step; `confirm` says when it is there.

        Raises:
            UserError: the previous save failed, or this one cannot begin.
        """
        self.confirm(wait=True)
        leaves = manifests.of(tree)
        digest = manifests.checksum(leaves)
        about = {"format": FORMAT, "step": step, "leaves": leaves, "sha256": digest}
        try:
            response = self._checkpointer.save_async(step, tree, custom_metadata=about)
        except (ValueError, OSError) as error:
            raise self._failed(step, error) from error
        self._pending = (step, digest, response)

    def confirm(self, wait: bool = False) -> None:
        """Says that the save begun last is committed, if it is, or waits until it is.

        Raises:
            UserError: it failed, such as on a full disk; the step before is still good.
        """
        if self._pending is None or (not wait and self._checkpointer.is_saving_in_progress()):
            return
        step, digest, response = self._pending
        self._pending = None
        try:
            response.result()
        except Exception as error:  # whatever a storage raises
            raise self._failed(step, error) from error
        self._say(f"checkpoint of step {step} committed, SHA-256 {digest}")

    def _failed(self, step: int, error: Exception) -> UserError:
        self._refused = True
        reason = _REFUSALS.search(str(error))
        return UserError(
            f"the checkpoint of step {step} could not be written to '{self._directory}' "
            f"({reason[0] if reason else first_line(error)}); make room or give another --workdir, "
            "and start again"
        )

    def restore(self, shardings: Any, abstract: Any) -> tuple[int, Any]:
        """The newest step that is undamaged and its tree, placed as `shardings` says.

        The mesh may be another than the one it was saved from. Damaged steps are reported, and
        moved to the folder `damaged` so that their numbers are free.

        Raises:
            UserError: the stored tree is another one, such as after a change of the model, or no
                step is whole.
        """
        like = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            abstract,
            shardings,
        )
        damaged: list[int] = []
        for step in reversed(self.steps):
            try:
                tree = self._load(step, like)
            except Damaged as error:
                damaged.append(step)
                self._say(f"checkpoint of step {step} is damaged ({error}); trying an older one")
                continue
            if damaged:
                processes.on_first(lambda: self._move_away(damaged), "moving checkpoints away")
                self._checkpointer.reload()
            return step, tree
        raise self._nothing_left(damaged)

    def _load(self, step: int, like: Any) -> Any:
        stored = self._agree(lambda: self._manifest(step))
        self._compare(step, stored, like)
        tree = self._agree(lambda: self._checkpointer.load(step, like))
        wrong = [path for path, row in manifests.of(tree).items() if row != stored[path]]
        number = processes.first_says(len(wrong))  # process 0 alone has the digests
        if number:
            names = ", ".join(wrong[:3]) or "seen by process 0"
            raise Damaged(f"{number} leaves do not match their SHA-256: {names}")
        return tree

    def _agree(self, read: Callable[[], Any]) -> Any:
        """What is read here, if all processes could read it.

        Raises:
            Damaged: one of them could not. All leave together, so that none waits for another.
        """
        try:
            content, failure = read(), None
        except Exception as error:  # Orbax raises whatever its parsers raise
            content, failure = None, error
        if processes.all_agree(failure is None):
            return content
        raise Damaged(first_line(failure) if failure else "another process cannot read it")

    def _manifest(self, step: int) -> manifests.Manifest:
        about = self._checkpointer.metadata(step).custom_metadata
        if not about or about["format"] != FORMAT or about["step"] != step:
            raise Damaged("it has no manifest")
        if manifests.checksum(about["leaves"]) != about["sha256"]:
            raise Damaged("its manifest does not match its own SHA-256")
        return dict(about["leaves"])

    def _compare(self, step: int, stored: manifests.Manifest, like: Any) -> None:
        expected = {path: manifests.kind(leaf) for path, leaf in manifests.leaves(like)}
        kinds = {path: row[1:] for path, row in stored.items()}
        if expected == kinds:
            return
        odd = min(path for path in expected.keys() | kinds if expected.get(path) != kinds.get(path))
        raise UserError(
            f"the checkpoint of step {step} in '{self._directory}' does not fit this "
            f"configuration ({odd!r} is {kinds.get(odd, 'not there')}, and should be "
            f"{expected.get(odd, 'not there')}); give another --workdir or the configuration it "
            "was made with"
        )

    def _move_away(self, steps: list[int]) -> None:
        for step in steps:
            self._put_aside(self._directory / str(step), str(step))

    def _put_aside(self, path: Path, name: str) -> None:
        aside = self._directory.parent / "damaged"
        aside.mkdir(exist_ok=True)
        number = sum(other.name.startswith(f"{name}-") for other in aside.iterdir())
        path.rename(aside / f"{name}-{number}")

    def close(self, failed: bool = False) -> None:
        """Waits until everything is written.

        Args:
            failed: an error is on its way already, which one of here would hide: it is said only.

        Raises:
            UserError: it could not be.
        """
        error: Exception | None = None
        try:
            self.confirm(wait=True)
        except UserError as refusal:
            error = refusal
        try:
            self._checkpointer.close()
        except Exception as leftover:  # Orbax raises here again what it has raised before
            error = error or (None if self._refused else self._failed(self.latest or 0, leftover))
        if error is not None and not failed:
            raise error
        if error is not None:
            self._say(str(error))


def _without_late_callbacks(late: "sys.UnraisableHookArgs") -> None:
    """Prints as Python does, but not what TensorStore's threads say after a write has failed.

    They call back into a loop that Orbax has closed when the first of them failed.
    """
    if str(late.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(late)


def _is_step(path: Path) -> bool:
    """Whether this is a committed step as Orbax names it: a number without zeros before it."""
    return path.is_dir() and re.fullmatch("0|[1-9][0-9]{0,17}", path.name) is not None


def _check_metadata(step: Path) -> None:
    """What Orbax reads of every step at its start, without a look at what kinds of things they are.

    Raises:
        UserError: it is something else.
    """
    path = step / "_CHECKPOINT_METADATA"
    if path.exists():
        files.read_json(path, _METADATA, advice="the step is put aside")


def _may_stay(path: Path) -> bool:
    """Whether Orbax knows what to do about it: a step, or one that was not finished."""
    return _is_step(path) or ".orbax-checkpoint-tmp" in path.name
