"""Release directories: what is written is read, what is damaged is told."""

import copy
import json
import os
import shutil
import subprocess
import tracemalloc
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, seed

from colorjax import release
from colorjax.configs import diffusing_colors, lcad
from colorjax.data.tokenizer import FILES
from colorjax.errors import UserError
from colorjax.methods import lcad as lcad_method
from colorjax.methods import registry
from colorjax.release import shapes
from tests import hollow, small
from tests.searching import changed, searched

TREE = {"conv": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.ones(3)}}


def write(directory):
    release.write(directory, {"method": "lcad"}, {"vae": TREE}, dtype=np.float16)
    return directory


def test_round_trip_and_parts_are_added(tmp_path) -> None:
    write(tmp_path)
    got = release.read_part(tmp_path, "vae")
    np.testing.assert_array_equal(got["conv"]["kernel"], TREE["conv"]["kernel"])
    assert got["conv"]["bias"].dtype == np.float32
    release.write(tmp_path, {"method": "lcad"}, {"unet": TREE})
    assert release.parts_in(tmp_path) == {"vae", "unet"}
    release.read_part(tmp_path, "vae")
    assert release.find_part([tmp_path], "unet") == tmp_path
    assert release.find_part([tmp_path], "clip") is None


def test_one_flipped_bit_is_found(tmp_path) -> None:
    path = write(tmp_path) / "vae.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="damaged"):
        release.read_part(tmp_path, "vae")


def test_reading_needs_little_more_memory_than_the_result(tmp_path) -> None:
    leaves = {str(i): np.ones((250, 1000), np.float32) for i in range(40)}
    release.write(tmp_path, {}, {"vae": leaves})
    tracemalloc.start()
    got = release.read_part(tmp_path, "vae", jnp.bfloat16)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = sum(leaf.nbytes for leaf in got.values())
    assert size == 20_000_000 and peak < 1.3 * size


@pytest.mark.parametrize(
    ("leaves", "message"),
    [
        ({"kernel": (2, 3), "more": (10_000_000,)}, "of another model: unknown: more"),
        ({"kernel": (1000, 10_000)}, "of another model: of another shape: kernel"),
        ({"many": (10_000_000,)}, "of another model: missing: kernel; unknown: many"),
    ],
)
def test_another_models_tensors_are_refused_before_they_are_read(tmp_path, leaves, message) -> None:
    tree = {name: np.ones(shape, np.float16) for name, shape in leaves.items()}
    release.write(tmp_path, {}, {"vae": tree}, dtype=np.float16)
    expected = {"kernel": jax.ShapeDtypeStruct((2, 3), np.float32)}
    tracemalloc.start()
    with pytest.raises(UserError, match=message):
        release.read_model(tmp_path, ["vae"], expected, "part 'vae'")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def test_parts_are_read_as_one_model(tmp_path) -> None:
    """A scalar with an axis, as it was once written, is one of them."""
    text = {"w": np.arange(6.0).reshape(2, 3), "logit_scale": np.full(1, 3.0)}
    release.write(tmp_path, {}, {"text": text, "image": {"b": np.ones(4)}})
    expected = {
        "text": {"w": np.zeros((2, 3)), "logit_scale": np.zeros(())},
        "image": {"b": np.zeros(4)},
        "more": np.zeros(2),
    }
    got = release.read_model(
        tmp_path,
        ("text", "image"),
        expected,
        "both",
        assemble=lambda text, image: {"text": text, "image": image},
        dtype=jnp.bfloat16,
        may_lack="^more$",
    )
    assert got["text"]["logit_scale"] == 3.0 and got["text"]["logit_scale"].shape == ()
    assert got["text"]["w"].dtype == jnp.bfloat16 and got["image"]["b"].dtype == np.float32
    np.testing.assert_array_equal(got["text"]["w"], text["w"])


def test_missing_things_are_named(tmp_path) -> None:
    with pytest.raises(UserError, match="unknown"):
        release.locate(str(tmp_path))


