"""Text-guided image colorization in JAX: L-CAD and Diffusing Colors.

import colorjax

colorizer = colorjax.load("bundled")
result = colorizer("photo.jpg", prompt="a red car")
result.save("red.jpg")
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from colorjax.colorize.library import PhotoColorizer

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(
    model: str | os.PathLike[str] = "bundled",
    method: str | None = None,
    *,
    mesh: "str | Mesh | None" = None,
    dtype: str = "auto",
    **settings: float | int | str,
) -> "PhotoColorizer":
    """Loads a model that colours photographs: `colorizer(photo, prompt)`, `colorizer.many(...)`.

    Args:
        model: "bundled", a release directory, a name that `python -m colorjax.fetch` has got,
            `hub:owner/name[@revision]`, which is downloaded, or a `.cjx` file that
            `python -m colorjax.export` has written.
        method: "lcad" or "diffusing_colors"; None is the one that the release was trained for, or,
            where nothing is said of a photograph, the one that its `config.json` has for that.
        mesh: devices that share the work: a number of them as a string, "all", or a mesh of
            jax's. The pictures are those of one device.
        dtype: what the networks compute in, and their matrices are kept in: "float32" or
            "bfloat16"; "auto" is the latter on TPUs and GPUs. Norms, softmax, the sampler and
            colour are in float32 always.
        settings: settings of the method instead of the release's own: `num_steps`,
            `guidance_scale`, `negative_prompt`, `vividness` (a number or "auto"), `temperature`,
            `decoder`, `batch_size` and what `python -m colorjax.colorize --help` lists more.

    Raises:
        colorjax.errors.UserError: there is no such model, or a setting cannot have its value.
    """
    # Here, because importing the package shall cost nothing.
    if str(model).endswith(".cjx"):
        from colorjax.export import exported

        path = Path(model)
        return exported.load(path, method, mesh=mesh, dtype=dtype, **settings)
    from colorjax.colorize import loading

    return loading.load(model, method, mesh=mesh, dtype=dtype, **settings)
