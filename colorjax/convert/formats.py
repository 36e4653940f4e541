"""The formats: which files there are, and which of their tensors goes where."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from colorjax.convert import own, read_configs, readers, rules
from colorjax.convert.read_configs import Settings
from colorjax.convert.readers import Tensors
from colorjax.errors import UserError

UNET, VAE = "model.diffusion_model.", "first_stage_model."
LUMINANCE = f"{VAE}g_encoder."
TEXT = "cond_stage_model.transformer."
OPEN_CLIP = "cond_stage_model.model."
# Without a place in our trees; these travel along untouched.
LCAD_EXTRAS = (
    r"betas|alphas_cumprod(_prev)?|sqrt(_one_minus|_recip|_recipm1)?_alphas_cumprod|logvar|"
    r"log_one_minus_alphas_cumprod|posterior_(variance|log_variance_clipped|mean_coef[12])",
    r"cond_stage_model\.transformer\.(text_model\.)?embeddings\.position_ids",
    r"first_stage_model\.g_encoder\.(norm_out|conv_out)\.(weight|bias)",
)
LDM_EXTRAS = (
    *LCAD_EXTRAS[:2],
    r"lvlb_weights|scale_factor",
    r"model_ema\..+",  # a second set of weights beside those that are used
    r"cond_stage_model\.model\.(text_projection|logit_scale|attn_mask)",
)
CLIP_EXTRAS = (r"((text|vision)_model\.)?embeddings\.position_ids",)
FOLDERS = ("unet", "vae", "text_encoder")


@dataclass
class Source:
    """A model's tensors, sorted. `spelling` is what the way back needs to write the same names."""

    parts: dict[str, Tensors] = field(default_factory=dict)
    keys: dict[tuple[str, str], str] = field(default_factory=dict)
    extras: Tensors = field(default_factory=dict)
    unknown: Tensors = field(default_factory=dict)
    settings: Settings = field(default_factory=dict)
    config: dict[str, Any] | None = None  # of a release that was written in another layout
    spelling: dict[str, Any] = field(default_factory=dict)
    tokenizer: Path | None = None

    def place(self, part: str, name: str | None, key: str, tensor: np.ndarray) -> None:
        """Puts a tensor where its PyTorch name says."""
        path, view = rules.to_flax(name or "", tensor)
        self.put(part, path if name is not None else None, key, tensor, view)

    def put(
        self, part: str, path: str | None, key: str, tensor: np.ndarray, leaf: np.ndarray
    ) -> None:
        """Puts `leaf`, which the tensor became, in its place.

        A tensor without a place, or whose place is taken, is among the unknown ones.
        """
        if path is None or path in self.parts.get(part, ()):
            self.unknown[key] = tensor
        else:
            self.parts.setdefault(part, {})[path] = leaf
            self.keys[part, path] = key

    def set_aside(self, state: Tensors, patterns: Iterable[str]) -> Tensors:
        """Moves what the patterns name to the extras; returns the rest."""
        extras = {key for key in state if any(re.fullmatch(p, key) for p in patterns)}
        self.extras |= {key: state[key] for key in extras}
        return {key: tensor for key, tensor in state.items() if key not in extras}


def lcad(path: Path, parts: tuple[str, ...]) -> Source:
    """Reads a released L-CAD checkpoint.

    Its first kernel, over latents and luminance features, becomes `conv_in` and an extension.
    """
    source = Source()
    _original(source, readers.read(path), LCAD_EXTRAS)
    unet = source.parts.get("unet", {})
    if "conv_in/kernel" in unet and unet["conv_in/kernel"].ndim == 4:
        fused, latents = unet["conv_in/kernel"], latent_channels(unet)
        unet["conv_in/kernel"] = fused[:, :, :latents]
        unet["cec_conv_in/kernel"] = fused[:, :, latents:]
        key = source.keys["unet", "conv_in/kernel"]
        source.keys["unet", "cec_conv_in/kernel"] = key
    return source


def latent_channels(unet: Mapping[str, np.ndarray]) -> int:
    """The channels of the latents, which the noise estimate has as well."""
    return unet["conv_out/bias"].shape[0] if "conv_out/bias" in unet else 4


