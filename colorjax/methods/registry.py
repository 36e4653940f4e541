"""The methods that there are, by name. A release says which one it is for."""

from collections.abc import Iterable, Mapping
from typing import Any

from colorjax.errors import UserError, one_of
from colorjax.methods import diffusing_colors, lcad
from colorjax.methods.method import Method, Setting

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
    rows: dict[str, tuple[Setting, list[str]]] = {}
    for method in METHODS.values():
        for row in method.settings:
            rows.setdefault(row.name, (row, []))[1].append(method.name)
    return rows


def refuse_foreign(method: Method[Any, Any], names: Iterable[str]) -> None:
    """Checks that settings are the method's own.

    Raises:
        UserError: one is of another method, or of none.
    """
    known = settings()
    for name in names:
        one_of("setting", name, known)
        owners = known[name][1]
        if method.name not in owners:
            raise UserError(f"--{name} is a setting of --method={owners[0]}, not of {method.name}")
