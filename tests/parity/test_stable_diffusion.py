"""Random Stable Diffusion models of diffusers, through the conversion command, against ours."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from colorjax.convert import __main__ as command
from colorjax.convert import readers, writers
from colorjax.methods import lcad
from tests.parity import models
from tests.parity.compare import BOUND, close, convert, jitted, nchw, normal

KINDS = models.GENERATION
# Type, batch, and sides in units of what the network halves down to one pixel.
CASES = [("float32", 1, 2, 3), ("float32", 3, 4, 2), ("bfloat16", 3, 3, 2)]


@pytest.fixture(scope="module", params=KINDS)
def both(request, tmp_path_factory):
    """PyTorch's modules, and the converted directory of the same weights."""
    root = tmp_path_factory.mktemp(request.param)
    modules = models.save(root / "theirs", KINDS[request.param])
    convert("diffusers", root / "theirs", root / "ours")
    return modules, root / "ours"


@pytest.mark.parametrize(("dtype", "batch", "height", "width"), CASES)
def test_unet(both, dtype, batch, height, width) -> None:
    modules, path = both
    model, params = lcad.load(path, jnp.dtype(dtype))
    latents = normal(0, batch, 4 * height, 4 * width, 4)
    context = normal(1, batch, models.LENGTH, models.CONTEXT)
    timesteps = np.array([1, 500, 981][:batch])
    with torch.no_grad():
        theirs = modules["unet"](
            nchw(latents), torch.from_numpy(timesteps), torch.from_numpy(context)
        ).sample
    inputs = latents, timesteps.astype(np.int32), context, None
    ours = jitted(lcad.predict_eps, model._replace(prediction_type="eps"), params, *inputs)
    close(ours, theirs, BOUND[dtype])


@pytest.mark.parametrize(("dtype", "batch", "height", "width"), CASES)
def test_vae(both, dtype, batch, height, width) -> None:
    modules, path = both
    model, params = lcad.load(path, jnp.dtype(dtype))
    image = np.tanh(normal(2, batch, 16 * height, 16 * width, 3))
    latents = normal(3, batch, 4 * height, 4 * width, 4)
    with torch.no_grad():
        moments = modules["vae"].encode(nchw(image)).latent_dist.parameters
        decoded = modules["vae"].decode(nchw(latents) / model.scaling_factor).sample
    close(jitted(lcad.encode_image, model, params, image), moments, BOUND[dtype])
    close(jitted(lcad.decode, model, params, latents, None), decoded, BOUND[dtype])


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("batch", [1, 3])
def test_text_encoder(both, dtype, batch) -> None:
    modules, path = both
    model, params = lcad.load(path, jnp.dtype(dtype))
    ids = models.token_ids(batch)
    with torch.no_grad():
        theirs = modules["text_encoder"](torch.from_numpy(ids)).last_hidden_state
    close(jitted(lcad.encode_text, model, params, ids), theirs, BOUND[dtype])


def test_ten_guided_steps(both) -> None:
    """Their scheduler's loop, with their UNet and text encoder, to a decoded picture."""
    modules, path = both
    model, params = lcad.load(path)
    batch, scale, scheduler = 3, 4.5, modules["scheduler"]
    noise, ids = normal(6, batch, 8, 12, 4), models.token_ids(2 * batch)
    scheduler.set_timesteps(10)
    with torch.no_grad():
        context = modules["text_encoder"](torch.from_numpy(ids)).last_hidden_state
        latents = nchw(noise)
        for timestep in scheduler.timesteps:
            uncond, cond = modules["unet"](
                torch.cat([latents] * 2), timestep, context
            ).sample.chunk(2)
            latents = scheduler.step(
                uncond + scale * (cond - uncond), timestep, latents
            ).prev_sample
        image = modules["vae"].decode(latents / model.scaling_factor).sample
    gray = np.zeros((batch, 32, 48, 1), np.float32)
    inputs = lcad.Inputs(gray, ids[batch:], ids[:batch], scale, initial_latents=noise)
    colorize = partial(lcad.colorize, options=lcad.Options(10, "released"))
    close(jitted(colorize, model, params, inputs), image, BOUND["float32"])


def test_export_is_loaded_and_bit_for_bit(both, tmp_path) -> None:
    """Ours back as folders: PyTorch's own loaders find every key, with equal values."""
    modules, path = both
    assert command.main(["--to=diffusers", f"--input={path}", f"--output={tmp_path / 'sd'}"]) == 0
    for name in ("unet", "vae", "text_encoder"):
        kind = type(modules[name])
        loaded, report = kind.from_pretrained(tmp_path / "sd" / name, output_loading_info=True)
        assert not any(report.values()), report
        if name != "text_encoder":
            assert all(loaded.config.get(k) == modules[name].config.get(k) for k in SIZES)
        theirs = modules[name].state_dict()
        for key, tensor in loaded.state_dict().items():
            assert torch.equal(tensor, theirs[key]), key
        assert set(theirs) == set(loaded.state_dict())


SIZES = ("block_out_channels", "attention_head_dim", "use_linear_projection", "scaling_factor")


def test_checkpoints_of_pytorch_are_read_and_written(tmp_path) -> None:
    tensors = {
        "a": torch.randn(3, 4).T,
        "b": torch.arange(5),
        "c": torch.randn(2, 2).to(torch.bfloat16),
        "d": torch.nn.Parameter(torch.randn(2).half()),
        "e": torch.tensor(1.5),
    }
    content = {"state_dict": tensors, "epoch": 3}
    torch.save(content, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    torch.save(content, tmp_path / "theirs.ckpt")
    read = readers.read(tmp_path / "theirs.ckpt")
    old = readers.read(tmp_path / "old.ckpt")
    assert all(np.array_equal(old[key], read[key]) for key in tensors) and len(old) == len(read)
    for key, tensor in tensors.items():
        assert np.array_equal(read[key].astype(np.float64), tensor.detach().double().numpy())
    writers.write_checkpoint(tmp_path / "ours.ckpt", read)
    back = torch.load(tmp_path / "ours.ckpt", weights_only=True)["state_dict"]
    for key, tensor in tensors.items():
        assert back[key].dtype == tensor.dtype and torch.equal(back[key], tensor)
