"""T20: what was written by another version or typed wrongly is told, with what was meant."""

import json
import random
from pathlib import Path

import jax
import pytest
from ml_collections import ConfigDict

from colorjax.configs import lcad
from colorjax.devices import sharding
from colorjax.errors import UserError
from colorjax.train import checkpoint, flags
from tests.train import saved
from tests.trust.conftest import Row

# Of ml_collections, which loads configurations so.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
CONFIG = "--config=configs/lcad.py:tiny,stage=latent"


def misspelt(key: str, rng: random.Random) -> str:
    """The last part of a key with one mistake: a letter lost, doubled, exchanged or another."""
    head, dot, word = key.rpartition(".")
    at = rng.randrange(1, len(word) - 1)
    kinds = [
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + rng.choice("qxz") + word[at + 1 :],
    ]
    return head + dot + rng.choice(kinds)


def test_misspelt_keys(row: Row) -> None:
    """The nearest key is the one that was meant, or is as near to what was typed."""
    known = flags.dotted(lcad.get_config("tiny,stage=latent"))
    long = [key for key in known if len(key.rpartition(".")[2]) > 6]
    rng, count, named = random.Random(row.seed), row.count(8, 100), 0
    for _ in range(count):
        key = rng.choice(long)
        wrong = misspelt(key, rng)
        if wrong in known:
            continue
        with pytest.raises(UserError) as error:
            flags.parse(["train", CONFIG, f"--config.{wrong}=1"])
        said = str(error.value)
        assert said.startswith(f"--config.{wrong} is unknown; the nearest key is --config.")
        named += said.endswith(f"--config.{key}")
    assert named > 0.9 * count
    row.tell(f"{count} misspelt keys: all told, of {named} the right one is named")


def other_formats(about: dict) -> dict[str, dict]:
    """What a checkpoint's manifest may say that this version does not read."""
    leaves = about["leaves"]
    first = min(leaves)
    return {
        "another format": about | {"format": 2},
        "no format": {k: v for k, v in about.items() if k != "format"},
        "another step": about | {"step": 9},
        "no leaves": about | {"leaves": {}},
        "a leaf less": about | {"leaves": {k: v for k, v in leaves.items() if k != first}},
        "a leaf more": about | {"leaves": leaves | {"more": leaves[first]}},
        "another digest": about | {"leaves": leaves | {first: ["0" * 64, *leaves[first][1:]]}},
        "nothing": {},
        "a list": {"format": 1, "step": 2, "leaves": [], "sha256": ""},
        "nested": {"format": {"a": 1}, "step": [2], "leaves": {"a": {}}, "sha256": None},
    }


def test_manifests_of_other_versions(tmp_path: Path, row: Row) -> None:
    """The step before is taken, and why is said."""
    folder = tmp_path / "whole" / "checkpoints"
    saved.write(folder)
    (place,) = [
        path
        for path in (folder / "2").rglob("*METADATA*")
        if path.is_file() and '"sha256"' in path.read_text()
    ]
    text = json.loads(place.read_text())
    cases = other_formats(text["custom_metadata"])
    chosen = list(cases)[:: row.count(4, 1)]
    for name in chosen:
        changed = json.dumps(text | {"custom_metadata": cases[name]}).encode()
        assert saved.is_seen(folder, tmp_path / "copy", {place: changed}), name
    row.tell(f"{len(chosen)} manifests of other versions: the step before is restored")


def test_a_state_of_another_model(tmp_path: Path, row: Row) -> None:
    """Not called damaged: the first leaf that differs is named, with both shapes."""
    folder = tmp_path / "checkpoints"
    saved.write(folder)
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    whole = saved.tree(0)
    others = [
        ({k: v for k, v in whole.items() if k != "half"}, "half"),
        (whole | {"new": whole["half"]}, "new"),
        (whole | {"half": whole["half"][:3]}, "half"),
        (whole | {"params": {"w": whole["params"]["w"].astype("float16")}}, "params/w"),
        (whole | {"params": {"v": whole["params"]["w"]}}, "params/"),
    ]
    for tree, named in others:
        like = jax.eval_shape(lambda tree=tree: jax.tree.map(jax.numpy.asarray, tree))
        kept = checkpoint.Checkpoints(folder)
        with pytest.raises(UserError, match=f"does not fit.*'{named}.*give another --workdir"):
            kept.restore(sharding.tree_shardings(like, mesh, saved.RULES), like)
        kept.close()
        assert (folder / "2").is_dir(), "it stays where it is"
    row.tell(f"{len(others)} states of other models: the leaf is named, nothing moved")


def test_values_of_the_wrong_kind(row: Row) -> None:
    """A value that the key cannot have is told with the key."""
    config: ConfigDict = lcad.get_config("tiny,stage=latent")
    whole = [k for k in flags.dotted(config) if type(_value(config, k)) is int]
    rng, count = random.Random(row.seed), row.count(3, 20)
    for key in rng.sample(whole, count):
        with pytest.raises(UserError, match="the command line cannot be used"):
            flags.parse(["train", CONFIG, f"--config.{key}=many"])
    row.tell(f"{count} values of the wrong kind: told")


def _value(config: ConfigDict, key: str) -> object:
    value: object = config
    for part in key.split("."):
        value = value[part]  # type: ignore[index]
    return value
