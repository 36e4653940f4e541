"""Which of a configuration's sizes give way to those of the weights it starts from."""

import numpy as np
import pytest

from colorjax import release
from colorjax.configs import common, lcad
from colorjax.errors import UserError
from colorjax.train import weights

LEAF = {"a": np.zeros(1, np.float32)}
PARTS = ("text_encoder", "vae", "luminance_encoder", "unet")
MODEL = common.sd15().to_dict()


def made(directory, changes=None, parts=PARTS):
    """A release of Stable Diffusion 2's kind; its weights do not matter here."""
    config = common.sd15().to_dict() | {"prediction_type": "v", "scaling_factor": 0.2}
    config["unet"].update(linear_projection=True, num_attention_heads=(5, 10, 20, 20), cec="none")
    config["text_encoder"].update(hidden_size=1024, num_attention_heads=16, num_hidden_layers=23)
    config["schedule"].update(beta_end=0.013)
    for section, values in (changes or {}).items():
        config[section].update(values)
    release.write(directory, config, dict.fromkeys(parts, LEAF))
    return directory


def test_the_architecture_is_the_releases_and_cec_the_configurations(tmp_path) -> None:
    got = weights.model_sizes(MODEL, [made(tmp_path)], ["unet"])
    assert got["unet"]["num_attention_heads"] == (5, 10, 20, 20)
    assert got["unet"]["linear_projection"] and got["unet"]["cec"] == "down_blocks"
    assert (got["prediction_type"], got["scaling_factor"]) == ("v", 0.2)
    assert got["schedule"]["beta_end"] == 0.013
    assert got["text_encoder"]["num_hidden_layers"] == 23
    assert got["vae"] == MODEL["vae"]
    # A stage that leaves the UNet alone describes it as it is.
    assert weights.model_sizes(MODEL, [tmp_path], ["luminance_encoder"])["unet"]["cec"] == "none"


def test_only_what_the_release_has(tmp_path) -> None:
    got = weights.model_sizes(MODEL, [made(tmp_path, parts=("vae",))], ["vae"])
    assert set(got) == {"vae", "scaling_factor"}
    assert weights.model_sizes(MODEL, [], ["unet"]) == {}


def test_the_first_directory_counts(tmp_path) -> None:
    own = made(tmp_path / "own", {"vae": {"layers_per_block": 3}}, ("vae",))
    given = made(tmp_path / "given")
    got = weights.model_sizes(MODEL, [own, given], ["unet"])
    assert got["vae"]["layers_per_block"] == 3 and got["text_encoder"]["hidden_size"] == 1024


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"text_encoder": {"hidden_size": 768}}, "unet of .*given.* hidden_size 1024, not 768"),
        ({"vae": {"block_out_channels": (64, 128)}}, "luminance_encoder of .* not .64, 128"),
    ],
)
def test_parts_of_two_models_are_told(own, words, tmp_path) -> None:
    (part,) = own
    directories = [made(tmp_path / "own", own, (part,)), made(tmp_path / "given")]
    with pytest.raises(UserError, match=words):
        weights.model_sizes(MODEL, directories, ["unet"])


def test_pictures_too_small_for_the_networks_are_told(tmp_path) -> None:
    with pytest.raises(UserError, match="image_size is 32, but .* a multiple of 64"):
        weights.model_sizes(MODEL | {"image_size": 32}, [made(tmp_path)], ["unet"])


def test_a_licence_goes_along_with_what_is_trained_from_the_weights(tmp_path) -> None:
    """From the release that a run starts from, and once that is no longer named from its own."""
    config = lcad.get_config("tiny")
    assert weights.terms(config, tmp_path) == {}
    about = {"licence": "openrail++", "origin": ["hub:a/b@c"]}
    release.write(tmp_path / "given", MODEL | about, {"vae": LEAF})
    config.init_from = str(tmp_path / "given")
    assert weights.terms(config, tmp_path) == about
    release.write(tmp_path / "release", MODEL | about | {"origin": ["own"]}, {"vae": LEAF})
    assert weights.terms(config, tmp_path) == about
    config.init_from = "bundled"
    assert weights.terms(config, tmp_path)["origin"] == ["own"]
