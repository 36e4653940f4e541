"""The methods that there are, by name. A release says which one it is for."""

from collections.abc import Iterable, Mapping
from typing import Any

from colorjax import inputs
from colorjax.errors import one_of
from colorjax.inputs import Setting
from colorjax.methods import diffusing_colors, lcad
from colorjax.methods.method import Method

METHODS: dict[str, Method[Any, Any]] = {
    method.name: method for method in (lcad.METHOD, diffusing_colors.METHOD)
}
DEFAULT = next(iter(METHODS))


def find(name: str) -> Method[Any, Any]:
    """The method of a name.

    Raises:
        UserError: there is none.
    """
    one_of("method", name, METHODS)
    return METHODS[name]


def of_release(config: Mapping[str, Any]) -> str:
    """The method that a release was trained for; the first one where it does not say.

    Raises:
        UserError: it names one that this version has not.
    """
    name = str(config.get("method", DEFAULT))
    one_of("the release's method", name, METHODS)
    return name


def settings() -> dict[str, tuple[Setting, list[str]]]:
    """Every setting by name, and which methods have it."""
    return inputs.owners(METHODS.values())


def refuse_foreign(method: Method[Any, Any], names: Iterable[str]) -> None:
    """Checks that settings are the method's own.

    Raises:
        UserError: one is of another method, or of none.
    """
    inputs.refuse_foreign(method, names, METHODS.values())
