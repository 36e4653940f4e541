"""The direction of imports, read from the sources."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "colorjax"

# Every room of the package, and the rooms that it may import besides itself. A file at the top of
# the package is a room of its own.
METHODS = {"errors", "maths", "inputs", "models", "files", "release", "methods"}
COLORIZE = METHODS | {"data", "devices", "colorize"}
ROOMS = {
    "__init__": {"colorize", "export"},
    "__main__": {"colorize"},
    "errors": set(),
    "files": {"errors"},
    "maths": {"errors"},
    "inputs": {"errors", "maths"},
    "models": {"errors", "maths"},
    "hub": {"errors", "files"},
    "release": {"errors", "maths", "files", "hub"},
    "data": {"errors", "maths", "files"},
    "devices": {"errors", "files"},
    "methods": METHODS | {"data"},
    "convert": METHODS,
    "fetch": {"errors", "files", "hub", "release", "convert"},
    "publish": {"errors", "files", "release"},
    "prepare": {"errors", "maths", "files", "release", "data", "methods"},
    "colorize": COLORIZE,
    "train": METHODS | {"data", "devices", "prepare"},
    "analyze": METHODS | {"data", "devices"},
    "evaluate": COLORIZE,
    "export": COLORIZE,
    "serve": COLORIZE,
    "plan": METHODS | {"data", "devices", "train"},
    "bundled": set(),
}
# Within a room that has rooms of its own: what each may import of the others there; the files
# beside them are one more, called "".
INNER = {
    "colorize": {
        "chroma": set(),
        "files": {"chroma"},
        "words": {"chroma", "files"},
        "": {"chroma", "files", "words"},
        "film": {"chroma", ""},
        "command": {"chroma", "files", "words", "film", ""},
    }
}
# Folders of the tests that are not about one room.
OTHER_TESTS = {"assets", "golden", "manifests", "parity", "trust"}
WITHOUT_JAX = {"errors", "files", "hub", "data", "prepare"}


PATHS = sorted(PACKAGE.rglob("*.py"))


@functools.cache
def sources() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in PATHS}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.Module) -> set[str]:
    """Dotted names below the package that a module imports, wherever in the file."""
    names: set[str] = set()
    assert not any(isinstance(n, ast.ImportFrom) and n.level for n in ast.walk(tree)), "relative"
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def inside(tree: ast.Module) -> set[str]:
    dotted = {name.split(".")[1] for name in imported(tree) if name.startswith("colorjax.")}
    return {
        name for name in dotted if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists()
    }


@pytest.mark.parametrize("path", PATHS, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    tree, name = sources()[path], room(path)
    assert name in ROOMS, f"{path} is in no room: give it a rule, or put it into one"
    assert inside(tree) <= ROOMS[name] | {name}, f"{path} reaches upwards"
    if name in WITHOUT_JAX or path.name in ("color.py", "recombine.py"):
        assert not any(n.split(".")[0] in {"jax", "flax"} for n in imported(tree)), path


@pytest.mark.parametrize("house", INNER)
def test_the_rooms_within_a_room_import_downwards(house: str) -> None:
    rules, top = INNER[house], PACKAGE / house
    for path in (path for path in sources() if room(path) == house and path.name != "__main__.py"):
        place = path.relative_to(top).parts[:-1]
        name = place[0] if place else ""
        assert name in rules, f"{path} is in no room of {house}"
        for dotted in imported(sources()[path]):
            parts = dotted.split(".")
            if parts[:2] != ["colorjax", house] or len(parts) < 3:
                continue
            other = parts[2] if (top / parts[2]).is_dir() else ""
            assert other in rules[name] | {name}, f"{path} reaches upwards to {dotted}"


def test_every_room_exists_and_no_circle_is_allowed() -> None:
    assert {room(path) for path in sources()} == set(ROOMS)
    order: list[str] = []
    while len(order) < len(ROOMS):
        free = [r for r, below in ROOMS.items() if r not in order and below - {r} <= set(order)]
        assert free, f"{set(ROOMS) - set(order)} are above one another"
        order += free


def test_the_table_for_contributors_is_this_one() -> None:
    """Row by row, and in an order that has what a room imports above it."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|[^|]+\| ([^|]+) \|$", text, re.MULTILINE)
    table = {name: set(re.findall(r"`(\w+)`", allowed)) for name, allowed in rows}
    assert len(rows) == len(table)
    assert table == {name: allowed - {name} for name, allowed in ROOMS.items()}
    for place, (name, _) in enumerate(rows):
        assert table[name] <= {above for above, _ in rows[:place]}, name


def test_paths_that_contributors_are_sent_to_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"`((?:colorjax|configs|launch|tests|benchmarks)/[\w./]*)`", text)
    assert len(paths) > 15 and not [path for path in paths if not (ROOT / path).exists()]
    for room, files in re.findall(r"`(colorjax/[\w/]+/)`: ((?:`\w+\.py`[^`|]*)+)", text):
        for name in re.findall(r"`(\w+\.py)`", files):
            assert (ROOT / room / name).exists(), f"{room}{name}"


def test_the_tests_have_the_rooms_of_the_package() -> None:
    folders = {path.parent.name for path in ROOT.glob("tests/*/*.py")} - OTHER_TESTS
    assert folders <= set(ROOMS) - {"__init__", "__main__"}


def test_files_stay_small() -> None:
    long = [path for path in sources() if len(path.read_text().splitlines()) > 400]
    assert not long


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, colorjax; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"jax", "flax", "transformers", "tensorflow_datasets", "grain", "torch", "numpy"}
    assert not heavy & set(out.stdout.split())


def test_colouring_a_photograph_imports_no_training() -> None:
    """Nor readers of data sets, nor what writes logs and figures: each costs a start of seconds."""
    code = """
import sys
import colorjax.colorize.command.run
from colorjax.data.tokenizer import Tokenizer
Tokenizer(sys.argv[1])(["a red car"])
print(*sys.modules)
"""
    tokenizer = str(PACKAGE / "bundled" / "tokenizer")
    command = [sys.executable, "-c", code, tokenizer]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    training = {"orbax", "grain", "tensorflow_datasets", "array_record", "tensorboardX", "optax"}
    rare = {"scipy", "transformers", "pandas"}  # what some photographs need is imported for them
    heavy = training | rare | {"matplotlib", "wandb", "pyarrow", "colorjax.train"}
    assert not heavy & set(out.stdout.split())
