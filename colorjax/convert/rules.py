"""Names and layouts: the original Stable Diffusion and L-CAD files, diffusers, transformers, ours.

Our paths are those of diffusers and transformers with slashes. The original files have other names
for their modules: a table pairs each with ours, a key is renamed by its longest known prefix, and
the same table read backwards leads home. Tensors are only turned, never computed: every function
gives views.
"""

import re
from collections.abc import Iterable, Mapping

import numpy as np

Table = dict[str, str]  # their module to ours, with dots

UNET_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
UNET_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
VAE_MID = {
    "mid.block_1": "mid_block.resnets.0",
    "mid.block_2": "mid_block.resnets.1",
    "mid.attn_1.norm": "mid_block.attentions.0.group_norm",
    "mid.attn_1.q": "mid_block.attentions.0.to_q",
    "mid.attn_1.k": "mid_block.attentions.0.to_k",
    "mid.attn_1.v": "mid_block.attentions.0.to_v",
    "mid.attn_1.proj_out": "mid_block.attentions.0.to_out.0",
}
# How diffusers called the VAE's attention before version 0.13; the folders of SD 1 still do.
OLD_VAE_ATTENTION = {
    f"{side}.mid_block.attentions.0.{old}": f"{side}.mid_block.attentions.0.{new}"
    for side in ("encoder", "decoder")
    for old, new in {
        "query": "to_q",
        "key": "to_k",
        "value": "to_v",
        "proj_attn": "to_out.0",
    }.items()
}
OPEN_CLIP_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
OPEN_CLIP_ENDS = {
    "token_embedding": "embeddings.token_embedding",
    "ln_final": "final_layer_norm",
}
# Names that a number follows because they are lists in PyTorch; in others it is part of the name.
LISTS = (
    "down_blocks|up_blocks|resnets|attentions|downsamplers|upsamplers|transformer_blocks|net|"
    "to_out|layers|zero_convs|reduces|transposed_convolution"
)


def unet_levels(keys: Iterable[str]) -> tuple[int, int, tuple[bool, ...]]:
    """Levels, residual blocks a level and which levels attend, from the original UNet's keys.

    Raises:
        ValueError: the numbered blocks do not form levels.
    """
    blocks: dict[int, set[str]] = {}
    for key in keys:
        if match := re.match(r"input_blocks\.(\d+)\.(\d+\.[a-z_]+)", key):
            blocks.setdefault(int(match[1]), set()).add(match[2])
    levels = 1 + sum("0.op" in parts for parts in blocks.values())
    per_level, rest = divmod(len(blocks), levels)
    if per_level < 2 or rest or set(blocks) != set(range(len(blocks))):
        raise ValueError(f"{len(blocks)} input blocks do not form {levels} levels")
    first = [1 + level * per_level for level in range(levels)]
    attention = tuple(
        any("1.norm" in blocks[i] for i in range(n, n + per_level - 1)) for n in first
    )
    return levels, per_level - 1, attention


def unet_table(levels: int, layers: int, attention: tuple[bool, ...]) -> Table:
    """Pairs LDM's flat block numbers with levels: a level is its blocks and one resampling."""
    table = dict(UNET_ENDS)

    def resnet(theirs: str, ours: str) -> None:
        table.update({f"{theirs}.{a}": f"{ours}.{b}" for a, b in UNET_RESNET.items()})

    for i, slot in enumerate((0, 2)):
        resnet(f"middle_block.{slot}", f"mid_block.resnets.{i}")
    table["middle_block.1"] = "mid_block.attentions.0"
    for level in range(levels):
        down, up = f"down_blocks.{level}", f"up_blocks.{levels - 1 - level}"
        first = 1 + level * (layers + 1)
        for i in range(layers):
            resnet(f"input_blocks.{first + i}.0", f"{down}.resnets.{i}")
            if attention[level]:
                table[f"input_blocks.{first + i}.1"] = f"{down}.attentions.{i}"
        if level < levels - 1:
            table[f"input_blocks.{first + layers}.0.op"] = f"{down}.downsamplers.0.conv"
        first = (levels - 1 - level) * (layers + 1)
        for i in range(layers + 1):
            resnet(f"output_blocks.{first + i}.0", f"{up}.resnets.{i}")
            if attention[level]:
                table[f"output_blocks.{first + i}.1"] = f"{up}.attentions.{i}"
        if level > 0:
            slot = 2 if attention[level] else 1
            table[f"output_blocks.{first + layers}.{slot}.conv"] = f"{up}.upsamplers.0.conv"
    return table


