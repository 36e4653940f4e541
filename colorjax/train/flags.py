"""The command line of training: absl's flags with a configuration file, mistakes in a sentence."""

import difflib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from colorjax.errors import UserError

PACKAGE = Path(__file__).parent.parent
CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration file, variants by colon.")
DISTRIBUTED = flags.DEFINE_string("distributed", "auto", "Several processes: auto, on or off.")
COORDINATOR = flags.DEFINE_string("coordinator", "", "host:port of process 0.")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes the run has.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")
HEARTBEAT = flags.DEFINE_integer("heartbeat_seconds", 30, "Silence after which a process is lost.")
PROFILE = flags.DEFINE_string("profile", "", "FIRST:COUNT, the steps of a profiler trace.")
PROFILER_PORT = flags.DEFINE_integer(
    "profiler_port", 0, "Serve profiles on demand at this port, process i at the i-th after it."
)
WANDB = flags.DEFINE_string("wandb", "", "A Weights & Biases project to log to.")
WORKDIR = flags.DEFINE_string("workdir", "", "Where the run lives; runs/<config name> if empty.")


def parse(arguments: list[str]) -> ConfigDict:
    """The configuration with its overrides.

    Raises:
        UserError: no or an unusable configuration, an unknown key (the nearest is named) or a
            value of the wrong type.
    """
    arguments = _located(arguments)
    without_overrides = [a for a in arguments if not a.startswith(("--config.", "-config."))]
    _parse(without_overrides)
    if CONFIG.value is None:
        raise UserError("--config is missing; give one such as --config=configs/lcad.py:tiny")
    known = dotted(CONFIG.value)
    for argument in arguments:
        key = argument.lstrip("-").removeprefix("config.").split("=")[0]
        if argument not in without_overrides and key not in known:
            # ConfigDict's own "did you mean" sees one level, and is silent on --config.batch_size,
            # which a stage has.
            nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
            raise UserError(f"--config.{key} is unknown; the nearest key is --config.{nearest}")
    _parse(arguments)
    return CONFIG.value


def command(arguments: Sequence[str], **values: object) -> str:
    """What to type to run the command of `arguments` with other values of its configuration.

    Args:
        arguments: as `parse` takes them.
        values: key of the configuration, as `latent.learning_rate` -> value.
    """
    names = {f"config.{key}" for key in values}
    kept = [a for a in arguments[1:] if a.partition("=")[0].lstrip("-") not in names]
    changed = [f"--config.{key}={value}" for key, value in values.items()]
    return shlex.join(["python", "-m", "colorjax.train", *kept, *changed])


def profile_window() -> tuple[int, int]:
    """The first step of the profile, counted from the start of this process, and how many.

    Raises:
        UserError: the flag is something else than two numbers.
    """
    if not PROFILE.value:
        return 0, 0
    first, colon, count = PROFILE.value.partition(":")
    if not (colon and first.isdigit() and count.isdigit() and int(count) > 0):
        raise UserError(f"profile is {PROFILE.value!r}; it must be FIRST:COUNT, such as 20:3")
    return int(first), int(count)


def _parse(arguments: list[str]) -> None:
    # The configuration flag looks for its overrides in `sys.argv`, whatever it is given.
    before, sys.argv = sys.argv, arguments
    try:
        rest = flags.FLAGS(arguments)
        if CONFIG.value is not None:
            _ = CONFIG.value.stages  # a file that could not be loaded says so here
    except UserError:
        raise
    except Exception as error:  # configuration files are the user's own code and may raise anything
        raise UserError(f"the command line cannot be used: {_one_line(error)}") from error
    finally:
        sys.argv = before
    if rest[1:]:
        raise UserError(f"{rest[1]!r} is no flag; flags look like --config=FILE and --workdir=DIR")


def _one_line(error: Exception) -> str:
    """The message; if it holds a traceback, that one's last line."""
    text = str(error.args[0]) if error.args else type(error).__name__
    lines = text.strip().splitlines()
    return " ".join(" ".join(lines[-1:] if "Traceback" in text else lines).split())


def _located(arguments: list[str]) -> list[str]:
    """The command line with the installed configuration where the file is not in this folder."""
    located = list(arguments)
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name.lstrip("-") != "config":
            continue
        if equals:
            located[i] = f"{name}={_file(value)}"
        elif i + 1 < len(arguments):
            located[i + 1] = _file(arguments[i + 1])
    return located


def _file(value: str) -> str:
    """`configs/lcad.py:tiny` here, or as it was installed with the package."""
    path, colon, variants = value.partition(":")
    installed = PACKAGE / path
    if Path(path).is_file() or installed.parent != PACKAGE / "configs" or not installed.is_file():
        return value
    return f"{installed}{colon}{variants}"


def dotted(config: ConfigDict, prefix: str = "") -> list[str]:
    """The keys of a configuration as its flags name them: `latent.learning_rate`."""
    keys: list[str] = []
    for key, value in config.items():
        inner = isinstance(value, ConfigDict)
        keys += dotted(value, f"{prefix}{key}.") if inner else [prefix + key]
    return keys
