"""The rule that makes the reference's weights from their checkpoint keys."""

import ast
import math
import zlib
from pathlib import Path

import numpy as np
from flax.traverse_util import unflatten_dict

from colorjax.convert import rules

HERE = Path(__file__).parent
TEXT = "cond_stage_model.transformer.text_model.embeddings."
EMBEDDINGS = (f"{TEXT}token_embedding.weight", f"{TEXT}position_embedding.weight")


def tensor(key: str, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.RandomState(zlib.crc32(key.encode()))
    values = rng.standard_normal(shape).astype(np.float32)
    if key in EMBEDDINGS:
        return values * np.float32(0.02)
    if len(shape) >= 2:
        return values / np.float32(math.sqrt(math.prod(shape[1:])))
    if key.endswith(".weight"):
        return np.float32(1) + np.float32(0.1) * values
    return np.float32(0.05) * values


def parts(shapes: str) -> dict:
    """Nested trees by part, through the production key rules."""
    state = {}
    for line in (HERE / shapes).read_text().splitlines():
        key, shape, _ = line.split("\t")
        state[key] = tensor(key, ast.literal_eval(shape))
    flat, extras = rules.lcad_parts(state)
    # 13 buffers, the position ids and the unused end of the luminance encoder.
    assert len(extras) in (13 + 1 + 4, 4)
    return {part: unflatten_dict(leaves, sep="/") for part, leaves in flat.items()}
