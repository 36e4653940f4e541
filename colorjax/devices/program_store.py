"""Compiled programs kept between runs as they are: what is known is neither traced nor compiled.

JAX's own cache is asked for a program by its lowered text, and before that stands the tracing of
every network, which takes several times as long as colouring a photograph.
"""

import contextlib
import hashlib
import json
import math
import os
import pickle
from collections.abc import Callable, Hashable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from jax.experimental import serialize_executable

from colorjax import files
from colorjax.devices import compile_cache
from colorjax.errors import UserError

_LEAST = "jax_persistent_cache_min_compile_time_secs"
_SUM_BYTES = 32
# Programs in the folder: each change of the code and of a static setting leaves one for each shape.
MOST = 64
# Where the process keeps things and how much it says: nothing that a program depends on.
_WITHOUT_EFFECT = ("cache", "log", "traceback", "dump", "profiler", "explain")


class Program:
    """A jitted function whose compiled programs outlive the process, where it may keep them.

    It may once `compile_cache.setup` has found a folder that is the user's alone; else it is a
    plain `jax.jit`.
    """

    def __init__(self, function: Callable[..., Any], deciding: object) -> None:
        """Nothing is traced yet.

        Args:
            function: of trees of arrays, for one device.
            deciding: what the function's program depends on beside this package's code, its
                libraries, jax's settings, the device and the kinds of its arguments: its own
                name and constants, as a tree that JSON can hold.
        """
        self._function = function
        self._jitted: Any = jax.jit(function)
        self._deciding = deciding
        self._programs: dict[Hashable, Callable[..., Any]] = {}
        self._compilations = 0

    def __call__(self, *arguments: Any) -> Any:
        """The function's results."""
        folder = compile_cache.own_folder()
        if folder is None or jax.process_count() > 1:
            return self._jitted(*arguments)
        leaves, tree = jax.tree.flatten(arguments)
        kind = (tree, tuple(map(str, map(jax.typeof, leaves))))
        if kind in self._programs:
            return self._programs[kind](*arguments)
        text = json.dumps([self._deciding, *_surroundings(), str(kind)], default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()
        path = folder / f"program-{digest}"
        program = _read(path)
        if program is not None:
            with contextlib.suppress(jax.errors.JaxRuntimeError):  # what cannot be run is not used
                results = jax.block_until_ready(program(*arguments))
                self._programs[kind] = program
                return results
        self._programs[kind] = self._compiled(digest, arguments)
        self._compilations += 1
        _write(path, self._programs[kind])
        return self._programs[kind](*arguments)

    def lower(self, *arguments: Any) -> jax.stages.Lowered:
        """As of a jitted function."""
        lowered: jax.stages.Lowered = self._jitted.lower(*arguments)
        return lowered

    def _cache_size(self) -> int:
        """How many programs this process has compiled, as of a jitted function."""
        return int(self._jitted._cache_size()) + self._compilations

    def _compiled(self, digest: str, arguments: Any) -> Callable[..., Any]:
        """A program that can be kept: one out of jax's own cache cannot, jaxlib writes it in part.

        So it goes neither in there nor, by a name of its own, comes out.
        """

        def function(*arguments: Any) -> Any:
            return self._function(*arguments)

        function.__name__ = f"program_{digest[:16]}"
        least = jax.config.values[_LEAST]
        jax.config.update(_LEAST, math.inf)
        try:
            return jax.jit(function).lower(*arguments).compile()
        finally:
            jax.config.update(_LEAST, least)


def _surroundings() -> list[Any]:
    """All that a program depends on beside its function."""
    device = _device()
    settings = {
        name: value
        for name, value in jax.config.values.items()
        if not any(word in name for word in _WITHOUT_EFFECT)
    }
    flags = [os.environ.get(name) for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")]
    versions = [metadata.version(library) for library in ("flax", "jax", "jaxlib", "numpy")]
    about = [device.platform, device.device_kind, device.client.platform_version]
    return [files.own_digest(), versions, about, _processor(), flags, sorted(settings.items())]


def _device() -> jax.Device:
    """Where a program of arguments that lie on no device runs."""
    device: jax.Device = jax.config.values["jax_default_device"] or jax.local_devices()[0]
    return device


def _processor() -> str:
    """What a CPU can do: a home folder may be shared by machines of which one can do less."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return line
    return ""


def _read(path: Path) -> Callable[..., Any] | None:
    """The program in a file; None if there is none, or a damaged one or another version's."""
    with contextlib.suppress(OSError):
        data = path.read_bytes()
        os.utime(path)  # what was not used for longest makes room first
        if hashlib.sha256(data[_SUM_BYTES:]).digest() == data[:_SUM_BYTES]:
            with contextlib.suppress(Exception):  # whatever a runtime has against it
                payload, takes, returns = pickle.loads(data[_SUM_BYTES:])
                program: Callable[..., Any] = serialize_executable.deserialize_and_load(
                    payload, takes, returns, execution_devices=[_device()]
                )
                return program
    return None


def _write(path: Path, compiled: Any) -> None:
    try:
        data = pickle.dumps(serialize_executable.serialize(compiled))
    except Exception:  # some runtimes cannot, and raise what they like
        return
    with contextlib.suppress(UserError, OSError):  # a full disk costs compiling again, nothing else
        files.write_bytes(path, hashlib.sha256(data).digest() + data)
        used = {old: old.stat().st_mtime for old in path.parent.glob("program-*")}
        for old in sorted(used, key=lambda old: used[old])[:-MOST]:
            old.unlink(missing_ok=True)