def test_what_people_bring_is_named_with_the_command_that_converts_it(tmp_path) -> None:
    folder = tmp_path / "stable-diffusion-v1-5"
    folder.mkdir()
    (folder / "model_index.json").write_text("{}")
    with pytest.raises(
        UserError, match=f"Stable Diffusion folder of diffusers: .*{folder} --output"
    ):
        release.locate(str(folder))
    clip = tmp_path / "clip"
    clip.mkdir()
    (clip / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(UserError, match="--format=clip.clipseg"):
        release.locate(str(clip))
    (tmp_path / "coco_weight.ckpt").write_bytes(b"")
    with pytest.raises(UserError, match="--format=lcad.ldm"):
        release.locate(str(tmp_path / "coco_weight.ckpt"))


def test_files_are_for_everyone_who_may_read_the_folder(tmp_path) -> None:
    release.write(tmp_path / "release", {}, {"vae": {"a": np.zeros(1)}})
    (tmp_path / "ordinary").touch()
    ordinary = (tmp_path / "ordinary").stat().st_mode
    assert {p.stat().st_mode for p in (tmp_path / "release").iterdir()} == {ordinary}
    write(tmp_path)
    with pytest.raises(UserError, match="no part 'unet'"):
        release.read_part(tmp_path, "unet")
    (tmp_path / "SHA256SUMS").unlink()
    with pytest.raises(UserError, match="incomplete"):
        release.read_part(tmp_path, "vae")


def test_another_format_is_refused(tmp_path) -> None:
    (write(tmp_path) / "config.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(UserError, match="99"):
        release.read_config(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(UserError, match="format None"):
        release.read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="config.json"):
        release.read_config(tmp_path)


MODEL = json.loads((release.BUNDLED / "config.json").read_text())


def written(directory, config):
    release.write(directory, config, {})
    return directory


@pytest.mark.parametrize(
    "model",
    [
        lambda: MODEL,
        lambda: lcad.get_config().model.to_dict(),
        lambda: lcad.get_config("tiny").model.to_dict(),
        lambda: diffusing_colors.get_config().model.to_dict(),
        lambda: diffusing_colors.get_config("tiny").model.to_dict(),
        lambda: small.cold_config().model.to_dict(),
        lambda: release.read_config(small.DATA / "before" / "release"),
        lambda: release.read_config(small.DATA / "before" / "run" / "release"),
    ],
)
def test_every_model_of_ours_is_within_the_ranges(tmp_path, model) -> None:
    config = json.loads(json.dumps(model()))
    assert release.read_config(written(tmp_path, config)) == config | {"format": 1}


@pytest.mark.parametrize(
    "place,value,message",
    [
        ("image_size", -32, "image_size: -32 is less than the minimum of 8"),
        ("image_size", 2**40, "image_size: .* is greater than the maximum"),
        ("image_size", 32.0, "image_size: 32.0 is not of type 'integer'"),
        ("image_size", "32", "image_size: '32' is not of type 'integer'"),
        ("image_size", True, "image_size: True is not of type 'integer'"),
        ("scaling_factor", 0, "scaling_factor: 0 is less than the minimum"),
        ("scaling_factor", None, "scaling_factor: None is not of type 'number'"),
        ("schedule.beta_start", float("nan"), "NaN is no number"),
        ("schedule.beta_end", float("inf"), "Infinity is no number"),
        ("schedule.beta_end", 1, "schedule.beta_end: 1 is greater"),
        ("schedule.beta_end", 1e-5, "beta_start 0.00085 is above beta_end 1e-05"),
        ("schedule.num_timesteps", 10**9, "num_timesteps: 1000000000 is greater"),
        ("schedule.steps", 5, "'steps' was unexpected"),
        ("schedule", [], "schedule: .. is not of type 'object'"),
        ("unet.block_out_channels", [], "block_out_channels: .*(non-empty|too short)"),
        ("unet.block_out_channels", [64] * 1000, "block_out_channels: .*too long"),
        ("unet.block_out_channels", [64, -64], "block_out_channels.1: -64 is less"),
        ("unet.block_out_channels", [64, 60], "60 is no multiple of 8 groups"),
        ("unet.block_out_channels", [64], "has 2 values for 1 levels"),
        ("unet.num_attention_heads", [4, 3], "3 heads do not divide 128 channels"),
        ("unet.attention_levels", [True], "attention_levels has 1 values for 2 levels"),
        ("unet.layers_per_block", 0, "layers_per_block: 0 is less"),
        ("unet.transformer_depth", 10**4, "transformer_depth: 10000 is greater"),
        ("vae.norm_num_groups", 5, "16 is no multiple of 5 groups"),
        ("text_encoder.num_hidden_layers", 10**5, "num_hidden_layers: 100000 is greater"),
        ("text_encoder.num_attention_heads", 5, "5 heads do not divide a hidden_size of 96"),
        ("text_encoder.hidden_act", "exec", "'exec' is not one of"),
        ("image_encoder.patch_size", 5, "patches of 5 do not fill 32"),
        ("ranker.dropout", -1, "ranker.dropout: -1 is less"),
        ("cold.sigma", 1e300, "cold.sigma: 1e.300 is greater"),
        ("colorize.num_steps", 0, "colorize.num_steps: 0 is less"),
        ("colorize.guidance_scale", 1e38, "guidance_scale: 1e.38 is greater"),
        ("colorize.sampler", {"a": 1}, "colorize.sampler: .* is not of type"),
        ("cold_colorize.batch_size", 10**9, "batch_size: 1000000000 is greater"),
        ("method", 3, "method: 3 is not of type 'string'"),
    ],
)
def test_a_model_that_cannot_be_is_told(tmp_path, place, value, message) -> None:
    config = copy.deepcopy(MODEL)
    *sections, key = place.split(".")
    section = config
    for name in sections:
        section = section[name]
    section[key] = value
    with pytest.raises(UserError, match=message) as error:
        release.read_config(written(tmp_path, config))
    assert "config.json" in str(error.value) and len(str(error.value)) < 500


def test_a_configuration_of_megabytes_is_not_read(tmp_path) -> None:
    config = MODEL | {"method": "a" * 2**20}
    with pytest.raises(UserError, match="config.json' cannot be read .it has more than 1048576"):
        release.read_config(written(tmp_path, config))


@seed(0)
@searched(40)
@given(changed(json.loads((release.BUNDLED / "config.json").read_text())))
def test_a_configuration_of_anything_is_told_or_describes_a_model(tmp_path_factory, config) -> None:
    directory = written(tmp_path_factory.mktemp("release"), config)
    try:
        read = release.read_config(directory)
        for method in registry.METHODS.values():
            method.build(read, jnp.float32)
            method.resolve(read, {})
    except UserError as error:
        assert len(str(error)) < 1000


def test_a_configuration_that_is_deep_is_told(tmp_path) -> None:
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="config.json' cannot be read"):
        release.read_config(release.locate(str(tmp_path)))


def test_checksums_of_megabytes_are_not_read(tmp_path) -> None:
    with (write(tmp_path) / "SHA256SUMS").open("r+b") as file:
        file.truncate(2**30)
    with pytest.raises(UserError, match="SHA256SUMS' cannot be read .it has more than 1048576"):
        release.read_part(tmp_path, "vae")


def test_many_blocks_that_are_few_each_for_itself_are_too_many(tmp_path) -> None:
    config = copy.deepcopy(MODEL)
    config["unet"] |= {"layers_per_block": 8, "transformer_depth": 16}
    with pytest.raises(UserError, match="unet has 288 blocks of attention"):  # (1 + 17) * 16
        release.read_config(written(tmp_path, config))


@pytest.mark.parametrize(
    "text,message",
    [
        ("one\n", "line 1 is 'one', not a SHA-256"),
        ("0" * 64 + "\n", "line 1 is"),
        ("0" * 63 + "g  config.json\n", "line 1 is"),
        ("0" * 64 + "  a\n\n", "line 2 is ''"),
        ("", "config.json' is not listed"),
        (b"\xff", "SHA256SUMS' cannot be read"),
    ],
)
def test_damaged_checksums_are_told(tmp_path, text, message) -> None:
    path = write(tmp_path) / "SHA256SUMS"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message):
        release.read_config(tmp_path)


