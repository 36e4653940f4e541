"""Training on meshes of one to eight devices: equal numbers, and what is communicated.

Collectives are read from the program as the partitioner leaves it. Later this machine's compiler
widens bfloat16 collectives to float32, since its CPU has none; a TPU's keeps them.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache
from ml_collections import ConfigDict

from colorjax.devices import sharding
from colorjax.methods import lcad
from colorjax.plan import hlo, lowering, unet_levels
from colorjax.train import loop, optim
from tests import small

STEPS, BATCH = 10, 16
MESHES = [  # data, fsdp
    *((2, 1), (1, 4), (8, 1), (2, 4)),
    *(pytest.param(*sizes, marks=pytest.mark.slow) for sizes in ((1, 2), (4, 1), (1, 8))),
]
GATHERS_ALL = (("(params|opt_state|ema|frozen)/.*", "fsdp"), (".*", "replicate"))


def smaller() -> ConfigDict:
    config = small.smallest()
    config.latent.update(batch_size=BATCH, learning_rate=1e-4, warmup_steps=0, schedule="constant")
    return config


# Nothing here is timed: LLVM's optimisation would take longer than all the steps.
QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def batches(config: ConfigDict) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    shapes = unet_levels.batch(config, BATCH)
    return [
        {name: rng.normal(size=one.shape).astype(np.float32) for name, one in shapes.items()}
        for _ in range(STEPS)
    ]


@pytest.fixture(scope="module")
def stage():
    return made_stage()


def made_stage() -> Any:
    """The latent stage with random weights to begin from."""
    config = smaller()
    start = small.random_params(lcad.build(config.model.to_dict()))["unet"]
    made = unet_levels.stage(config, config.latent)
    return made._replace(init=lambda key, _: made.init(key, {})._replace(params=start))


def trained(stage: Any, data: int, fsdp: int) -> tuple[list[float], Any]:
    """The losses of ten steps and the weights after them, on the host."""
    config = smaller()
    mesh = sharding.make_mesh(data, fsdp, devices=jax.devices()[: data * fsdp])
    with jax.set_mesh(mesh):
        made = loop.programs(stage, config.latent, config, mesh)
        state, step, losses = made.init(), None, []
        for batch in sharding.global_batches(batches(config), mesh):
            step = step or made.step.lower(state, {}, batch).compile(QUICKLY)
            state, metrics = step(state, {}, batch)
            losses.append(float(metrics["loss"]))
    return losses, jax.device_get(state.params)


@pytest.fixture(scope="module")
def single(stage: Any) -> tuple[list[float], Any]:
    return trained(stage, 1, 1)


@pytest.mark.proof
@pytest.mark.parametrize(("data", "fsdp"), MESHES)
def test_every_mesh_trains_as_one_device(stage: Any, single: Any, data: int, fsdp: int) -> None:
    losses, params = trained(stage, data, fsdp)
    np.testing.assert_allclose(losses, single[0], rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5), params, single[1]
    )
    start = stage.init(jax.random.key(0), {}).params
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), params, start)
    assert max(jax.tree.leaves(moved)) > 5e-4, "ten steps of Adam at 1e-4"


@pytest.mark.proof
@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_parts_are_the_batch_on_a_mesh(parts: int) -> None:
    """Of a loss without randomness, since each part would draw its own."""
    config = smaller()
    model = lcad.build(config.model.to_dict())
    unet, rng = small.random_params(model)["unet"], np.random.default_rng(1)
    batch = batches(config)[0] | {"timesteps": rng.integers(0, 1000, BATCH, dtype=np.int32)}

    def loss(unet: Any, _: Any, batch: Any, key: Any) -> Any:
        given = (batch["latents"], batch["timesteps"], batch["context"], (batch["feature"],))
        found = lcad.predict_eps(model, {"unet": unet}, *given)
        return ((found - batch["latents"]) ** 2).mean(), {}

    def run(mesh: Any, accumulate: int) -> Any:
        rules = config.sharding_rules
        where = sharding.tree_shardings({"params": unet}, mesh, rules)["params"]
        with jax.set_mesh(mesh):
            rows = next(iter(sharding.global_batches([batch], mesh)))
            found = jax.jit(
                lambda unet, batch: optim.gradient(
                    loss, unet, {}, batch, jax.random.key(0), accumulate=accumulate
                ),
                out_shardings=(None, None, where),
            )
            given = (sharding.put(unet, where), rows)
            return jax.device_get(found.lower(*given).compile(QUICKLY)(*given))

    devices = 8 // parts
    value, _, grads = run(sharding.make_mesh(1, devices, devices=jax.devices()[:devices]), parts)
    wanted, _, whole = run(sharding.make_mesh(devices=jax.devices()[:1]), 1)
    assert float(value) == pytest.approx(float(wanted), rel=1e-5)
    largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(whole))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * largest), grads, whole
    )


def partitioned(config: ConfigDict, what: str, folder: Path, *sizes: int) -> tuple[str, str, Any]:
    """A step for a mesh: as partitioned, as compiled, and the shapes of what was given."""
    mesh = sharding.make_mesh(*sizes)
    lowered = lowering.training(config, mesh, what, BATCH // mesh.size)
    options = QUICKLY | {"xla_dump_to": str(folder), "xla_dump_hlo_pass_re": "spmd-partitioning"}
    jax.config.update("jax_enable_compilation_cache", False)  # what is found there is not dumped
    compilation_cache.reset_cache()  # which remembers whether it is used
    try:
        compiled = lowered.program.compile(options).as_text()
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
        compilation_cache.reset_cache()
    (dump,) = folder.glob("*.after_spmd-partitioning.*.txt")
    return dump.read_text(), compiled, lowered.inputs


def gathers(text: str) -> Counter[str]:
    return Counter(re.findall(r"= (\w+\[[\d,]*\])\S* all-gather\(", text))


IOTA = r"\[([\d,]+)\](?:T\(([\d,]+)\))?"  # so many numbers, shaped, then transposed


def groups(line: str) -> list[list[int]]:
    """The devices that an instruction joins, from any of XLA's three ways of writing them."""
    if found := re.search(r"replica_groups=\{(\{[\d,{}]*\})\}", line):
        return [[int(n) for n in group.split(",")] for group in re.findall(r"\{([\d,]+)", found[1])]
    if found := re.search(rf"replica_groups=\[([\d,]+)\]<={IOTA}", line):
        return _iota(found[2], found[3]).reshape(_numbers(found[1])).tolist()
    found = re.search(
        rf"replica_groups=mesh\[(.*?)\](?:, device_ids=\({IOTA}\))? \{{(.*?)\}}", line
    )
    names, sizes = zip(*re.findall(r"'(\w+)'=(\d+)", found[1]), strict=True)
    shape = [int(n) for n in sizes]
    joined = [names.index(name) for name in re.findall(r"'(\w+)'", found[4])]
    devices = _iota(found[2] or str(np.prod(shape)), found[3]).reshape(shape)
    last = np.moveaxis(devices, joined, range(-len(joined), 0))
    return last.reshape(-1, np.prod([shape[i] for i in joined])).tolist()


