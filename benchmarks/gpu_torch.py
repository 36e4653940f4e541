"""torch's side of `benchmarks.gpu`: diffusers' networks with random weights.

Channels last, PyTorch's fused attention, bfloat16 by autocast in training and of the weights in
sampling; as they are and by `torch.compile`.
"""

import time
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from benchmarks.gpu import (
    GUIDANCE,
    NUM_STEPS,
    SAMPLED,
    SIZES,
    TOKENS,
    VOCABULARY,
    Log,
    Size,
    arguments,
    timed,
    wait_for,
)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SCALING = 0.18215
COMPILING = 45.0  # seconds that the training step's compilation must at least have


def finish() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def networks(size: Size, dtype: torch.dtype) -> dict[str, Any]:
    """UNet, VAE, luminance encoder and text encoder, on the device."""
    levels = len(size.unet)
    with torch.device(DEVICE):
        unet = UNet2DConditionModel(
            sample_size=size.side // 8,
            block_out_channels=size.unet,
            down_block_types=["CrossAttnDownBlock2D"] * (levels - 1) + ["DownBlock2D"],
            up_block_types=["UpBlock2D"] + ["CrossAttnUpBlock2D"] * (levels - 1),
            layers_per_block=2,
            cross_attention_dim=size.text,
            attention_head_dim=8,  # diffusers' name for the number of heads
        )
        kinds = dict(
            block_out_channels=size.vae,
            down_block_types=["DownEncoderBlock2D"] * levels,
            up_block_types=["UpDecoderBlock2D"] * levels,
            layers_per_block=2,
            latent_channels=4,
        )
        vae, luminance = AutoencoderKL(**kinds), AutoencoderKL(**kinds).encoder
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=VOCABULARY,
                hidden_size=size.text,
                intermediate_size=4 * size.text,
                num_hidden_layers=size.text_layers,
                num_attention_heads=size.text // 64,
                max_position_embeddings=TOKENS,
            )
        )
    parts = {"unet": unet, "vae": vae, "luminance": luminance, "text": text}
    for module in parts.values():
        module.to(dtype=dtype, memory_format=torch.channels_last)
        module.requires_grad_(False).eval()
    return parts


