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
from tests.train import saved
from tests.train.saved import RULES, placed, restore, tree


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Steps 1 and 2, from a mesh of eight."""
    said = saved.write(tmp_path / "checkpoints")
    assert [text.split(",")[0] for text in said] == [
        "checkpoint of step 1 committed",
        "checkpoint of step 2 committed",
    ]
    return tmp_path / "checkpoints"


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


@pytest.mark.proof
def test_no_damage_is_silent(folder: Path, tmp_path: Path) -> None:
    """Every file of the newest step, every kind of damage: the right numbers or the step before."""
    rng = np.random.default_rng(0)
    fallen_back = 0
    for path in saved.files(folder):
        for _, data in saved.damages(path, rng):
            fallen_back += saved.is_seen(folder, tmp_path / "scratch", {path: data})
    assert fallen_back > len(saved.files(folder))


def test_after_falling_back_the_step_can_be_saved_again(folder: Path) -> None:
    for path in (folder / "2").rglob("d/*"):
        path.write_bytes(b"\0" * path.stat().st_size)
    assert restore(folder)[0] == 1
    kept = checkpoint.Checkpoints(folder)
    kept.save(2, placed(2, sharding.make_mesh())[0])
    kept.close()
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
        kept = checkpoint.Checkpoints(folder)
        with pytest.raises(UserError, match="does not fit"):
            kept.restore(sharding.tree_shardings(like, mesh, RULES), like)
        kept.close()


def test_a_save_that_fails_is_told_and_the_last_one_stays(folder: Path) -> None:
    said: list[str] = []
    kept = checkpoint.Checkpoints(folder, 5, said.append)

    class Full:
        def result(self):
            raise ValueError("RESOURCE_EXHAUSTED: No space left on device")

    kept._pending = (3, "0" * 64, Full())
    with pytest.raises(UserError, match="step 3 could not be written.*No space left"):
        kept.confirm(wait=True)
    kept.close()
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


@pytest.mark.parametrize(
    "content",
    ["[]", "7", '{"commit_timestamp_nsecs": "late"}', '{"metrics": []}', "[" * 100_000, "\0"],
    ids=lambda content: content[:10],
)
def test_metadata_of_another_kind_is_damage(folder: Path, content: str) -> None:
    """Orbax would look at every step's metadata before it restores any of them."""
    (folder / "2" / "_CHECKPOINT_METADATA").write_text(content)
    step, got, said = restore(folder)
    assert step == 1 and any("checkpoint of step 2 is damaged" in line for line in said)
    jax.tree.map(np.testing.assert_array_equal, got, tree(1))