def _numbers(text: str) -> list[int]:
    return [int(n) for n in text.split(",")]


def _iota(shape: str, order: str | None) -> np.ndarray:
    sizes = _numbers(shape)
    return np.arange(np.prod(sizes)).reshape(sizes).transpose(_numbers(order) if order else None)


@pytest.mark.proof
def test_matrices_are_gathered_once_in_bfloat16(tmp_path: Path) -> None:
    """Trained or frozen, and though rematerialisation computes with them twice."""
    config = smaller()
    config.update(dtype="bfloat16", remat="blocks", sharding_rules=GATHERS_ALL)
    config.latent.trainable = ("(.*/)?cec_.*", "up_blocks_.*")
    text, compiled, (state, frozen) = partitioned(config, "unet", tmp_path, 1, 8)
    sharded = [
        leaf
        for leaf in jax.tree.leaves((state.params, frozen))
        if not leaf.sharding.is_fully_replicated
    ]
    assert len(sharded) > 40 and all(leaf.ndim > 1 for leaf in sharded)
    wanted = Counter(f"bf16[{','.join(map(str, leaf.shape))}]" for leaf in sharded)
    found = gathers(text)
    assert sum(found.values()) > 40 and not found - wanted, found - wanted
    assert "rematted_computation" in text, "the blocks are computed again"
    assert "all-to-all" not in text and "collective-permute(" not in text
    assert hlo.read(compiled).host_calls == 0


@pytest.mark.proof
def test_slices_exchange_gradients_only(tmp_path: Path) -> None:
    text, _, _ = partitioned(smaller(), "unet", tmp_path, 1, 4, 2)
    lines = [line for line in text.splitlines() if "replica_groups=" in line]
    crossing = Counter()
    for line in lines:
        kind = re.search(r" ([a-z-]+)\(", line)[1]
        crosses = any(len({device // 4 for device in group}) > 1 for group in groups(line))
        crossing[kind, crosses] += 1
    assert crossing["all-gather", False] > 20 and crossing["all-reduce", True] > 20
    assert not [kind for kind, crosses in crossing if crosses and kind != "all-reduce"], crossing


def test_groups_are_read() -> None:
    """By hand, of each notation."""
    assert groups("all-gather(), replica_groups={{0,1},{2,3}}, x") == [[0, 1], [2, 3]]
    assert groups("replica_groups=[2,4]<=[8]") == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert groups("replica_groups=[4,2]<=[2,4]T(1,0)") == [[0, 4], [1, 5], [2, 6], [3, 7]]
    mesh = "replica_groups=mesh['a'=4,'b'=1,'c'=2], device_ids=([2,4]T(1,0)) "
    assert groups(mesh + "{'a'}, x") == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert groups(mesh + "{'c'}, x") == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert groups("replica_groups=mesh['a'=8,'b'=1] {'a'}") == [[0, 1, 2, 3, 4, 5, 6, 7]]