def test_a_changed_configuration_is_told(tmp_path) -> None:
    path = write(tmp_path) / "config.json"
    path.write_text(path.read_text().replace("lcad", "diffusing_colors"))
    with pytest.raises(UserError, match="config.json' does not match SHA256SUMS"):
        release.read_config(tmp_path)


def with_tokenizer(directory):
    release.write(directory, {"method": "lcad"}, {"vae": TREE}, small.DATA / "tokenizer")
    return directory


def test_a_changed_vocabulary_is_told(tmp_path) -> None:
    """Two words that changed places are a valid vocabulary, and colour a red car blue."""
    path = with_tokenizer(tmp_path) / "tokenizer" / "vocab.json"
    assert release.tokenizer(tmp_path, FILES) == path.parent
    words = json.loads(path.read_text("utf-8"))
    words["red</w>"], words["blue</w>"] = words["blue</w>"], words["red</w>"]
    path.write_text(json.dumps(words, ensure_ascii=False), "utf-8")
    with pytest.raises(UserError, match="vocab.json' does not match SHA256SUMS"):
        release.tokenizer(tmp_path, FILES)


def test_what_is_not_listed_is_no_part_of_a_release(tmp_path) -> None:
    folder = with_tokenizer(tmp_path) / "tokenizer"
    (tmp_path / "unet.safetensors").write_bytes((tmp_path / "vae.safetensors").read_bytes())
    (tmp_path / ".0a.partial.safetensors").touch()
    (folder / "tokenizer.json").write_text("{}")  # which is not read
    assert release.parts_in(tmp_path) == {"vae"}
    assert release.tokenizer(tmp_path, FILES) == folder
    with pytest.raises(UserError, match="no|not listed"):
        release.read_part(tmp_path, "unet")
    release.write(tmp_path, {"method": "lcad"}, {})
    assert release.parts_in(tmp_path) == {"vae"}
    (folder / "special_tokens_map.json").write_text('{"pad_token": "!"}')
    with pytest.raises(UserError, match="special_tokens_map.json' is not listed.*delete it"):
        release.tokenizer(tmp_path, FILES)


