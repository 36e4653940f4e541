"""Several processes as one run: joining, agreeing, stopping. jax's own runtime does the work.

Every process runs the same program over one mesh; process 0 alone writes logs and releases.
"""

import os
import signal
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from colorjax.errors import UserError, first_line, one_of

STOPPED = 75  # the exit code after SIGTERM (EX_TEMPFAIL): the state is saved, start again to go on
HEARTBEAT_SECONDS = 30
SHUTDOWN_SECONDS = 300


def join(
    mode: str = "auto",
    coordinator: str = "",
    count: int | None = None,
    index: int | None = None,
    heartbeat_seconds: int = HEARTBEAT_SECONDS,
    shutdown_seconds: int = SHUTDOWN_SECONDS,
    heeds_sigterm: bool = True,
) -> None:
    """Makes this process one of many, if it is; before the first use of a device.

    Args:
        mode: "on" lets jax find the others (Cloud TPU VM, GKE, SLURM, Open MPI); "auto" does so
            only where the environment tells of several; "off" stays alone.
        coordinator, count, index: `host:port` of process 0, the number of processes, and which of
            them this is: all three, and nothing is looked for. The environment may hold them too:
            JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID.
        heartbeat_seconds: silence after which a process counts as lost, which ends all others.
        shutdown_seconds: how long one that is done waits for the others, which it then ends.
        heeds_sigterm: whether SIGTERM is kept for `Stop`; otherwise it ends the process as usual.

    Raises:
        UserError: an incomplete address, or a coordinator that does not answer.
    """
    one_of("distributed", mode, ("auto", "on", "off"))
    environment = os.environ
    coordinator = coordinator or environment.get("JAX_COORDINATOR_ADDRESS", "")
    count = _number("JAX_NUM_PROCESSES", environment) if count is None else count
    index = _number("JAX_PROCESS_ID", environment) if index is None else index
    named = bool(coordinator) and count is not None and index is not None
    if (count is not None or index is not None) and not named:
        raise UserError(
            f"coordinator={coordinator!r}, num_processes={count}, process_id={index}: all three "
            "are needed, or none, and the environment decides"
        )
    if mode == "off" or (mode == "auto" and not named and not several(environment)):
        return
    config: Any = jax.config
    config.update("jax_enable_preemption_service", heeds_sigterm)
    try:
        jax.distributed.initialize(
            coordinator or None,
            num_processes=count,
            process_id=index,
            heartbeat_timeout_seconds=heartbeat_seconds,
            shutdown_timeout_seconds=shutdown_seconds,
            coordinator_bind_address=_bind_address(coordinator, environment),
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"the processes of this run could not find each other ({first_line(error)}); name "
            "them by --coordinator=HOST:PORT --num_processes=N --process_id=I, or say "
            "--distributed=off"
        ) from error


def _bind_address(coordinator: str, environment: Mapping[str, str]) -> str | None:
    """Where process 0 listens: at the address that was named, and not on every network it has.

    jax heeds JAX_COORDINATOR_BIND_ADDRESS itself, for a host that others know by another name.
    """
    return None if "JAX_COORDINATOR_BIND_ADDRESS" in environment else coordinator or None


def _number(name: str, environment: Mapping[str, str]) -> int | None:
    value = environment.get(name)
    if value is None:
        return None
    if not value.isdigit():
        raise UserError(f"{name} is {value!r}; it must be a whole number")
    return int(value)


def several(environment: Mapping[str, str]) -> bool:
    """Whether a launcher's variables tell of more than this process."""
    if "SLURM_STEP_NODELIST" in environment:  # set by srun, and not in a mere allocation
        return int(environment.get("SLURM_NTASKS", "1")) > 1
    hosts = environment.get("TPU_WORKER_HOSTNAMES", "")
    slices = environment.get("MEGASCALE_NUM_SLICES", "1")
    return "," in hosts or slices != "1" or int(environment.get("OMPI_COMM_WORLD_SIZE", "1")) > 1


def share() -> tuple[int, int]:
    """Which of the processes that have joined this is, from 0, and how many they are.

    Asks no device for it: where nothing was joined, none has to be there yet.
    """
    if not jax.distributed.is_initialized():
        return 0, 1
    return jax.process_index(), jax.process_count()


def is_first() -> bool:
    """Whether this is process 0, which alone writes what is no checkpoint."""
    return jax.process_index() == 0


def wait(name: str) -> None:
    """Waits until every process has come to the wait of this name."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def all_agree(yes: bool) -> bool:
    """Whether every process says yes."""
    if jax.process_count() == 1:
        return yes
    return bool(np.all(multihost_utils.process_allgather(np.asarray(yes))))


def first_says(value: int) -> int:
    """The number that process 0 has, on all of them."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.broadcast_one_to_all(np.asarray(value)))


def on_first(do: Callable[[], None], name: str) -> None:
    """Runs something on process 0; returns everywhere once it is done.

    Raises:
        UserError: it failed, on every process, so that none waits for another that has gone.
    """
    failure: Exception | None = None
    if is_first():
        try:
            do()
        except (UserError, OSError) as error:
            failure = error
    if not all_agree(failure is None):
        raise failure if failure is not None else UserError(f"process 0 failed: {name}")


def check_shared(directory: Path) -> None:
    """Checks that all processes see one directory.

    Raises:
        UserError: they do not.
    """
    if jax.process_count() == 1:
        return
    token = first_says(uuid.uuid4().int % 2**31)
    mark = directory / f".shared-{token}"

    def write() -> None:
        directory.mkdir(parents=True, exist_ok=True)
        mark.touch()

    on_first(write, f"writing to '{directory}'")
    seen = all_agree(mark.exists())
    if is_first():
        mark.unlink(missing_ok=True)
    if not seen:
        raise UserError(
            f"workdir '{directory}' is not the same on all hosts; it must be on storage that "
            "they share, such as NFS or a mounted bucket"
        )


def gather(data: bytes) -> list[bytes]:
    """What every process has, on all of them, in their order; to the byte, whatever it is."""
    if jax.process_count() == 1:
        return [data]
    sizes = np.asarray(multihost_utils.process_allgather(np.asarray(len(data), np.int32))).ravel()
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    rows = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(sizes), -1)
    return [row[:size].tobytes() for row, size in zip(rows, sizes, strict=True)]


class Stop:
    """Whether the run was asked to stop, by SIGTERM, at a step that all processes agree on.

    With `jax.distributed` its own service catches the signal, spreads the word and names the
    step; alone, a handler does.
    """

    def __init__(self) -> None:
        """After `jax.distributed` has been joined, if it will be."""
        self.asked = False
        self._calls = 0
        self._alone = not jax.distributed.is_initialized()
        self._before: Any = None

    def __enter__(self) -> "Stop":
        if self._alone:
            self._before = signal.signal(signal.SIGTERM, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        if self._alone:
            signal.signal(signal.SIGTERM, self._before)

    def _remember(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True

    def after_step(self) -> bool:
        """True once this step is the one to save and stop at; every process calls it each step."""
        self._calls += 1  # over all stages: the service wants a number that only grows
        if not self._alone:
            self.asked = self.asked or multihost_utils.reached_preemption_sync_point(self._calls)
        return self.asked