def ldm(path: Path, parts: tuple[str, ...]) -> Source:
    """Reads an original Stable Diffusion 1.x or 2.x file."""
    source = Source()
    _original(source, readers.read(path), LDM_EXTRAS)
    return source


def _original(source: Source, state: Tensors, extras: Iterable[str]) -> None:
    state = source.set_aside(state, extras)
    groups: dict[str, Tensors] = {}
    for key, tensor in state.items():
        prefixes = (UNET, LUMINANCE, VAE, TEXT, OPEN_CLIP, "")
        prefix = next(p for p in prefixes if key.startswith(p))
        groups.setdefault(prefix, {})[key] = tensor
    source.unknown |= groups.pop("", {})
    for prefix, group in groups.items():
        names = [key.removeprefix(prefix) for key in group]
        if prefix == OPEN_CLIP:
            _open_clip(source, group)
        elif prefix == TEXT:
            tower = "text_model." if any(n.startswith("text_model.") for n in names) else ""
            source.spelling["text_prefix"] = tower
            for key, tensor in group.items():
                known = key.startswith(TEXT + tower)
                name = key.removeprefix(TEXT + tower) if known else None
                source.place("text_encoder", name, key, tensor)
        else:
            part = {UNET: "unet", VAE: "vae", LUMINANCE: "luminance_encoder"}[prefix]
            table = original_table(part, names)
            back = rules.inverse(table)
            for key, tensor in group.items():
                name = rules.renamed(key.removeprefix(prefix), table, back)
                source.place(part, name, key, tensor)


def original_table(part: str, names: list[str]) -> rules.Table:
    """The table of names of a part, for the size that its keys show.

    Raises:
        UserError: the keys are those of no such network.
    """
    if part == "unet":
        try:
            return rules.unet_table(*rules.unet_levels(names))
        except ValueError as error:
            raise UserError(f"the keys '{UNET}*' are not those of a UNet: {error}") from None
    down = [match for name in names if (match := re.search(r"\bdown\.(\d+)\.block\.(\d+)", name))]
    levels, layers = (1 + max((int(match[i]) for match in down), default=0) for i in (1, 2))
    if max(levels, layers) > 16:
        raise UserError(f"the keys '{VAE}*' are not those of a VAE: {levels} levels of {layers}")
    return (rules.vae_table if part == "vae" else rules.trunk_table)(levels, layers)


def _open_clip(source: Source, group: Tensors) -> None:
    """Places OpenCLIP's text tower, which has one matrix for query, key and value.

    Stable Diffusion 2 reads the states before the last layer, so that layer is set aside.
    """
    matches = [
        re.match(rf"{re.escape(OPEN_CLIP)}transformer\.resblocks\.(\d+)\.", k) for k in group
    ]
    layers = max((int(match[1]) for match in matches if match), default=0)
    table = rules.open_clip_table(min(layers, 1000))
    back = rules.inverse(table)
    source.settings["text_encoder"] = {"hidden_act": "gelu"}
    source.spelling["text"] = "open_clip"
    group = source.set_aside(group, [rf".+\.resblocks\.{layers}\..+"])
    for key, tensor in group.items():
        name = key.removeprefix(OPEN_CLIP)
        fused = re.fullmatch(r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)", name)
        if name == "positional_embedding":
            source.place("text_encoder", "embeddings.position_embedding.weight", key, tensor)
        elif fused and tensor.shape[0] % 3 == 0:
            stem = f"encoder.layers.{fused[1]}.self_attn"
            for letter, third in zip("qkv", np.split(tensor, 3), strict=True):
                source.place("text_encoder", f"{stem}.{letter}_proj.{fused[2]}", key, third)
        else:
            source.place("text_encoder", rules.renamed(name, table, back), key, tensor)


