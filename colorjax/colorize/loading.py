"""A release by its name, ready to colour photographs."""

import functools
import os

from jax.sharding import Mesh

from colorjax import release
from colorjax.colorize.colorizer import Colorizer
from colorjax.colorize.finished import digest_of_model
from colorjax.colorize.library import PhotoColorizer
from colorjax.colorize.running import PictureColorizer
from colorjax.colorize.words.automatic import Captioner
from colorjax.devices import precision, replicas
from colorjax.errors import UserError
from colorjax.inputs import Value
from colorjax.methods import registry
from colorjax.methods.registry import Choice


def load(
    model: str | os.PathLike[str],
    method: str | None = None,
    *,
    mesh: str | Mesh | None = None,
    dtype: str = precision.AUTO,
    **settings: Value,
) -> PhotoColorizer:
    """See `colorjax.load`."""
    directory = release.locate(model)
    if isinstance(mesh, str):
        mesh = replicas.mesh_of(mesh)
    computed = precision.compute_type(dtype)
    config = release.read_config(directory)

    def colorizer(choice: Choice) -> Colorizer:
        return Colorizer(directory, choice.method, dtype=computed, mesh=mesh, **choice.settings)

    choice = registry.choose(config, method, settings, is_prompted=True)
    other = registry.choose(config, method, settings, is_prompted=False)
    own = colorizer(choice)

    @functools.cache
    def unprompted() -> Colorizer:
        loaded = colorizer(other)
        _share(own, loaded)
        return loaded

    return PhotoColorizer(
        own,
        os.fspath(model),
        digest_of_model(directory),
        functools.partial(Captioner, directory, own.tokenize),
        None if other == choice else unprompted,
    )


def load_methods(
    model: str | os.PathLike[str],
    *,
    mesh: str | Mesh | None = None,
    dtype: str = precision.AUTO,
    **settings: Value,
) -> tuple[list[PhotoColorizer], dict[str, UserError]]:
    """A release by its own method, and by all others that it has the parts of.

    Parts that methods share are in memory once.

    Args:
        settings: as `load`; the other methods get those that they have, too.

    Returns:
        The colorizers, that of the release's own method first, and by the titles of the methods
        that it cannot be used by, why.

    Raises:
        UserError: it cannot be used by its own method.
    """
    first = load(model, None, mesh=mesh, dtype=dtype, **settings)
    own = first.colorizer.method.name
    loaded, refused = [first], {}
    for name, method in registry.METHODS.items():
        if name == own:
            continue
        theirs = {k: v for k, v in settings.items() if method.setting(k) is not None}
        try:
            other = load(model, name, mesh=mesh, dtype=dtype, **theirs)
        except UserError as error:
            refused[method.title] = error
            continue
        _share(first.colorizer, other.colorizer)
        if first.unprompted is not None:
            _share(other.colorizer, first.unprompted())
        loaded.append(other)
    return loaded, refused


def _share(one: PictureColorizer, other: PictureColorizer) -> None:
    """Parts of the same name are of the same files, and need not be in memory twice."""
    assert isinstance(one, Colorizer) and isinstance(other, Colorizer)
    if one.settings["lora"] == other.settings["lora"]:
        other.params |= {part: one.params[part] for part in other.params if part in one.params}
