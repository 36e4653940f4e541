"""A release by its name, ready to colour photographs."""

import functools
import os

from jax.sharding import Mesh

from colorjax import release
from colorjax.colorize.colorizer import Colorizer
from colorjax.colorize.finished import digest_of_model
from colorjax.colorize.library import PhotoColorizer
from colorjax.colorize.words.automatic import Captioner
from colorjax.devices import precision, replicas
from colorjax.inputs import Value


def load(
    model: str | os.PathLike[str],
    method: str | None = None,
    *,
    mesh: str | Mesh | None = None,
    dtype: str = precision.AUTO,
    **settings: Value,
) -> PhotoColorizer:
    """See `colorjax.load`."""
    directory = release.locate(os.fspath(model))
    if isinstance(mesh, str):
        mesh = replicas.mesh_of(mesh)
    computed = precision.compute_type(dtype)
    colorizer = Colorizer(directory, method, dtype=computed, mesh=mesh, **settings)
    captioner = functools.partial(Captioner, directory, colorizer.tokenize)
    digest = digest_of_model(directory)
    return PhotoColorizer(colorizer, os.fspath(model), digest, captioner)
