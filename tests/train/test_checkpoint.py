"""What is saved comes back, on any mesh, or is told to be damaged: never silently wrong."""

import hashlib
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from colorjax.devices import sharding
from colorjax.errors import UserError
from colorjax.train import checkpoint, manifests

RULES = [(".*", "fsdp")]


def tree(seed: int) -> dict:
    """Random numbers: no bit of them is redundant."""
    rng = np.random.default_rng(seed)
    return {
        "params": {"w": rng.normal(size=(8, 24)).astype(np.float32)},
        "half": rng.normal(size=(16, 3)).astype(jnp.bfloat16),
        "step": np.int32(seed),
    }


def placed(seed: int, mesh: jax.sharding.Mesh):
    made = tree(seed)
    shardings = sharding.tree_shardings(made, mesh, RULES)
    return sharding.put(made, shardings), shardings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Steps 1 and 2, from a mesh of eight."""
    said: list[str] = []
    saved = checkpoint.Checkpoints(tmp_path / "checkpoints", say=said.append)
    for step in (1, 2):
        saved.save(step, placed(step, sharding.make_mesh(fsdp=8))[0])
    saved.close()
    assert [text.split(",")[0] for text in said] == [
        "checkpoint of step 1 committed",
        "checkpoint of step 2 committed",
    ]
    return tmp_path / "checkpoints"


def restore(folder: Path, mesh: jax.sharding.Mesh | None = None, keep: int = 2):
    said: list[str] = []
    saved = checkpoint.Checkpoints(folder, keep, said.append)
    mesh = mesh or sharding.make_mesh(fsdp=8)
    like = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, tree(0)))
    try:
        return *saved.restore(sharding.tree_shardings(like, mesh, RULES), like), said
    finally:
        saved.close()


@pytest.mark.parametrize("fsdp, count", [(4, 8), (1, 8), (2, 2), (1, 1)])
def test_another_mesh_gets_the_same_numbers(folder: Path, fsdp: int, count: int) -> None:
    mesh = sharding.make_mesh(fsdp=fsdp, devices=jax.devices()[:count])
    step, got, said = restore(folder, mesh)
    assert step == 2 and said == []
    jax.tree.map(np.testing.assert_array_equal, got, tree(2))
    assert got["params"]["w"].sharding.device_set == set(mesh.devices.flat)


def test_the_manifest_is_the_sha256_of_the_bytes() -> None:
    got = manifests.of(placed(3, sharding.make_mesh(fsdp=4))[0])
    want = tree(3)
    for path, leaf in (("params/w", want["params"]["w"]), ("half", want["half"])):
        digest = hashlib.sha256(leaf.tobytes()).hexdigest()
        assert got[path] == [digest, str(leaf.dtype), list(leaf.shape)]
    assert sorted(got) == ["half", "params/w", "step"]
    other = manifests.of(placed(4, sharding.make_mesh())[0])
    assert manifests.checksum(got) != manifests.checksum(other)


def damages(path: Path, rng: np.random.Generator):
    """(name, bytes) of a file gone wrong in the ways that files do."""
    data = path.read_bytes()
    if data:
        for _ in range(3):
            flipped = bytearray(data)
            flipped[rng.integers(len(data))] ^= 1 << rng.integers(8)
            yield "flip", bytes(flipped)
        yield "half", data[: len(data) // 2]
        yield "zeros", bytes(len(data))
    yield "gone", None


@pytest.mark.proof
def test_no_damage_is_silent(folder: Path, tmp_path: Path) -> None:
    """Every file of the newest step, every kind of damage: the right numbers or the step before."""
    rng = np.random.default_rng(0)
    files = sorted(path for path in (folder / "2").rglob("*") if path.is_file())
    assert len(files) > 5
    fallen_back = 0
    for number, path in enumerate(files):
        for kind, data in damages(path, rng):
            copy = tmp_path / f"{number}-{kind}" / "checkpoints"
            shutil.rmtree(copy.parent, ignore_errors=True)
            shutil.copytree(folder, copy)
            broken = copy / path.relative_to(folder)
            broken.unlink() if data is None else broken.write_bytes(data)
            step, got, said = restore(copy)
            jax.tree.map(np.testing.assert_array_equal, got, tree(step))
            if step == 1:
                fallen_back += 1
                assert "checkpoint of step 2 is damaged" in said[0]
                assert not (copy / "2").exists() and (copy.parent / "damaged" / "2-0").is_dir()
            shutil.rmtree(copy.parent)
    assert fallen_back > len(files)


def test_after_falling_back_the_step_can_be_saved_again(folder: Path) -> None:
    for path in (folder / "2").rglob("d/*"):
        path.write_bytes(b"\0" * path.stat().st_size)
    assert restore(folder)[0] == 1
    saved = checkpoint.Checkpoints(folder)
    saved.save(2, placed(2, sharding.make_mesh())[0])
    saved.close()
    assert restore(folder)[0] == 2


def test_when_all_are_damaged_that_is_told(folder: Path) -> None:
    shutil.rmtree(folder / "1")
    (folder / "2" / "_CHECKPOINT_METADATA").write_text("{")
    with pytest.raises(UserError, match=r"every checkpoint .* \[2\]"):
        restore(folder)
    assert (folder / "2").exists()


def test_another_model_is_not_called_damaged(folder: Path) -> None:
    mesh = sharding.make_mesh()
    for other in ({"v": np.zeros(4)}, tree(0) | {"half": np.zeros((16, 3), np.float32)}):
        like = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, other))
        saved = checkpoint.Checkpoints(folder)
        with pytest.raises(UserError, match="does not fit"):
            saved.restore(sharding.tree_shardings(like, mesh, RULES), like)
        saved.close()


def test_a_save_that_fails_is_told_and_the_last_one_stays(folder: Path) -> None:
    said: list[str] = []
    saved = checkpoint.Checkpoints(folder, 5, said.append)

    class Full:
        def result(self):
            raise ValueError("RESOURCE_EXHAUSTED: No space left on device")

    saved._pending = (3, "0" * 64, Full())
    with pytest.raises(UserError, match="step 3 could not be written.*No space left"):
        saved.confirm(wait=True)
    saved.close()
    assert said == [] and restore(folder)[0] == 2


def test_what_is_no_checkpoint_is_put_aside(folder: Path) -> None:
    """Names that are numbers to Python and not to Orbax, and a file where a folder should be."""
    odd = ["abc", "\N{SUPERSCRIPT TWO}", "\N{ARABIC-INDIC DIGIT THREE}", "007", "-1", "1.5", "+3"]
    for name in odd:
        (folder / name).mkdir()
    (folder / "5").write_text("a file")
    (folder / "4.orbax-checkpoint-tmp").mkdir()
    step, got, said = restore(folder)
    assert step == 2 and len(said) == len(odd) + 1
    assert all("is no checkpoint and is put aside" in line for line in said)
    jax.tree.map(np.testing.assert_array_equal, got, tree(2))
    aside = {path.name for path in (folder.parent / "damaged").iterdir()}
    assert aside == {f"{name}-0" for name in [*odd, "5"]}
