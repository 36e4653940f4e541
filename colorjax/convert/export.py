"""The way back: a release as diffusers' folders, as an L-CAD checkpoint, or in half precision."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from colorjax import release
from colorjax.convert import formats, own, readers, rules, write_configs, writers
from colorjax.convert.readers import Tensors
from colorjax.errors import UserError

Parts = dict[str, Tensors]
DTYPES = {"float16": np.float16, "float32": np.float32}


def read(directory: Path) -> tuple[dict[str, Any], Parts, Tensors]:
    """Configuration, parts and extras of a release, mapped from its files, checksums compared."""
    directory = release.locate(directory)
    config = release.read_config(directory)
    files = {path.stem: path for path in sorted(directory.glob("*.safetensors"))}
    tensors = {name: readers.read(path) for name, path in files.items()}
    extras = tensors.pop("extras", {})
    return config, tensors, extras


def lcad(directory: Path, output: Path) -> None:
    """Writes the official layout: `.safetensors`, or a `.ckpt` that PyTorch reads.

    Raises:
        UserError: the model's extended convolutions are not those of the released weights.
    """
    config, parts, extras = read(directory)
    cec = config.get("unet", {}).get("cec", "none")
    if cec != "conv_in":
        raise UserError(
            f"'{directory}' has cec {cec!r}; the official layout, of which --to=lcad is, only "
            "knows 'conv_in': use --to=diffusers"
        )
    complete = all(part in parts for part in formats.NEEDED["lcad"])
    state = _lcad_extras(config, parts) if complete else {}
    state |= {key: tensor for key, tensor in extras.items() if _is_extra(key)}
    unet = dict(parts["unet"])
    # A convolution over concatenated channels is the sum of two: the official file has one kernel.
    unet["conv_in/kernel"] = np.concatenate(
        [unet["conv_in/kernel"], unet.pop("cec_conv_in/kernel")], axis=2
    )
    for prefix, flat, table in (
        (formats.UNET, unet, _unet_table(config["unet"])),
        (formats.VAE, parts.get("vae", {}), _trunk(rules.vae_table, config)),
        (formats.LUMINANCE, parts.get("luminance_encoder", {}), _trunk(rules.trunk_table, config)),
    ):
        state |= _original(prefix, flat, rules.inverse(table))
    tower = config.get("source", {}).get("spelling", {}).get("text_prefix", "text_model.")
    for path, leaf in parts.get("text_encoder", {}).items():
        name, tensor = rules.to_torch(path, leaf)
        state[f"{formats.TEXT}{tower}{name}"] = tensor
    write = writers.write_checkpoint
    if output.suffix == ".safetensors":
        write = writers.write_safetensors
    write(output, state)


def _unet_table(sizes: dict[str, Any]) -> rules.Table:
    levels, attention = len(sizes["block_out_channels"]), tuple(sizes["attention_levels"])
    return rules.unet_table(levels, sizes["layers_per_block"], attention)


def _trunk(table: Callable[[int, int], rules.Table], config: dict[str, Any]) -> rules.Table:
    sizes = config.get("vae", {})
    return table(len(sizes.get("block_out_channels", ())), sizes.get("layers_per_block", 0))


def _is_extra(key: str) -> bool:
    return any(re.fullmatch(pattern, key) for pattern in formats.LCAD_EXTRAS)


def _original(prefix: str, flat: Tensors, back: rules.Table) -> Tensors:
    state = {}
    for path, leaf in flat.items():
        name, tensor = rules.to_torch(path, leaf)
        key = rules.rename(name, back)
        if key is None:
            raise UserError(f"'{path}' has no name in the official layout")
        if re.search(r"attn_1\.(q|k|v|proj_out)\.weight$", key):
            # The VAE's attention, linear layers here, consists of 1x1 convolutions there.
            tensor = tensor[:, :, None, None]
        state[prefix + key] = tensor
    return state


def _lcad_extras(config: dict[str, Any], parts: Parts) -> Tensors:
    """What a released file holds besides weights, for a model that came without it.

    The schedule's buffers, and the luminance encoder's unused end, here the VAE encoder's.
    """
    state = schedule_buffers(**config["schedule"])
    positions = config["text_encoder"]["max_position_embeddings"]
    name = f"{formats.TEXT}text_model.embeddings.position_ids"
    state[name] = np.arange(positions, dtype=np.int64)[None]
    for path, leaf in parts["vae"].items():
        if path.startswith(("encoder/conv_norm_out/", "encoder/conv_out/")):
            torch_name, tensor = rules.to_torch(path, leaf)
            end = torch_name.removeprefix("encoder.").replace("conv_norm_out", "norm_out")
            state[formats.LUMINANCE + end] = tensor
    return state


def schedule_buffers(num_timesteps: int, beta_start: float, beta_end: float) -> Tensors:
    """The buffers of the original class: Ho et al. 2020, Eq. 4 and 7, made in double precision."""
    betas = np.linspace(beta_start**0.5, beta_end**0.5, num_timesteps, dtype=np.float64) ** 2
    alphas = 1.0 - betas
    bars = np.cumprod(alphas)
    previous = np.append(1.0, bars[:-1])
    variance = betas * (1.0 - previous) / (1.0 - bars)
    buffers = {
        "betas": betas,
        "alphas_cumprod": bars,
        "alphas_cumprod_prev": previous,
        "sqrt_alphas_cumprod": np.sqrt(bars),
        "sqrt_one_minus_alphas_cumprod": np.sqrt(1.0 - bars),
        "log_one_minus_alphas_cumprod": np.log(1.0 - bars),
        "sqrt_recip_alphas_cumprod": np.sqrt(1.0 / bars),
        "sqrt_recipm1_alphas_cumprod": np.sqrt(1.0 / bars - 1.0),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": np.log(np.maximum(variance, 1e-20)),
        "posterior_mean_coef1": betas * np.sqrt(previous) / (1.0 - bars),
        "posterior_mean_coef2": (1.0 - previous) * np.sqrt(alphas) / (1.0 - bars),
        "logvar": np.zeros(num_timesteps),
    }
    return {name: values.astype(np.float32) for name, values in buffers.items()}


def diffusers(directory: Path, output: Path) -> None:
    """Writes folders that diffusers and transformers load, and beside them what `own` describes."""
    config, parts, extras = read(directory)
    spelling = config.get("source", {}).get("spelling", {})
    old = rules.inverse(rules.OLD_VAE_ATTENTION) if spelling.get("old_vae_attention") else {}
    written = [part for part in formats.FOLDERS if part in parts]
    for part in (*written, *(part for part in own.FOLDERS if part in parts)):
        state = {}
        for path, leaf in parts[part].items():
            name, tensor = rules.to_torch(path, leaf)
            if part == "text_encoder":
                name = spelling.get("text_prefix", "text_model.") + name
            state[(rules.rename(name, old) if part == "vae" else None) or name] = tensor
        for key, tensor in extras.items():
            folder, slash, name = key.partition("/")
            if slash and folder == part:
                state[name] = tensor
        (output / part).mkdir(parents=True)
        writers.write_safetensors(output / part / own.weights_name(part), state)
        if part in write_configs.DESCRIBE:
            description = write_configs.DESCRIBE[part](config, parts)
            _write_json(output / part / "config.json", description)
    if _is_ours(config, parts):
        _write_json(output / own.CONFIG, {k: v for k, v in config.items() if k != "format"})
    if "vae" in parts or "unet" in parts:
        (output / "scheduler").mkdir()
        _write_json(output / "scheduler" / "scheduler_config.json", write_configs.scheduler(config))
    if (directory / "tokenizer").is_dir():
        shutil.copytree(directory / "tokenizer", output / "tokenizer")
    index = write_configs.index(written, (output / "tokenizer").is_dir())
    _write_json(output / "model_index.json", index)


def _is_ours(config: dict[str, Any], parts: Parts) -> bool:
    """Whether a release is more than Stable Diffusion, which its own files describe."""
    extended = config.get("unet", {}).get("cec", "none") != "none"
    return extended or bool(set(own.FOLDERS) & parts.keys())


def bundle(directory: Path, output: Path, dtype: str = "float16") -> None:
    """A release in another precision, such as the one that comes with colorjax.

    float16 keeps 11 bits of each weight; what that changes is measured by `colorjax.evaluate` on
    both. Raises `UserError` for a damaged release.
    """
    directory = release.locate(directory)
    config, names = release.read_config(directory), sorted(release.parts_in(directory))
    parts = {name: release.read_part(directory, name, DTYPES[dtype]) for name in names}
    tokenizer = directory / "tokenizer"
    release.write(output, config, parts, tokenizer if tokenizer.is_dir() else None, DTYPES[dtype])


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
