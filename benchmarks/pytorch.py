"""PyTorch as it is compared with: on one thread, with or without the operators of torchvision."""


def prepare() -> object:
    """Sets one thread, and makes `import torchvision` work beside any PyTorch.

    A torchvision that was compiled for another PyTorch asks at its import for operators that its
    compiled part would bring, and that nothing here uses: empty ones are declared. They last as
    long as what this returns.
    """
    import torch

    torch.set_num_threads(1)
    library = torch.library.Library("torchvision", "FRAGMENT")
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library