def test_sha256sum_agrees(tmp_path) -> None:
    with_tokenizer(tmp_path)
    check = ["sha256sum", "--strict", "--check", "SHA256SUMS"]
    out = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert sorted(out.stdout.split()) == sorted(
        "config.json: OK tokenizer/merges.txt: OK tokenizer/vocab.json: OK "
        "vae.safetensors: OK".split()
    )


def test_a_release_can_be_read_wherever_its_writing_stops(tmp_path, monkeypatch) -> None:
    """Of a part that is made anew its old or new bytes, of the configuration either one."""
    real = os.replace

    def stop_after(count):
        def rename(*names):
            nonlocal count
            count -= 1
            if count < 0:
                raise KeyboardInterrupt
            real(*names)

        return rename

    for count in range(4):
        directory = with_tokenizer(tmp_path / str(count))
        monkeypatch.setattr(os, "replace", stop_after(count))
        with pytest.raises(KeyboardInterrupt):
            release.write(directory, {"method": "diffusing_colors"}, {"unet": TREE})
        monkeypatch.undo()
        method = release.read_config(directory)["method"]
        assert method == ("diffusing_colors" if count == 3 else "lcad")
        release.read_part(directory, "vae")
    release.write(directory, {"method": "lcad"}, {"unet": TREE})
    release.read_part(directory, "unet")
    assert len((directory / "SHA256SUMS").read_text().splitlines()) == 5


def test_a_full_disk_at_a_part_is_a_sentence(small_disk) -> None:
    write(small_disk / "release")
    large = {"leaf": np.ones(300_000, np.float32)}
    with pytest.raises(UserError, match="unet.safetensors' could not be written .*make room"):
        release.write(small_disk / "release", {"method": "lcad"}, {"unet": large})
    assert release.parts_in(small_disk / "release") == {"vae"}
    assert len(list((small_disk / "release").iterdir())) == 3


@pytest.mark.parametrize(
    "leaves",
    [
        {"a": "F32", "a/b": "F32"},
        {"a/b": "F32", "a": "F32"},
        {"a": "F8_E4M3"},  # a type that NumPy has not
        {"a": "I32"},  # one that weights have not
        {"a": "F32", "b": ""},
    ],
)
def test_a_header_that_is_no_tree_is_told(tmp_path, leaves) -> None:
    header = {
        name: {
            "dtype": dtype,
            "shape": [4 if dtype == "F8_E4M3" else 1],
            "data_offsets": [4 * i, 4 * i + 4],
        }
        for i, (name, dtype) in enumerate(leaves.items())
    }
    text = json.dumps(header).encode()
    tmp_path.joinpath("vae.safetensors").write_bytes(
        len(text).to_bytes(8, "little") + text + bytes(4 * len(leaves))
    )
    release.write(tmp_path, {"method": "lcad"}, {})
    with pytest.raises(UserError, match="vae.safetensors' is not a part's safetensors file"):
        release.read_part(tmp_path, "vae")


