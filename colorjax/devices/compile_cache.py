"""What entry points set up before the first compilation."""

import os
from pathlib import Path


def setup() -> None:
    """Keeps compiled programs between runs, in a directory that only its owner may enter.

    A cached program is executed as it is, so the directory must not be writable by others.
    `JAX_COMPILATION_CACHE_DIR`, if set, is used instead.
    """
    import jax

    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    try:
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        directory = Path(root) / "colorjax" / "xla"
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
    except (OSError, RuntimeError):
        return  # no home, or a read-only one, costs compile time, nothing else
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
