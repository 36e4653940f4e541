"""Writes the manifests: keys and shapes of full-size models, without their weights.

    python tests/manifests/make.py

Needs the extra `parity`. The modules live on PyTorch's meta device, so nothing is allocated; sizes
are those of the published configurations of Stable Diffusion 1.5 and 2.1 and clipseg-rd64-refined.
"""

import gzip
import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import (
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    CLIPTextConfig,
    CLIPTextModel,
)

HERE = Path(__file__).parent
WIDTHS = [320, 640, 1280, 1280]
UNET = dict(
    sample_size=64,
    block_out_channels=WIDTHS,
    down_block_types=["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    up_block_types=["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    layers_per_block=2,
    cross_attention_dim=768,
    attention_head_dim=8,
)
UNET2 = dict(
    sample_size=96,
    cross_attention_dim=1024,
    attention_head_dim=[5, 10, 20, 20],
    use_linear_projection=True,
)
VAE = dict(
    block_out_channels=[128, 256, 512, 512],
    down_block_types=["DownEncoderBlock2D"] * 4,
    up_block_types=["UpDecoderBlock2D"] * 4,
    layers_per_block=2,
    latent_channels=4,
    sample_size=512,
)
TEXT = dict(
    hidden_size=768,
    intermediate_size=3072,
    num_hidden_layers=12,
    num_attention_heads=12,
    vocab_size=49408,
    max_position_embeddings=77,
    hidden_act="quick_gelu",
)
TEXT2 = dict(
    hidden_size=1024,
    intermediate_size=4096,
    num_hidden_layers=23,
    num_attention_heads=16,
    hidden_act="gelu",
)
MODELS = {
    "sd15": (UNET, VAE, TEXT),
    "sd21": (UNET | UNET2, VAE | dict(sample_size=768), TEXT | TEXT2),
}


CLIPSEG = dict(vision_config=dict(patch_size=16), use_complex_transposed_convolution=True)


def main() -> None:
    for name, (unet, vae, text) in MODELS.items():
        with torch.device("meta"):
            modules = {
                "unet": UNet2DConditionModel(**unet),
                "vae": AutoencoderKL(**vae),
                "text_encoder": CLIPTextModel(CLIPTextConfig(**text)),
            }
        write(name, modules)
    with torch.device("meta"):
        write("clipseg", {"clipseg": CLIPSegForImageSegmentation(CLIPSegConfig(**CLIPSEG))})


def write(name: str, modules: dict[str, torch.nn.Module]) -> None:
    lines, configs = [], {}
    for folder, module in modules.items():
        of = module if hasattr(module, "to_json_string") else module.config
        configs[folder] = json.loads(of.to_json_string())
        for key, tensor in module.state_dict().items():
            lines.append(f"{folder}/{key}\t{'x'.join(map(str, tensor.shape))}\n")
    data = gzip.compress("".join(lines).encode(), 9, mtime=0)
    (HERE / f"{name}.tsv.gz").write_bytes(data)
    (HERE / f"{name}.json").write_text(json.dumps(configs, indent=1, sort_keys=True) + "\n")
    print(name, len(lines), "keys", len(data), "bytes")


if __name__ == "__main__":
    main()
