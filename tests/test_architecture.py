"""The direction of imports, read from the sources."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "colorjax"

MATHEMATICS = {
    *("types", "errors", "color", "diffusion", "cold"),
    *("samplers", "guidance", "losses", "metrics"),
}
INFERENCE = {
    *("colorize", "evaluate", "inference", "instances", "bundle", "analyze"),
    *("cold_inference", "painting", "settings"),
}
TRAINING = {"stages", "optim", "train", "loop", "checkpoint", "inherit", "abstract", "plan"}
TRAINING |= {"alone", "sweep"}

# What each room may import of the package; a name covers its submodules.
ALLOWED = {
    **{name: MATHEMATICS for name in MATHEMATICS},
    "recombine": {"color"},
    "grids": set(),
    "runtime": set(),
    "models": {"types", "models"},
    "release": {"errors", "types"},
    "segment": {"errors", "color", "models", "release", "data"},
    "inherit": {"errors", "release", "models"},
    "methods": MATHEMATICS | {"models", "release", "methods"},
    "data": {"errors", "color", "data"},
    "prepare": {"errors", "data"},
    "flags": {"errors"},
    "sharding": {"errors", "types"},
    "optim": {"errors", "types"},
    "checkpoint": {"errors", "processes", "sharding"},
    "spread": {"errors", "processes", "sharding"},
    "convert": {"errors", "types", "models", "release", "convert"},
    "tracking": {"chips", "errors"},
    "goodput": set(),
    "chips": {"errors"},
    "hlo": set(),
    "flops": set(),
    "roofline": {"chips", "hlo"},
    "processes": {"errors"},
    "progress": {"errors"},
    "stages": MATHEMATICS | {"models", "methods", "optim", "release", "stages"},
}


@functools.cache
def sources() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


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


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    tree, name = sources()[path], room(path)
    if name in ALLOWED:
        assert inside(tree) <= ALLOWED[name], f"{path} reaches upwards"
    if name in INFERENCE:
        assert not inside(tree) & TRAINING, f"{path}: inference knows of training"
    if name == "data" or name in {"color", "recombine", "grids"}:
        assert not any(n.split(".")[0] in {"jax", "flax"} for n in imported(tree)), path


def test_every_room_has_its_rule() -> None:
    rooms = {room(path) for path in sources()} - {
        "__init__",
        "train",
        "loop",
        "plan",
        "abstract",
        "alone",
        "sweep",
        "bundled",
    }
    assert rooms == set(ALLOWED) | INFERENCE


def test_files_stay_small() -> None:
    long = [path for path in sources() if len(path.read_text().splitlines()) > 400]
    assert not long


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, colorjax; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"jax", "flax", "transformers", "tensorflow_datasets", "grain", "torch", "numpy"}
    assert not heavy & set(out.stdout.split())
