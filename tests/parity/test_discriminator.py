"""The PatchGAN against the same layers in torch, in training mode."""

import jax
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from colorjax.models.discriminator import PatchDiscriminator
from colorjax.models.layers import apply

torch = pytest.importorskip("torch")


def sequence(features: int, layers: int):
    nn = torch.nn
    modules, width = [nn.Conv2d(3, features, 4, 2, 1), nn.LeakyReLU(0.2)], features
    for i in range(1, layers + 1):
        wider = features * min(2**i, 8)
        stride = 2 if i < layers else 1
        modules += [nn.Conv2d(width, wider, 4, stride, 1, bias=False), nn.BatchNorm2d(wider)]
        modules += [nn.LeakyReLU(0.2)]
        width = wider
    return nn.Sequential(*modules, nn.Conv2d(width, 1, 4, 1, 1))


@pytest.mark.parametrize(("layers", "shape"), [(3, (2, 64, 48)), (2, (3, 32, 32))])
def test_logits(layers: int, shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    reference = sequence(16, layers).train()
    for module in reference:
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight, 1.0, 0.3)
            torch.nn.init.normal_(module.bias)
    flat = {}
    for key, tensor in reference.state_dict().items():
        if "running" in key or "tracked" in key:
            continue
        number, leaf = key.split(".")
        array = tensor.numpy()
        if array.ndim == 4:
            flat[f"main_{number}/kernel"] = array.transpose(2, 3, 1, 0)
        else:
            norm = isinstance(reference[int(number)], torch.nn.BatchNorm2d)
            flat[f"main_{number}/{'scale' if norm and leaf == 'weight' else 'bias'}"] = array
    image = np.random.default_rng(0).uniform(-1, 1, (*shape, 3)).astype(np.float32)
    module = PatchDiscriminator(features=16, layers=layers)
    shapes = jax.eval_shape(module.init, jax.random.key(0), image)["params"]
    params = unflatten_dict(flat, sep="/")
    assert jax.tree.map(lambda a: a.shape, shapes) == jax.tree.map(lambda a: a.shape, params)
    with torch.no_grad():
        expected = reference(torch.from_numpy(image.transpose(0, 3, 1, 2))).numpy()
    got = np.asarray(apply(module, params, image)).transpose(0, 3, 1, 2)
    assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max()
