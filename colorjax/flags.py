"""The command line of training: absl's flags with a configuration file, mistakes told plainly."""

import difflib
import sys
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from colorjax.errors import UserError

CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration file, variants by colon.")
WORKDIR = flags.DEFINE_string("workdir", "", "Where the run lives; runs/<config name> if empty.")


def parse(arguments: list[str]) -> ConfigDict:
    """The configuration with its overrides.

    Raises:
        UserError: no or an unusable configuration, an unknown key (the nearest is named) or a
            value of the wrong type.
    """
    _make_importable(arguments)
    plain = [a for a in arguments if not a.startswith(("--config.", "-config."))]
    _parse(plain)
    if CONFIG.value is None:
        raise UserError("--config is missing; give one such as --config=configs/lcad.py:tiny")
    known = _dotted(CONFIG.value)
    for argument in arguments:
        key = argument.lstrip("-").removeprefix("config.").split("=")[0]
        if argument not in plain and key not in known:
            nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
            raise UserError(f"--config.{key} is unknown; the nearest key is --config.{nearest}")
    _parse(arguments)
    return CONFIG.value


def _parse(arguments: list[str]) -> None:
    # The configuration flag looks for its overrides in `sys.argv`, whatever it is given.
    before, sys.argv = sys.argv, arguments
    # Configuration files are the user's own code: whatever they raise is to be told.
    try:
        rest = flags.FLAGS(arguments)
        if CONFIG.value is not None:
            _ = CONFIG.value.stages  # a file that could not be loaded says so here
    except Exception as error:
        raise UserError(f"the command line cannot be used: {_one_line(error)}") from error
    finally:
        sys.argv = before
    if rest[1:]:
        raise UserError(f"{rest[1]!r} is no flag; flags look like --config=FILE and --workdir=DIR")


def _one_line(error: Exception) -> str:
    """The message; of a traceback inside it, the last line."""
    text = str(error.args[0]) if error.args else type(error).__name__
    lines = text.strip().splitlines()
    return " ".join(" ".join(lines[-1:] if "Traceback" in text else lines).split())


def _make_importable(arguments: list[str]) -> None:
    """Configurations import their neighbours as `configs.common`, from wherever one stands."""
    for argument in arguments:
        name, _, value = argument.partition("=")
        path = Path(value.split(":")[0])
        if name.lstrip("-") == "config" and path.is_file():
            sys.path.insert(0, str(path.resolve().parent.parent))


def _dotted(config: ConfigDict, prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key, value in config.items():
        inner = isinstance(value, ConfigDict)
        keys += _dotted(value, f"{prefix}{key}.") if inner else [prefix + key]
    return keys
