"""These tests need PyTorch, diffusers and transformers: `pip install -e '.[dev,parity]'`.

Without them the folder is not collected, unless COLORJAX_PARITY=1 asks for it, as CI does; then
their absence is a failure.
"""

import importlib.util
import os

NEEDED = ("torch", "diffusers", "transformers")

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

if not os.environ.get("COLORJAX_PARITY"):
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        collect_ignore_glob = ["test_*.py"]