def schedule() -> torch.Tensor:
    """Stable Diffusion's alpha-bar."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, device=DEVICE) ** 2
    return torch.cumprod(1.0 - betas, 0)


class Sampler:
    """50 steps of DDIM with guidance, both branches in one batch, then the decoder."""

    def __init__(self, parts: dict[str, Any], size: Size, compiled: bool) -> None:
        self.parts, self.size = parts, size
        self.unet = torch.compile(parts["unet"]) if compiled else parts["unet"]
        self.alphas = schedule()

    @torch.inference_mode()
    def __call__(self, count: int) -> torch.Tensor:
        side = self.size.side
        like = dict(device=DEVICE, dtype=torch.bfloat16)
        gray = torch.rand(count, 3, side, side, **like).to(memory_format=torch.channels_last)
        tokens = torch.randint(0, VOCABULARY, (2 * count, TOKENS), device=DEVICE)
        self.parts["luminance"](gray)
        context = self.parts["text"](tokens)[0]
        z_t = torch.randn(count, 4, side // 8, side // 8, **like)
        z_t = z_t.to(memory_format=torch.channels_last)
        steps = list(range(1, 1000, 1000 // NUM_STEPS))[::-1]
        for place, t in enumerate(steps):
            time_step = torch.full((2 * count,), t, device=DEVICE)
            uncond, cond = self.unet(torch.cat([z_t, z_t]), time_step, context)[0].chunk(2)
            eps = uncond + GUIDANCE * (cond - uncond)
            alpha = self.alphas[t]
            before = self.alphas[steps[place + 1]] if place + 1 < len(steps) else self.alphas[0]
            z_0 = (z_t - (1.0 - alpha).sqrt() * eps) / alpha.sqrt()
            z_t = (before.sqrt() * z_0 + (1.0 - before).sqrt() * eps).to(torch.bfloat16)
        image = self.parts["vae"].decode(z_t / SCALING)[0]
        finish()
        return image


class Trainer:
    """The step of the latent stage: all of the UNet trained, the rest frozen."""

    def __init__(self, parts: dict[str, Any], size: Size, compiled: bool) -> None:
        self.parts, self.size = parts, size
        self.alphas = schedule()
        module = parts["unet"].requires_grad_(True).train()
        self.unet = torch.compile(module) if compiled else module
        fused = DEVICE == "cuda"
        self.optimizer = torch.optim.AdamW(
            module.parameters(), 1e-5, weight_decay=1e-2, fused=fused
        )
        side = size.side
        image = torch.rand(size.batch, 3, side, side, device=DEVICE) * 2.0 - 1.0
        self.image = image.to(memory_format=torch.channels_last)
        self.tokens = torch.randint(0, VOCABULARY, (size.batch, TOKENS), device=DEVICE)

    def __call__(self) -> None:
        with torch.autocast(DEVICE, torch.bfloat16):
            with torch.no_grad():
                z_0 = self.parts["vae"].encode(self.image).latent_dist.sample() * SCALING
                self.parts["luminance"](self.image)
                context = self.parts["text"](self.tokens)[0]
                t = torch.randint(0, 1000, (self.size.batch,), device=DEVICE)
                alpha = self.alphas[t][:, None, None, None]
                eps = torch.randn_like(z_0)
                z_t = alpha.sqrt() * z_0 + (1.0 - alpha).sqrt() * eps
            predicted = self.unet(z_t, t, context)[0]
        loss = ((predicted.float() - eps.float()) ** 2).mean()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        finish()


def measure_samplers(parts: dict[str, Any], size: Size, log: Log, compiled: bool) -> None:
    kind = "compiled" if compiled else "eager"
    sampler = Sampler(parts, size, compiled)
    for count in SAMPLED:

        def measure(count: int = count) -> dict[str, Any]:
            return timed(lambda: sampler(count), count)

        log.attempt(f"sample {count}, {kind}", measure, 15.0)


def measure_training(size: Size, log: Log) -> None:
    parts = networks(size, torch.float32)
    for kind, needs in (("eager", 10.0), ("compiled", COMPILING)):

        def measure(kind: str = kind) -> dict[str, Any]:
            trainer = Trainer(parts, size, kind == "compiled")
            found = timed(trainer, size.batch, batch=size.batch)
            most = torch.cuda.max_memory_allocated() if DEVICE == "cuda" else 0
            return found | {"peak_bytes": most}

        log.attempt(f"train, {kind}", measure, needs)


def warm(parts: dict[str, Any], size: Size, log: Log) -> None:
    """Compiles the samplers' UNet, which is kept: the timed sampler finds it compiled."""
    begin = time.time()
    sampler = Sampler(parts, size, True)
    for count in SAMPLED:
        with torch.inference_mode():
            z_t = torch.randn(2 * count, 4, size.side // 8, size.side // 8, device=DEVICE)
            z_t = z_t.to(dtype=torch.bfloat16, memory_format=torch.channels_last)
            context = torch.randn(2 * count, TOKENS, size.text, device=DEVICE, dtype=z_t.dtype)
            sampler.unet(z_t, torch.full((2 * count,), 1, device=DEVICE), context)
    finish()
    log.put("compile samplers", round(time.time() - begin, 1))


def main() -> None:
    args = arguments(__doc__ or "").parse_args()
    log = Log(args.json, time.time() + args.seconds)
    size = SIZES[args.size]
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    # Fixed shapes: a second batch size is compiled for itself, not for any size.
    torch._dynamo.config.automatic_dynamic_shapes = False
    name = torch.cuda.get_device_name() if DEVICE == "cuda" else DEVICE
    log.put("device", f"{name}, torch {torch.__version__}")
    parts = networks(size, torch.bfloat16)
    log.attempt("warm", lambda: warm(parts, size, log), COMPILING)
    if args.meet:
        wait_for(args.meet / "jax_done", log.until)
    measure_samplers(parts, size, log, False)
    if log.items.get("warm") is None:  # it neither failed nor was left out
        measure_samplers(parts, size, log, True)
    del parts
    measure_training(size, log)


if __name__ == "__main__":
    main()