def test_scalars_were_once_written_with_an_axis() -> None:
    expected, written = {"logit_scale": np.zeros(())}, {"logit_scale": np.full((1,), 3.0)}
    assert release.conform(expected, written, "an old part")["logit_scale"].shape == ()
    with pytest.raises(UserError, match="another shape: logit_scale"):
        release.conform(expected, {"logit_scale": np.zeros((2,))}, "a wrong part")


def test_a_part_that_was_outdated_and_is_made_again_is_not_overwritten(tmp_path) -> None:
    """By the one of the release that was begun with, which the first stage did not inherit."""
    one, two = {"a": np.ones(1, np.float32)}, {"a": np.full(1, 2, np.float32)}
    release.write(tmp_path / "before", {}, {"cold_unet": one, "distilled_unet": one})
    later = {"inherit": tmp_path / "before"}
    release.write(tmp_path / "run", {}, {"cold_unet": two}, **later, without=("distilled_unet",))
    assert release.parts_in(tmp_path / "run") == {"cold_unet"}
    release.write(tmp_path / "run", {}, {"distilled_unet": two}, **later)
    for part in ("cold_unet", "distilled_unet"):
        assert release.read_part(tmp_path / "run", part)["a"] == 2


def test_shapes_are_worked_out_once_for_a_configuration(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    times = []

    def init(key):
        times.append(key)
        return {"conv": {"kernel": jnp.zeros((2, 3), jnp.bfloat16)}, "scale": jnp.zeros(())}

    def kept(name="vae", width=2):
        return shapes.kept(
            name, {"width": width}, lambda key: init(key)
        )  # jax knows no lambda again

    traced = kept()
    again = kept()
    assert len(times) == 1 and traced == again
    assert (again["conv"]["kernel"].shape, again["conv"]["kernel"].dtype) == ((2, 3), jnp.bfloat16)
    kept(width=3)
    kept("unet")
    assert len(times) == 3
    for damage in ("[]", "", '{"scale": 1}', '{"scale": [[], "float33"]}', "{}"):
        for path in (tmp_path / "colorjax" / "shapes").iterdir():
            path.write_text(damage)
        times.clear()
        assert kept() == traced and len(times) == 1, damage


def test_a_path_is_a_folder_before_it_is_a_name(small_release, tmp_path, monkeypatch) -> None:
    """Though it is called as the model that comes with the package."""
    monkeypatch.chdir(tmp_path)
    assert release.locate("bundled") == release.locate(Path("bundled")) == release.BUNDLED
    shutil.copytree(small_release, "bundled")
    assert release.locate("bundled") == release.BUNDLED
    own = lcad_method.load(small_release)[1]["unet"]["conv_in"]
    for name in ("./bundled", str(tmp_path / "bundled"), Path("bundled")):
        directory = release.locate(name)
        assert directory.resolve() == tmp_path / "bundled"
        # By the same path once more, as a colorizer's method reads it.
        read = lcad_method.load(directory)[1]["unet"]["conv_in"]
        assert all(map(np.array_equal, jax.tree.leaves(read), jax.tree.leaves(own)))


def test_tensors_of_forty_gigabytes_are_not_read(tmp_path) -> None:
    """Neither for their checksum, which whoever wrote them may have made of them."""
    own = write(tmp_path)
    shapes = {"a": {"kernel": np.zeros((2, 3), np.float32)}}
    hollow.write(own, "vae", {"a/kernel": hollow.WHOLE})
    with pytest.raises(UserError, match="part 'vae' is of another model: of another shape: a/k"):
        release.read_model(own, ["vae"], shapes, "part 'vae'")
    hollow.write(own, "vae", {"a/kernel": (2, 3), "b": hollow.WHOLE})
    with pytest.raises(UserError, match="part 'vae' is of another model: unknown: b"):
        release.read_part(own, "vae", model=release.Model(shapes, "part 'vae'"))
    with (own / "vae.safetensors").open("ab") as file:
        file.truncate(2**35)  # more than its header says
    with pytest.raises(UserError, match="vae.safetensors' is not a part's safetensors file"):
        release.read_model(own, ["vae"], shapes, "part 'vae'")
    hollow.write(own, "vae", {"a/kernel": (2, 3)})  # of the model's size, so its digest is told
    with pytest.raises(UserError, match="does not match SHA256SUMS"):
        release.read_model(own, ["vae"], shapes, "part 'vae'")
