"""Random CLIP towers of transformers, and an OpenCLIP one, against ours."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import CLIPTextModel, CLIPVisionModel

from colorjax import release
from colorjax.data.tokenizer import Tokenizer
from colorjax.models.clip import CLIPTextModel as OurText
from colorjax.models.clip import CLIPVisionModel as OurVision
from colorjax.models.layers import apply
from tests.parity import models
from tests.parity.compare import BOUND, close, convert, jitted, nchw, normal
from tests.small import DATA

KINDS = models.GENERATION


@pytest.fixture(scope="module", params=KINDS)
def clip(request):
    return models.clip(KINDS[request.param])


@pytest.fixture(scope="module")
def ours(clip, tmp_path_factory):
    """The converted directory of both towers."""
    root = tmp_path_factory.mktemp("clip")
    clip.save_pretrained(root / "theirs")
    convert("clip", root / "theirs", root / "ours")
    return root / "ours"


def tower(kind, path, part: str, dtype: str = "float32"):
    """Module and parameters of a part."""
    sizes = release.read_config(path)[part]
    return kind(**sizes, dtype=jnp.dtype(dtype)), release.read_part(path, part, jnp.dtype(dtype))


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("batch", [1, 3])
def test_both_towers(clip, ours, dtype, batch) -> None:
    ids, image = models.token_ids(batch), normal(7, batch, 32, 32, 3)
    with torch.no_grad():
        text = clip.text_model(torch.from_numpy(ids)).last_hidden_state
        vision = clip.vision_model(nchw(image))
        projected = clip.visual_projection(vision.pooler_output)
    found = jitted(apply, *tower(OurText, ours, "text_encoder", dtype), ids)
    close(found, text, BOUND[dtype])
    module, params = tower(OurVision, ours, "image_encoder", dtype)
    states, pooled = jitted(apply, module, params["vision_model"], image)
    close(states, vision.last_hidden_state, BOUND[dtype])
    close(pooled, vision.pooler_output, BOUND[dtype])
    kernel = params["visual_projection"]["kernel"]
    close(np.asarray(pooled) @ kernel, projected, BOUND[dtype])


def test_towers_alone_are_the_same_weights(clip, ours, tmp_path) -> None:
    clip.save_pretrained(tmp_path / "clip")
    for kind, part in ((CLIPTextModel, "text_encoder"), (CLIPVisionModel, "image_encoder")):
        kind.from_pretrained(tmp_path / "clip").save_pretrained(tmp_path / part)
        convert("clip", tmp_path / part, tmp_path / f"ours_{part}")
        whole = release.read_part(ours, part)
        alone = release.read_part(tmp_path / f"ours_{part}", part)
        whole = whole.get("vision_model", whole)
        jax.tree.map(np.testing.assert_array_equal, whole, alone.get("vision_model", alone))


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
    theirs = torch.nn.Module()
    theirs.token_embedding = torch.nn.Embedding(models.VOCABULARY, width)
    theirs.positional_embedding = torch.nn.Parameter(torch.zeros(models.LENGTH, width))
    theirs.transformer = torch.nn.Module()
    blocks = [OpenClipBlock(width, 2) for _ in range(layers)]
    theirs.transformer.resblocks = torch.nn.ModuleList(blocks)
    theirs.ln_final = torch.nn.LayerNorm(width)
    theirs.text_projection = torch.nn.Parameter(torch.zeros(width, 7))
    theirs.logit_scale = torch.nn.Parameter(torch.zeros(()))
    models.randomize(theirs, 8)
    prefix = "cond_stage_model.model."
    state = {prefix + key: tensor for key, tensor in theirs.state_dict().items()}
    torch.save({"state_dict": state, "global_step": 1}, tmp_path / "sd2.ckpt")
    flags = "--parts=text_encoder", f"--tokenizer={DATA / 'tokenizer'}"
    convert("ldm", tmp_path / "sd2.ckpt", tmp_path / "ours", *flags)
    # As OpenCLIP's own tokenizer, which pads with zeros.
    assert Tokenizer(tmp_path / "ours" / "tokenizer")(["a dog"])[0, -70:].tolist() == [0] * 70
    config = release.read_config(tmp_path / "ours")["text_encoder"]
    assert (config["num_hidden_layers"], config["hidden_act"]) == (layers - 1, "gelu")
    ids = models.token_ids(3)
    with torch.no_grad():
        tokens = theirs.token_embedding(torch.from_numpy(ids)) + theirs.positional_embedding
        for block in blocks[:-1]:
            tokens = block(tokens)
        expected = theirs.ln_final(tokens)
    found = jitted(apply, *tower(OurText, tmp_path / "ours", "text_encoder"), ids)
    close(found, expected, BOUND["float32"])