def trunk_table(levels: int, layers: int) -> Table:
    """The names of the trunk of VAE and luminance encoder, and of the latter's projections."""
    table = {"conv_in": "conv_in", **VAE_MID, **_shortcuts("mid.block_1", "mid.block_2")}
    for i in range(2):
        table[f"zero_conv_mid{i + 1}"] = f"mid_block.zero_convs.{i}"
    for level in range(levels):
        theirs, ours = f"down.{level}", f"down_blocks.{level}"
        for i in range(layers):
            table[f"{theirs}.block.{i}"] = f"{ours}.resnets.{i}"
            table[f"{theirs}.block.{i}.nin_shortcut"] = f"{ours}.resnets.{i}.conv_shortcut"
            table[f"{theirs}.zero_conv.{i}"] = f"{ours}.zero_convs.{i}"
        table[f"{theirs}.downsample.conv"] = f"{ours}.downsamplers.0.conv"
    return table


def vae_table(levels: int, layers: int) -> Table:
    """The names of encoder, decoder and quantization convolutions.

    The original `up` counts from the finest level, diffusers' `up_blocks` from the coarsest.
    """
    ends = {"conv_in": "conv_in", "norm_out": "conv_norm_out", "conv_out": "conv_out"}
    encoder = trunk_table(levels, layers) | ends
    decoder = {**ends, **VAE_MID, **_shortcuts("mid.block_1", "mid.block_2")}
    for level in range(levels):
        theirs, ours = f"up.{level}", f"up_blocks.{levels - 1 - level}"
        for i in range(layers + 1):
            decoder[f"{theirs}.block.{i}"] = f"{ours}.resnets.{i}"
            decoder[f"{theirs}.block.{i}.nin_shortcut"] = f"{ours}.resnets.{i}.conv_shortcut"
        decoder[f"{theirs}.upsample.conv"] = f"{ours}.upsamplers.0.conv"
    table = {"quant_conv": "quant_conv", "post_quant_conv": "post_quant_conv"}
    for side, names in (("encoder", encoder), ("decoder", decoder)):
        table |= {f"{side}.{a}": f"{side}.{b}" for a, b in names.items()}
    return table


def _shortcuts(*blocks: str) -> Table:
    return {f"{block}.nin_shortcut": f"{VAE_MID[block]}.conv_shortcut" for block in blocks}


def open_clip_table(layers: int) -> Table:
    """The names of OpenCLIP's text tower, but for its fused attention."""
    table = dict(OPEN_CLIP_ENDS)
    for i in range(layers):
        for theirs, ours in OPEN_CLIP_LAYER.items():
            table[f"transformer.resblocks.{i}.{theirs}"] = f"encoder.layers.{i}.{ours}"
    return table


def rename(key: str, table: Mapping[str, str]) -> str | None:
    """The key with its longest known prefix replaced; None if it has none."""
    words = key.split(".")
    for n in range(len(words), 0, -1):
        if (prefix := ".".join(words[:n])) in table:
            return ".".join([table[prefix], *words[n:]])
    return None


def renamed(key: str, table: Mapping[str, str], back: Mapping[str, str]) -> str | None:
    """Renames a key that comes back as itself, and no other: no aliases slip through."""
    name = rename(key, table)
    return name if name is not None and rename(name, back) == key else None


def inverse(table: Mapping[str, str]) -> Table:
    """The table read backwards: ours to theirs."""
    return {ours: theirs for theirs, ours in table.items()}


def to_flax(name: str, tensor: np.ndarray) -> tuple[str, np.ndarray]:
    """The path and the view by which Flax has a PyTorch `weight` or `bias`.

    PyTorch keeps linear kernels as [out, in] and convolutions as [out, in, height, width], Flax
    [in, out] and [height, width, in, out]; norms call their weight `scale`.
    """
    path = re.sub(rf"\b({LISTS})\.(\d+)", r"\1_\2", name).replace(".", "/")
    *parents, leaf = path.split("/")
    if leaf == "weight" and parents:
        if re.fullmatch(r"(token|position)_embedding", parents[-1]):
            leaf = "embedding"
        elif tensor.ndim == 1:
            leaf = "scale"
        elif tensor.ndim == 2:
            leaf, tensor = "kernel", tensor.T
        elif tensor.ndim == 4:
            leaf = "kernel"
            # Linear layers that the original files keep as 1x1 convolutions.
            if re.fullmatch(r"to_(q|k|v|out_0)", parents[-1]) and tensor.shape[2:] == (1, 1):
                tensor = tensor[:, :, 0, 0].T
            else:
                tensor = tensor.transpose(2, 3, 1, 0)
    return "/".join([*parents, leaf]), tensor


def to_torch(path: str, tensor: np.ndarray) -> tuple[str, np.ndarray]:
    """The inverse of `to_flax`, with linear layers as matrices."""
    *parents, leaf = path.split("/")
    if leaf == "kernel":
        tensor = tensor.T if tensor.ndim == 2 else tensor.transpose(3, 2, 0, 1)
    if leaf in ("kernel", "scale", "embedding"):
        leaf = "weight"
    name = ".".join([*parents, leaf])
    return re.sub(rf"\b({LISTS})_(\d+)\b", r"\1.\2", name), tensor
