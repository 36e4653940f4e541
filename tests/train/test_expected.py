"""A training looks at what it starts from before it reads it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from colorjax import release
from colorjax.configs import diffusing_colors, lcad
from colorjax.errors import UserError
from colorjax.methods.distances import read_lpips
from colorjax.release import sums
from colorjax.train import expected, places, weights
from tests import hollow

STAGES = {
    "text_encoder": ("latent", lcad),
    "image_encoder": ("ranker", diffusing_colors),
    "vae": ("luminance", lcad),
    "luminance_encoder": ("latent", lcad),
    "unet": ("latent", lcad),
    "text_to_image_unet": ("text_to_image", lcad),
    "cold_unet": ("cold", diffusing_colors),
    "distilled_unet": ("distill", diffusing_colors),
    "ranker": ("ranker", diffusing_colors),
}


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The bundled release in a folder of its own, whose parts can be replaced."""
    directory = tmp_path / "copied"
    shutil.copytree(release.BUNDLED, directory, ignore=shutil.ignore_patterns("*.safetensors"))
    for path in release.BUNDLED.glob("*.safetensors"):
        (directory / path.name).symlink_to(path)
    return directory


def begun(stage: str, configs, directory: Path):
    config = configs.get_config(f"tiny,stage={stage}")
    config.init_from, config.start_part = str(directory), ""
    return config


def find(part: str, directory: Path) -> weights.Weights:
    stage, configs = STAGES[part]
    config = begun(stage, configs, directory)
    if part == "distilled_unet":
        config.start_part = part
    return weights.find_weights(stage, config, directory.parent / "run")


@pytest.mark.parametrize("part", STAGES)
def test_a_part_of_forty_gigabytes_is_told(part: str, copied: Path) -> None:
    flat = flatten_dict(release.read_part(copied, part), sep="/")
    leaves = {path: leaf.shape for path, leaf in flat.items()}
    last = max(leaves)
    hollow.write(copied, part, leaves | {last: hollow.WHOLE})
    message = rf"part '{part}' of '.*copied' is of another model: of another shape: {last}$"
    with pytest.raises(UserError, match=message):
        find(part, copied)


@pytest.mark.parametrize("part", STAGES)
def test_every_leaf_of_a_part_is_expected(part: str, copied: Path) -> None:
    """With as many axes and sides as the bundled model has, of every part that it has."""
    model = expected.of_part(part, copied)
    shapes = {path: leaf.shape for path, leaf in flatten_dict(model.expected, sep="/").items()}
    flat = flatten_dict(release.read_part(copied, part), sep="/")
    assert {path: leaf.shape for path, leaf in flat.items()}.items() <= shapes.items()
    if part not in expected.MAY_LACK:
        assert flat.keys() == shapes.keys()


def test_a_part_of_another_model_is_told_whatever_its_size(copied: Path) -> None:
    flat = flatten_dict(release.read_part(copied, "vae"), sep="/")
    flat["more"] = np.zeros(1, np.float32)
    tree = {"vae": unflatten_dict(flat, sep="/")}
    other = copied.parent / "other"
    release.write(other, release.read_config(copied), tree, inherit=copied)
    with pytest.raises(UserError, match=r"part 'vae' of '.*other' is of another model: unknown: m"):
        find("vae", other)


def test_a_part_that_its_release_does_not_describe_is_told(copied: Path) -> None:
    config = release.read_config(copied)
    other = copied.parent / "other"
    del config["vae"]
    release.write(other, config, {}, inherit=copied)
    with pytest.raises(UserError, match="has a part 'vae', and its config.json no section 'vae'"):
        find("vae", other)


def test_extensions_of_forty_gigabytes_are_not_looked_at(copied: Path) -> None:
    """Those that would have no place are read, to see whether they have learned something."""
    hollow.write(copied, "unet", {"cec_conv_in/kernel": hollow.WHOLE})
    config = begun("latent", lcad, copied)
    config.model.unet.cec = "none"
    with pytest.raises(UserError, match=r"part 'unet' of .* is of another model"):
        places.find("latent", config, copied.parent / "run")


def test_lpips_of_forty_gigabytes_is_told(tmp_path: Path) -> None:
    (tmp_path / sums.CHECKSUMS).touch()
    for leaves, message in (
        ({"features_0/kernel": hollow.WHOLE}, "another model: missing: features_0/bias, .* more"),
        ({"features_0/kernel": (3, 3, 3, 9)}, "does not match SHA256SUMS"),
    ):
        hollow.write(tmp_path, "lpips_vgg16", leaves)
        with pytest.raises(UserError, match=message):
            read_lpips("vgg16", str(tmp_path))
