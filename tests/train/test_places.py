"""Where a stage finds its weights, and what is said before any stage trains if it will not."""

from pathlib import Path

import jax
import numpy as np
import pytest

from colorjax import release
from colorjax.configs import diffusing_colors, lcad
from colorjax.devices import sharding
from colorjax.errors import UserError
from colorjax.train import expected, places, weights
from colorjax.train.run import check_needs, run_stage

LEAF = {"a": np.zeros(1, np.float32)}
SHARED = ("text_encoder", "vae")


def made(directory: Path, *parts: str, learned: bool = True, **unet) -> Path:
    """A release of so many parts, whose UNet extends its first convolution."""
    config = lcad.get_config("tiny,cec=conv_in").model.to_dict()
    config["unet"].update(unet)
    trees = dict.fromkeys(parts, LEAF)
    if "unet" in trees:
        extension = np.full((1, 1, 1, 1), float(learned), np.float32)
        trees["unet"] = {"conv_in": LEAF, "cec_conv_in": {"kernel": extension}}
    release.write(directory, config, trees)
    return directory


def begun(argument: str, directory: Path | str, configs=lcad):
    config = configs.get_config(argument)
    config.init_from = str(directory)
    return config


L_CAD = (*SHARED, "luminance_encoder", "unet")


def test_a_stand_in_replaces_a_unet_of_other_extensions(tmp_path, capsys) -> None:
    """As of the bundled model: `:tiny,released` and `ablation=no_slr` begin with it."""
    both = made(tmp_path / "both", *L_CAD, "text_to_image_unet")
    for argument in ("ablation=no_slr,stage=latent", "cec=none,stage=latent"):
        found = places.find("latent", begun(argument, both), tmp_path / "run")
        assert found.start["unet"] == ("text_to_image_unet", both)
    assert "cec is 'none', but the UNet of" in capsys.readouterr().out
    found = places.find("latent", begun("released,stage=latent", both), tmp_path / "run")
    assert found.start["unet"] == ("unet", both)
    for argument in ("tiny,released,stage=latent", "tiny,ablation=no_slr,stage=latent"):
        found = places.find("latent", begun(argument, "bundled"), tmp_path / "run")
        assert found.start["unet"][0] == "text_to_image_unet"
    assert places.find("latent", begun("tiny", "bundled"), tmp_path).start["unet"][0] == "unet"


def test_extensions_that_learned_something_are_not_dropped(tmp_path) -> None:
    learned = made(tmp_path / "learned", *L_CAD)
    expected = "cec is 'none', but .* extends conv_in, .*set --config.model.unet.cec='conv_in'"
    with pytest.raises(UserError, match=expected):
        places.find("latent", begun("cec=none,stage=latent", learned), tmp_path / "run")
    with pytest.raises(UserError, match="extends conv_in, which would have no place"):
        places.find("cold", begun("stage=cold", learned, diffusing_colors), tmp_path / "run")
    more = made(tmp_path / "more", *L_CAD, cec="down_blocks", cec_convolutions=("conv1", "conv2"))
    assert places.extended(release.read_config(more)["unet"]) == {"conv_in", "conv1", "conv2"}


def test_extensions_that_are_zero_are_no_loss(tmp_path) -> None:
    """As of `--format=init-lcad`: the UNet is Stable Diffusion's without them."""
    fresh = made(tmp_path / "fresh", *L_CAD, learned=False)
    whole = {part: expected.of_part(part, fresh).expected for part in L_CAD}
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), whole)
    release.write(fresh, release.read_config(fresh), zeros)
    for name, config in (
        ("latent", begun("ablation=no_slr,stage=latent", fresh)),
        ("cold", begun("stage=cold", fresh, diffusing_colors)),
    ):
        (tree,) = weights.find_weights(name, config, tmp_path / "run").start.values()
        assert tree.keys() == whole["unet"].keys() - {"cec_conv_in"}
    start = weights.find_weights("latent", begun("stage=latent", fresh), tmp_path / "run").start
    assert start["unet"].keys() == whole["unet"].keys()


def test_what_is_missing_is_made_by_the_runs_own_configuration(tmp_path) -> None:
    """Never by the tiny one, whose weights would be mixed into a full-size run."""
    plain = made(tmp_path / "plain", *SHARED, "unet", learned=False)
    config = begun("released,stage=latent", plain)
    expected = rf"--config=configs/lcad.py:released,stage=luminance --config.init_from={plain} "
    with pytest.raises(UserError, match=expected):
        places.find("latent", config, tmp_path / "run")
    config = begun("", plain, diffusing_colors)
    with pytest.raises(UserError, match="'image_encoder'.*--format=init-cold --input=.* --input="):
        check_needs(config, tmp_path / "run")
    config.init_from = ""
    with pytest.raises(UserError, match="'text_encoder'.*--format=init-cold"):
        check_needs(config, tmp_path / "run")
    with pytest.raises(UserError, match="'vae'.*--format=init-lcad"):
        check_needs(lcad.get_config(), tmp_path / "run")


def test_the_needs_of_all_stages_are_known_before_the_first(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(UserError, match="LPIPS needs pretrained weights"):
        check_needs(lcad.get_config("tiny"), tmp_path / "run")
    config = lcad.get_config("tiny")
    config.luminance.perceptual_weight = 0.0
    check_needs(config, tmp_path / "run")  # every part is made by a stage before
    config.stages = config.stages[1:]
    with pytest.raises(UserError, match="'text_encoder'.*stage=clip"):
        check_needs(config, tmp_path / "run")
    cold = diffusing_colors.get_config("tiny")
    check_needs(cold, tmp_path / "run")
    cold.init_from = str(made(tmp_path / "few", *SHARED, "image_encoder"))
    with pytest.raises(UserError, match="without gray_channels starts from a trained UNet"):
        check_needs(cold, tmp_path / "run")
    cold.model.cold.update(gray_channels=True, decoder="guided")
    with pytest.raises(UserError, match="needs the part 'luminance_encoder'"):
        check_needs(cold, tmp_path / "run")


def test_every_full_size_splits_its_optimizer() -> None:
    for config in (lcad.get_config(), diffusing_colors.get_config()):
        assert (config.mesh.data, config.mesh.fsdp) == (-1, -1)
    for config in (lcad.get_config("tiny"), diffusing_colors.get_config("tiny")):
        assert (config.mesh.data, config.mesh.fsdp) == (-1, 1)


def test_only_the_small_models_leave_colours_out_of_captions() -> None:
    for configs in (lcad, diffusing_colors):
        for argument in ("", "tiny"):
            config = configs.get_config(argument)
            shares = {config[stage].partial_share for stage in config.stages}
            assert shares == ({0.5} if argument else {0.0})
    released = lcad.get_config("released")
    assert released.latent.partial_share == released.latent.scarce_share == 0.0


def test_the_stand_in_can_be_asked_for() -> None:
    config = begun("tiny,stage=latent,trainable=paper", "bundled")
    config.start_part = "text_to_image_unet"
    assert places.find("latent", config, Path("none")).start["unet"][0] == "text_to_image_unet"


@pytest.mark.parametrize("place", ["latent", "latent/checkpoints", "latent/samples", "release"])
def test_a_run_writes_through_no_link_of_its_folder(tmp_path, place) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "run" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=f"run/{place}' is a link out of '.*run'"):
        config, mesh = begun("tiny,stage=latent", "bundled"), sharding.make_mesh()
        run_stage("latent", config, tmp_path / "run", mesh)
    assert not list((tmp_path / "elsewhere").iterdir())
