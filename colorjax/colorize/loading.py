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
    load_by = functools.partial(
        Colorizer, directory, dtype=precision.compute_type(dtype), mesh=mesh
    )
    config = release.read_config(directory)
    described = registry.choose(config, method, settings, is_prompted=True)
    colorizer = described.load(load_by)
    undescribed = registry.choose(config, method, settings, is_prompted=False)

    @functools.cache
    def unprompted() -> Colorizer:
        loaded = undescribed.load(load_by)
        _share(colorizer, loaded)
        return loaded

    return PhotoColorizer(
        colorizer,
        os.fspath(model),
        digest_of_model(directory),
        functools.partial(Captioner, directory, colorizer.tokenize),
        unprompted if undescribed.is_unprompted else None,
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
        The colorizers, that of the release's own method first, and by the titles of what it cannot
        be used by, why.

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
        loaded.append(other)
    if first.unprompted is not None:
        try:
            unprompted = first.unprompted()
            for one in loaded[1:]:
                _share(one.colorizer, unprompted)
        except UserError as error:
            refused["a method of its own for photographs without a prompt"] = error
            first.unprompted = None
    return loaded, refused


def _share(one: PictureColorizer, other: PictureColorizer) -> None:
    """Parts of the same name are of the same files, and need not be in memory twice."""
    assert isinstance(one, Colorizer) and isinstance(other, Colorizer)
    other.load_ranker = one.load_ranker
    if one.settings["lora"] == other.settings["lora"]:
        other.params |= {part: one.params[part] for part in other.params if part in one.params}
