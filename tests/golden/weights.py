"""The rule that makes the reference's weights from their checkpoint keys, and their conversion."""

import ast
import math
import zlib
from pathlib import Path

import numpy as np

from colorjax.convert import __main__ as command
from colorjax.convert import writers

HERE = Path(__file__).parent
TEXT = "cond_stage_model.transformer.text_model.embeddings."
EMBEDDINGS = (f"{TEXT}token_embedding.weight", f"{TEXT}position_embedding.weight")


def tensor(key: str, shape: tuple[int, ...]) -> np.ndarray:
    if key == f"{TEXT}position_ids":
        return np.arange(shape[1])[None]
    if "." not in key:
        return np.load(HERE / "schedule.npz")[key]
    rng = np.random.RandomState(zlib.crc32(key.encode()))
    values = rng.standard_normal(shape).astype(np.float32)
    if key in EMBEDDINGS:
        return values * np.float32(0.02)
    if len(shape) >= 2:
        return values / np.float32(math.sqrt(math.prod(shape[1:])))
    if key.endswith(".weight"):
        return np.float32(1) + np.float32(0.1) * values
    return np.float32(0.05) * values


def state_dict(shapes: str) -> dict[str, np.ndarray]:
    rows = (line.split("\t") for line in (HERE / shapes).read_text().splitlines())
    return {key: tensor(key, ast.literal_eval(shape)) for key, shape, _ in rows}


def release(
    directory: Path, shapes: str, *flags: str, config: Path = HERE / "tiny_config.json"
) -> Path:
    """A release directory, made by the conversion command from a checkpoint of these weights."""
    checkpoint = directory / f"{Path(shapes).stem}.ckpt"
    writers.write_checkpoint(checkpoint, state_dict(shapes))
    output = directory / Path(shapes).stem
    arguments = ["--format=lcad", f"--input={checkpoint}", f"--output={output}", *flags]
    assert command.main([*arguments, f"--config={config}"]) == 0
    return output
