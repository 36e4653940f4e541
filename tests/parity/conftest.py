"""These tests need PyTorch, diffusers, lpips and pytorch-fid: `make parity` installs and runs them.

It names in COLORJAX_PARITY the folder with the downloads of `weights.txt`. Without that the folder
is not collected; with it nothing is skipped, and an absent package is a failure.
"""

import os

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def python_part_of_torchvision() -> object:
    """Makes `import torchvision` work beside a PyTorch that its compiled part was not built for.

    The import wants these operators, which that part would bring; no network here uses them.
    """
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


if os.environ.get("COLORJAX_PARITY"):
    OPERATORS = python_part_of_torchvision()  # they last as long as the library
else:
    collect_ignore_glob = ["test_*.py"]