def diffusers(path: Path, parts: tuple[str, ...]) -> Source:
    """Reads a folder of diffusers with `unet`, `vae`, `text_encoder` and more, see `own`.

    Messages call its keys FOLDER/KEY.
    """
    source = Source(config=own.read_config(path))
    if not path.is_dir():
        raise UserError(f"'{path}' is no folder with {', '.join(FOLDERS)} in it")
    ours = [part for part in own.FOLDERS if (path / part).is_dir()] if source.config else []
    there = [part for part in FOLDERS if not source.config or (path / part).is_dir()]
    for part in [part for part in (*there, *ours) if not parts or part in parts]:
        state = readers.read(readers.weights_file(path / part))
        if part in own.FOLDERS:
            for key, tensor in state.items():
                source.place(part, key, f"{part}/{key}", tensor)
            continue
        if part == "text_encoder":
            _tower(source, {f"{part}/{key}": tensor for key, tensor in state.items()}, f"{part}/")
            config = path / part / "config.json"
            known = read_configs.tower(readers.read_json(config), read_configs.TEXT, config)
            source.settings["text_encoder"] = known
            continue
        old = part == "vae" and any(rules.rename(key, rules.OLD_VAE_ATTENTION) for key in state)
        table = rules.OLD_VAE_ATTENTION if old else {}
        source.spelling |= {"old_vae_attention": True} if old else {}
        for key, tensor in state.items():
            source.place(part, rules.rename(key, table) or key, f"{part}/{key}", tensor)
        if source.config:
            continue
        describe = read_configs.diffusers_unet if part == "unet" else read_configs.diffusers_vae
        source.settings |= describe(path / part / "config.json")
    if {"unet", "vae"} <= source.settings.keys():
        _image_size(source, path)
    scheduler = path / "scheduler" / "scheduler_config.json"
    if scheduler.is_file():
        settings = read_configs.diffusers_scheduler(scheduler)
        source.settings[""] = source.settings.get("", {}) | settings.pop("")
        source.settings |= settings
    if (path / "tokenizer").is_dir():
        source.tokenizer = path / "tokenizer"
    return source


def _image_size(source: Source, path: Path) -> None:
    """The size of pictures that the UNet was made for: it is told in latents."""
    side = readers.read_json(path / "unet" / "config.json").get("sample_size")
    channels = source.settings["vae"].get("block_out_channels", ())
    if isinstance(side, int) and channels:
        source.settings.setdefault("", {})["image_size"] = side * 2 ** (len(channels) - 1)


def clip(path: Path, parts: tuple[str, ...]) -> Source:
    """Reads CLIP of transformers: a file, or its folder; one tower or both, prefixed or not."""
    source = Source()
    _tower(source, readers.read(readers.weights_file(path) if path.is_dir() else path), "")
    if path.is_dir() and (path / "config.json").is_file():
        config = readers.read_json(path / "config.json")
        for part, section, keys in (
            ("text_encoder", "text_config", read_configs.TEXT),
            ("image_encoder", "vision_config", read_configs.VISION),
        ):
            if part in source.parts:
                known = read_configs.tower(config.get(section, config), keys, path / "config.json")
                source.settings[part] = known
    if path.is_dir() and (path / "vocab.json").is_file():
        source.tokenizer = path
    return source


def _tower(source: Source, state: Tensors, folder: str) -> None:
    """Places towers: the text tower is a part, the image tower and the projections are another."""
    state = source.set_aside(state, [re.escape(folder) + pattern for pattern in CLIP_EXTRAS])
    names = {key.removeprefix(folder): key for key in state}
    has_image = any("patch_embedding" in name for name in names)
    if not has_image:  # nothing to meet
        rest = [re.escape(folder) + r"(text_projection\.weight|logit_scale)"]
        state = source.set_aside(state, rest)
    prefixed = any(re.match(r"(text|vision)_model\.", name) for name in names)
    source.spelling["text_prefix"] = "text_model." if prefixed else ""
    for name, key in names.items():
        if key not in state:
            continue
        if prefixed and name.startswith("text_model.") and (not folder or not has_image):
            source.place("text_encoder", name.removeprefix("text_model."), key, state[key])
        elif prefixed and not folder:
            source.place("image_encoder", name, key, state[key])
        elif prefixed:
            source.unknown[key] = state[key]
        elif has_image:
            source.place("image_encoder", f"vision_model.{name}", key, state[key])
        else:
            source.place("text_encoder", name, key, state[key])


FORMATS: dict[str, Callable[[Path, tuple[str, ...]], Source]] = {
    "lcad": lcad,
    "ldm": ldm,
    "diffusers": diffusers,
    "clip": clip,
}
NEEDED = {
    "lcad": ("text_encoder", "vae", "luminance_encoder", "unet"),
    "ldm": FOLDERS,
    "diffusers": FOLDERS,
}
