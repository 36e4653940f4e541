"""One loaded model for all commands of a module: each would trace its programs anew for seconds."""

from pathlib import Path
from typing import Any

import pytest

from colorjax.colorize import options
from colorjax.colorize.colorizer import Colorizer
from colorjax.methods import registry


@pytest.fixture(scope="module")
def loaded() -> dict[Any, Colorizer]:
    """The models of this module's commands, by release, method and settings that are compiled."""
    return {}


@pytest.fixture(autouse=True)
def _commands_share_models(loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """What differs in traced settings alone is `changed`, which is tested to be the same."""

    def shared(directory: Path, method: str, **chosen: Any) -> Colorizer:
        traced = {name: chosen.pop(name) for name in list(chosen) if is_traced(method, name)}
        given = {name: value for name, value in chosen.items() if value is not None}
        key = (directory, method, *sorted(given.items()))
        if key not in loaded:
            loaded[key] = Colorizer(directory, method, **given)
        return loaded[key].changed(**{k: v for k, v in traced.items() if v is not None})

    monkeypatch.setattr(options, "Colorizer", shared)


def is_traced(method: str, name: str) -> bool:
    row = registry.find(method).setting(name)
    return row is not None and row.traced
