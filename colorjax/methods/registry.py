"""The methods that there are, by name. A release says which one it is for."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from colorjax import inputs
from colorjax.errors import one_of
from colorjax.inputs import Setting
from colorjax.methods import diffusing_colors, lcad
from colorjax.methods.method import LORA, Method, section

METHODS: dict[str, Method[Any, Any]] = {
    method.name: method for method in (lcad.METHOD, diffusing_colors.METHOD)
}
DEFAULT = next(iter(METHODS))
# Of a release's `config.json`: the method, and settings of it, for photographs without a prompt.
WITHOUT_PROMPT = "without_prompt"


class Choice(NamedTuple):
    """A method, and the settings that are not as its release has them."""

    method: str
    settings: Mapping[str, object]


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


def choose(
    config: Mapping[str, Any],
    method: str | None,
    chosen: Mapping[str, object],
    *,
    is_prompted: bool,
) -> Choice:
    """The method that photographs are coloured by, and its settings.

    It is the method that a person names; else, where nobody says what the photographs show, the one
    that the release has for that, if every chosen setting is one of its own; else the release's.

    Args:
        config: of the release.
        method: a name of `METHODS`, or None.
        chosen: settings that a person has named; a LoRA is of the release's own method.

    Raises:
        UserError: there is no such method, or it lacks a chosen setting.
    """
    choice = Choice(method or of_release(config), chosen)
    if method is None and not is_prompted and WITHOUT_PROMPT in config:
        usual = dict(section(config, WITHOUT_PROMPT))
        other = find(str(usual.pop("method")))
        if LORA.name not in chosen and all(other.setting(name) for name in chosen):
            choice = Choice(other.name, usual | dict(chosen))
    refuse_foreign(find(choice.method), choice.settings)
    return choice


def settings() -> dict[str, tuple[Setting, list[str]]]:
    """Every setting by name, and which methods have it."""
    return inputs.owners(METHODS.values())


def refuse_foreign(method: Method[Any, Any], names: Iterable[str]) -> None:
    """Checks that settings are the method's own.

    Raises:
        UserError: one is of another method, or of none.
    """
    inputs.refuse_foreign(method, names, METHODS.values())
