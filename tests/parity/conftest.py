"""These tests need PyTorch, diffusers, lpips and pytorch-fid: `make parity` installs and runs them.

It names in COLORJAX_PARITY the folder with the downloads of `weights.txt`. Without that the folder
is not collected; with it nothing is skipped, and an absent package is a failure.
"""

import os

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

if os.environ.get("COLORJAX_PARITY"):
    from benchmarks import pytorch

    OPERATORS = pytorch.prepare()
else:
    collect_ignore_glob = ["test_*.py"]
