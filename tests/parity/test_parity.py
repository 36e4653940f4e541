"""Random diffusers and transformers models, through the conversion command, against ours."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import CLIPTextModel, CLIPVisionModel

from colorjax import guidance, release, samplers
from colorjax.convert import __main__ as command
from colorjax.methods import lcad
from colorjax.models.clip import CLIPTextModel as OurText
from colorjax.models.clip import CLIPVisionModel as OurVision
from tests.parity import models

BOUND = {"float32": 1e-4, "bfloat16": 5e-2}
KINDS = models.GENERATION


@pytest.fixture(scope="module", params=KINDS)
def both(request, tmp_path_factory):
    """PyTorch's modules, and the converted directory of the same weights."""
    root = tmp_path_factory.mktemp(request.param)
    modules = models.save(root / "theirs", KINDS[request.param])
    convert("diffusers", root / "theirs", root / "ours")
    return modules, root / "ours"


def convert(kind, path, output, *more: str) -> None:
    flags = [f"--format={kind}", f"--input={path}", f"--output={output}", *more]
    assert command.main(flags) == 0


def nchw(array) -> torch.Tensor:
    return torch.from_numpy(np.moveaxis(np.asarray(array), -1, 1).copy())


def close(ours, theirs: torch.Tensor, bound: float, image: bool = True) -> None:
    expected = theirs.detach().numpy()
    expected = np.moveaxis(expected, 1, -1) if image else expected
    ours = np.asarray(ours, np.float32)
    assert ours.shape == expected.shape
    error = np.abs(ours - expected).max() / np.abs(expected).max()
    print(f"error {error:.1e} of the maximum")
    assert error <= bound


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def jitted(function, model, params, *inputs):
    with jax.default_matmul_precision("highest"):
        return jax.jit(lambda p, *a: function(model, p, *a))(params, *inputs)


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 8, 12), (3, 16, 8)])
def test_unet(both, dtype, batch, height, width) -> None:
    modules, path = both
    model, params = lcad.load(path, jnp.dtype(dtype))
    latents = normal(0, batch, height, width, 4)
    context = normal(1, batch, models.LENGTH, models.CONTEXT)
    timesteps = np.array([1, 500, 981][:batch])
    with torch.no_grad():
        theirs = modules["unet"](
            nchw(latents), torch.from_numpy(timesteps), torch.from_numpy(context)
        ).sample
    inputs = latents, timesteps.astype(np.int32), context, None
    ours = jitted(lcad.predict_eps, model._replace(prediction_type="eps"), params, *inputs)
    close(ours, theirs, BOUND[dtype])


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 32, 48), (3, 48, 32)])
def test_vae(both, dtype, batch, height, width) -> None:
    modules, path = both
    model, params = lcad.load(path, jnp.dtype(dtype))
    image = np.tanh(normal(2, batch, height, width, 3))
    latents = normal(3, batch, height // 4, width // 4, 4)
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
    ids = token_ids(batch)
    with torch.no_grad():
        theirs = modules["text_encoder"](torch.from_numpy(ids)).last_hidden_state
    close(jitted(lcad.encode_text, model, params, ids), theirs, BOUND[dtype], image=False)


def token_ids(batch: int) -> np.ndarray:
    ids = np.random.default_rng(5).integers(1, 60, (batch, models.LENGTH))
    ids[:, 0], ids[:, -3:] = models.VOCABULARY - 2, models.VOCABULARY - 1
    return ids


@pytest.mark.parametrize("batch", [1, 3])
def test_ten_guided_steps(both, batch) -> None:
    """Their scheduler's loop, with their UNet and text encoder, to a decoded picture."""
    modules, path = both
    model, params = lcad.load(path)
    scale, scheduler = 4.5, modules["scheduler"]
    noise, ids = normal(6, batch, 8, 12, 4), token_ids(2 * batch)
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
    ours = jitted(sample, model, params, noise, ids, np.float32(scale))
    close(ours, latents, BOUND["float32"])
    inputs = lcad.Inputs(
        np.zeros((batch, 32, 48, 1), np.float32), ids[batch:], ids[:batch], scale
    )._replace(initial_latents=noise)
    with jax.default_matmul_precision("highest"):
        decoded = lcad.colorize(model, params, inputs, lcad.Options(10, "released"))
    close(decoded, image, BOUND["float32"])


def sample(model, params, noise, ids, scale):
    context = lcad.encode_text(model, params, ids)

    def denoise(latents, timesteps):
        return lcad.predict_eps(model, params, latents, timesteps, context, None)

    guided = guidance.classifier_free(denoise, scale)
    return samplers.ddim(guided, noise, model.schedule, 10)


@pytest.fixture(scope="module", params=KINDS)
def clip(request):
    return models.clip(KINDS[request.param])


@pytest.mark.parametrize("batch", [1, 3])
def test_clip(clip, batch, tmp_path) -> None:
    """Both towers in one folder, and each alone as transformers saves it today."""
    clip.save_pretrained(tmp_path / "clip")
    convert("clip", tmp_path / "clip", tmp_path / "ours")
    ids, image = token_ids(batch), normal(7, batch, 32, 32, 3)
    with torch.no_grad():
        text = clip.text_model(torch.from_numpy(ids)).last_hidden_state
        vision = clip.vision_model(nchw(image))
        projected = clip.visual_projection(vision.pooler_output)
    config = release.read_config(tmp_path / "ours")
    params = release.read_part(tmp_path / "ours", "text_encoder")
    close(run(OurText(**config["text_encoder"]), params, ids), text, 1e-4, image=False)
    params = release.read_part(tmp_path / "ours", "image_encoder")
    tower = OurVision(**config["image_encoder"])
    states, pooled = run(tower, params["vision_model"], image)
    close(states, vision.last_hidden_state, 1e-4, image=False)
    close(pooled, vision.pooler_output, 1e-4, image=False)
    kernel = params["visual_projection"]["kernel"]
    close(np.asarray(pooled) @ kernel, projected, 1e-4, image=False)


def run(module, params, inputs):
    with jax.default_matmul_precision("highest"):
        return jax.jit(module.apply)({"params": params}, inputs)


def test_towers_alone_are_the_same_weights(clip, tmp_path) -> None:
    clip.save_pretrained(tmp_path / "clip")
    convert("clip", tmp_path / "clip", tmp_path / "whole")
    for kind, part in ((CLIPTextModel, "text_encoder"), (CLIPVisionModel, "image_encoder")):
        kind.from_pretrained(tmp_path / "clip").save_pretrained(tmp_path / part)
        convert("clip", tmp_path / part, tmp_path / f"ours_{part}")
        whole = release.read_part(tmp_path / "whole", part)
        alone = release.read_part(tmp_path / f"ours_{part}", part)
        whole = whole.get("vision_model", whole)
        jax.tree.map(np.testing.assert_array_equal, whole, alone.get("vision_model", alone))


def test_export_is_loaded_and_bit_for_bit(both, tmp_path) -> None:
    """Ours back as folders: PyTorch's own loaders find every key, with equal values."""
    modules, path = both
    assert command.main(["--to=diffusers", f"--input={path}", f"--output={tmp_path / 'sd'}"]) == 0
    for name in ("unet", "vae", "text_encoder"):
        kind = type(modules[name])
        loaded, report = kind.from_pretrained(tmp_path / "sd" / name, output_loading_info=True)
        assert not any(report.values()), report
        assert (
            {k: v for k, v in loaded.config.items() if k in SIZES}
            == {k: v for k, v in modules[name].config.items() if k in SIZES}
            if name != "text_encoder"
            else True
        )
        theirs = modules[name].state_dict()
        for key, tensor in loaded.state_dict().items():
            assert torch.equal(tensor, theirs[key]), key
        assert set(theirs) == set(loaded.state_dict())


SIZES = ("block_out_channels", "attention_head_dim", "use_linear_projection", "scaling_factor")


def test_checkpoints_of_pytorch_are_read_and_written(tmp_path) -> None:
    from colorjax.convert import readers, writers

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


class OpenClipBlock(torch.nn.Module):
    """Named as in OpenCLIP; the attention, with its fused projection, is PyTorch's own."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.attn = torch.nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = torch.nn.Sequential()
        self.mlp.add_module("c_fc", torch.nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", torch.nn.GELU())
        self.mlp.add_module("c_proj", torch.nn.Linear(4 * width, width))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        length = tokens.shape[1]
        mask = torch.full((length, length), -torch.inf).triu(1)
        normed = self.ln_1(tokens)
        tokens = tokens + self.attn(normed, normed, normed, attn_mask=mask, need_weights=False)[0]
        return tokens + self.mlp(self.ln_2(tokens))


def test_text_tower_of_an_original_stable_diffusion_2_file(tmp_path) -> None:
    """OpenCLIP's names, fused projections and exact GELU; the last layer is not used."""
    width, layers = 128, 3
    tower = torch.nn.Module()
    tower.token_embedding = torch.nn.Embedding(models.VOCABULARY, width)
    tower.positional_embedding = torch.nn.Parameter(torch.zeros(models.LENGTH, width))
    tower.transformer = torch.nn.Module()
    blocks = [OpenClipBlock(width, 2) for _ in range(layers)]
    tower.transformer.resblocks = torch.nn.ModuleList(blocks)
    tower.ln_final = torch.nn.LayerNorm(width)
    tower.text_projection = torch.nn.Parameter(torch.zeros(width, 7))
    tower.logit_scale = torch.nn.Parameter(torch.zeros(()))
    models.randomize(tower, 8)
    prefix = "cond_stage_model.model."
    state = {prefix + key: tensor for key, tensor in tower.state_dict().items()}
    torch.save({"state_dict": state, "global_step": 1}, tmp_path / "sd2.ckpt")
    convert("ldm", tmp_path / "sd2.ckpt", tmp_path / "ours", "--parts=text_encoder")
    config = release.read_config(tmp_path / "ours")["text_encoder"]
    assert (config["num_hidden_layers"], config["hidden_act"]) == (layers - 1, "gelu")
    ids = token_ids(3)
    with torch.no_grad():
        tokens = tower.token_embedding(torch.from_numpy(ids)) + tower.positional_embedding
        for block in blocks[:-1]:
            tokens = block(tokens)
        expected = tower.ln_final(tokens)
    params = release.read_part(tmp_path / "ours", "text_encoder")
    close(run(OurText(**config), params, ids), expected, 1e-4, image=False)
