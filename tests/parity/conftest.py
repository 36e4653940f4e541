"""These tests need PyTorch, diffusers, lpips and pytorch-fid: `make parity` installs and runs them.

It names in COLORJAX_PARITY the folder with the downloads of `weights.txt`. Without that the folder
is not collected; with it nothing is skipped, and an absent package is a failure.
"""

import os

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def prepare_torch() -> object:
    """One thread; and `import torchvision` beside a PyTorch that it was not compiled for.

    The import wants these operators, which its compiled part would bring; nothing here uses them.
    They last as long as what this returns.
    """
    import torch

    torch.set_num_threads(1)  # the networks are tiny
    library = torch.library.Library("torchvision", "FRAGMENT")
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


if os.environ.get("COLORJAX_PARITY"):
    OPERATORS = prepare_torch()
else:
    collect_ignore_glob = ["test_*.py"]
