"""T10: everything that a training is, is in its checkpoint: every leaf, and each one matters."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from colorjax.devices import sharding
from colorjax.plan import unet_levels
from colorjax.train import checkpoint, loop, manifests
from colorjax.train.stages.stage import single_loss_stage
from tests.train import test_meshes
from tests.trust.conftest import Row


def changed(leaf: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The leaf with one bit of one number flipped."""
    data = bytearray(np.ascontiguousarray(leaf).tobytes())
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    return np.frombuffer(bytes(data), leaf.dtype).reshape(leaf.shape)


def random_state(abstract: Any, rng: np.random.Generator) -> Any:
    def fill(leaf: Any) -> np.ndarray:
        if jnp.issubdtype(leaf.dtype, jnp.integer):
            return np.asarray(rng.integers(0, 99, leaf.shape), leaf.dtype)
        return np.asarray(rng.normal(size=leaf.shape), leaf.dtype)

    return jax.tree.map(fill, abstract)


def small(config: Any) -> Any:
    """A stage of two leaves, with everything else that a state has."""
    return single_loss_stage(
        init=lambda key, start: {"w": jnp.ones((4, 3)), "b": {"c": jnp.zeros(3)}},
        loss=lambda params, frozen, batch, key: (params["w"].sum() + params["b"]["c"].sum(), {}),
        options=config.latent,
        total_steps=9,
        predict=lambda *_: {},
        finish=lambda *_: ({}, {}),
    )


@pytest.mark.parametrize("kind", ["small", pytest.param("unet", marks=pytest.mark.slow)])
def test_every_leaf(tmp_path: Path, row: Row, kind: str) -> None:
    """Weights, Adam's moments and counts, average, guard, step: as many as the state has."""
    config = test_meshes.smaller()
    config.latent.ema_decay = 0.99
    stage = small(config) if kind == "small" else unet_levels.stage(config, config.latent)
    mesh = sharding.make_mesh(devices=jax.devices()[:2])
    made = loop.programs(stage, config.latent, config, mesh)
    rng = row.rng()
    state = random_state(made.abstract, rng)
    other = jax.tree.map(lambda leaf: changed(np.asarray(leaf), rng), state)
    saved = checkpoint.Checkpoints(tmp_path / "checkpoints")
    stored = []
    for step, tree in enumerate((state, other), 1):
        saved.save(step, sharding.put(tree, made.shardings))
        saved.confirm(wait=True)
        newest, restored = saved.restore(made.shardings, made.abstract)
        assert newest == step
        for ours, theirs in zip(jax.tree.leaves(restored), jax.tree.leaves(tree), strict=True):
            assert np.asarray(ours).tobytes() == np.asarray(theirs).tobytes()
        stored.append(saved._manifest(step))
    saved.close()
    paths = [path for path, _ in manifests.leaves(state)]
    for name in ("params/", "opt_state/", "ema/", "guard/", "step"):
        assert any(path.startswith(name) for path in paths), name
    assert sorted(stored[0]) == sorted(paths)
    assert all(stored[0][path][0] != stored[1][path][0] for path in paths)
    row.tell(f"{kind}: {len(paths)} leaves, each restored to the bit, and with one bit changed")
