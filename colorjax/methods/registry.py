"""The methods that there are, by name. A release says which one it is for."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from colorjax import inputs
from colorjax.errors import UserError, one_of
from colorjax.inputs import Setting
from colorjax.methods import diffusing_colors, lcad
from colorjax.methods.method import OF_MASKS, Method, section

METHODS: dict[str, Method[Any, Any]] = {
    method.name: method for method in (lcad.METHOD, diffusing_colors.METHOD)
}
DEFAULT = next(iter(METHODS))
# Of a release's `config.json`: the method, and settings of it, for photographs without a prompt.
WITHOUT_PROMPT = "without_prompt"
Loaded = TypeVar("Loaded")


class Choice(NamedTuple):
    """A method, and the settings that are not as its release has them.

    Attributes:
        is_unprompted: whether the release has it for photographs without a prompt.
    """

    method: str
    settings: Mapping[str, Any]
    is_unprompted: bool = False

    def load(self, load: Callable[..., Loaded]) -> Loaded:
        """What `load(method, **settings)` gives.

        Raises:
            UserError: it raises one; of a method that nobody has named, it says whence that is.
        """
        try:
            return load(self.method, **self.settings)
        except UserError as error:
            raise (_unprompted(error, self.method) if self.is_unprompted else error) from None


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


def without_prompt(config: Mapping[str, Any]) -> Choice | None:
    """What a release has for photographs of which nobody says what they show.

    Raises:
        UserError: it cannot be.
    """
    if WITHOUT_PROMPT not in config:
        return None
    settings = dict(section(config, WITHOUT_PROMPT))
    name = str(settings.pop("method"))
    try:
        method = find(name)
        if masked := [row.name for row in OF_MASKS if row.name in settings]:
            raise UserError(f"{masked[0]} is about masks, which need a prompt")
        refuse_foreign(method, settings)
        method.resolve(config, settings)
    except UserError as error:
        raise _unprompted(error, name) from None
    return Choice(name, settings, is_unprompted=True)


def _unprompted(error: UserError, method: str) -> UserError:
    return UserError(
        f"{error} (without a prompt the release's config.json takes method {method!r}: name a "
        "method, or say what the photograph shows)"
    )


def choose(
    config: Mapping[str, Any],
    method: str | None,
    chosen: Mapping[str, Any],
    *,
    is_prompted: bool,
) -> Choice:
    """The method that photographs are coloured by, and its settings.

    It is the method that a person names; else, where nobody says what the photographs show, the one
    that the release has for that, if it takes every chosen setting; else the release's.

    Args:
        config: of the release.
        method: a name of `METHODS`, or None.
        chosen: settings that a person has named; None is as not named.

    Raises:
        UserError: there is no such method, or it lacks a chosen setting.
    """
    chosen = {name: value for name, value in chosen.items() if value is not None}
    if method is None and not is_prompted:
        unprompted = without_prompt(config)
        if unprompted is not None and find(unprompted.method).is_taking(chosen):
            return unprompted._replace(settings={**unprompted.settings, **chosen})
    name = method or of_release(config)
    refuse_foreign(find(name), chosen)
    return Choice(name, chosen)


def settings() -> dict[str, tuple[Setting, list[str]]]:
    """Every setting by name, and which methods have it."""
    return inputs.owners(METHODS.values())


def refuse_foreign(method: Method[Any, Any], names: Iterable[str]) -> None:
    """Checks that settings are the method's own.

    Raises:
        UserError: one is of another method, or of none.
    """
    inputs.refuse_foreign(method, names, METHODS.values())
