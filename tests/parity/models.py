"""Random tiny models of diffusers and transformers, saved as their own folders."""

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel

GENERATION = {
    "sd1": dict(heads=4, linear=False, act="quick_gelu", prediction="epsilon"),
    "sd2": dict(heads=[2, 4, 8], linear=True, act="gelu", prediction="v_prediction"),
}
WIDTHS = [32, 64, 128]
CONTEXT = 48
LENGTH = 11
VOCABULARY = 64


def randomize(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Every parameter random, so that nothing is hidden by zeros and ones."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim >= 2:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
            elif name.endswith("weight"):
                parameter.copy_(1 + 0.1 * noise)
            elif parameter.ndim == 1:
                parameter.copy_(0.05 * noise)
    return module.eval()


def unet(kind: dict) -> UNet2DConditionModel:
    model = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=WIDTHS,
        down_block_types=["CrossAttnDownBlock2D"] * 2 + ["DownBlock2D"],
        up_block_types=["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 2,
        layers_per_block=2,
        cross_attention_dim=CONTEXT,
        attention_head_dim=kind["heads"],
        use_linear_projection=kind["linear"],
    )
    return randomize(model, 1)


def vae() -> AutoencoderKL:
    model = AutoencoderKL(
        block_out_channels=WIDTHS,
        down_block_types=["DownEncoderBlock2D"] * 3,
        up_block_types=["UpDecoderBlock2D"] * 3,
        layers_per_block=2,
        latent_channels=4,
        sample_size=32,
    )
    return randomize(model, 2)


def text_sizes(kind: dict) -> dict:
    return dict(
        vocab_size=VOCABULARY,
        hidden_size=CONTEXT,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        hidden_act=kind["act"],
        bos_token_id=VOCABULARY - 2,
        eos_token_id=VOCABULARY - 1,
        pad_token_id=VOCABULARY - 1,
    )


def text_encoder(kind: dict) -> CLIPTextModel:
    return randomize(CLIPTextModel(CLIPTextConfig(**text_sizes(kind))), 3)


def token_ids(batch: int) -> np.ndarray:
    """Sentences of words, then three ends."""
    ids = np.random.default_rng(5).integers(1, 60, (batch, LENGTH))
    ids[:, 0], ids[:, -3:] = VOCABULARY - 2, VOCABULARY - 1
    return ids


def scheduler(kind: dict) -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=kind["prediction"],
    )


def clip(kind: dict) -> CLIPModel:
    vision = dict(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=32,
        patch_size=8,
        hidden_act=kind["act"],
    )
    config = CLIPConfig(text_config=text_sizes(kind), vision_config=vision, projection_dim=24)
    return randomize(CLIPModel(config), 4)


def save(directory: Path, kind: dict) -> dict:
    """A Stable Diffusion folder; returns its modules."""
    modules = {
        "unet": unet(kind),
        "vae": vae(),
        "text_encoder": text_encoder(kind),
        "scheduler": scheduler(kind),
    }
    for name, module in modules.items():
        module.save_pretrained(directory / name)
    (directory / "model_index.json").write_text(json.dumps({}))
    return modules
