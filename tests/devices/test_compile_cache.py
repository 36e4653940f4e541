"""Where compiled programs are kept: nobody else can put one there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from colorjax.devices import compile_cache

SETUP = """
import jax
from colorjax.devices import compile_cache
compile_cache.setup()
print(jax.config.jax_compilation_cache_dir)
"""
OTHER = 12345  # a user


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`colorjax/xla` in a cache of one's own."""
    (tmp_path / "cache").mkdir(mode=0o700)
    return tmp_path / "cache" / "colorjax" / "xla"


def test_a_new_folder_is_the_users_alone(folder: Path) -> None:
    before = os.umask(0)
    try:
        assert compile_cache.trusted(folder) == folder == compile_cache.trusted(folder)
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == folder.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o755, 0o701])
def test_what_others_can_enter_is_not_used(folder: Path, mode: int) -> None:
    compile_cache.trusted(folder)
    folder.chmod(mode)
    with pytest.raises(compile_cache.Untrusted, match="xla' is open to others; say chmod go-rwx"):
        compile_cache.trusted(folder)
    assert folder.stat().st_mode & 0o777 == mode, "it is left as it is"


@pytest.mark.parametrize("level", [1, 2])
def test_what_others_can_write_above_is_not_used(folder: Path, level: int) -> None:
    above = compile_cache.trusted(folder).parents[level - 1]
    above.chmod(0o777)
    with pytest.raises(compile_cache.Untrusted, match=f"{above.name}' is open to others"):
        compile_cache.trusted(folder)
    above.chmod(0o1777)  # as /tmp
    if level == 2:
        assert compile_cache.trusted(folder) == folder


@pytest.mark.parametrize("level", [0, 1])
def test_links_are_not_followed(folder: Path, tmp_path: Path, level: int) -> None:
    target = tmp_path / "target"
    (target / "xla").mkdir(parents=True, mode=0o755)
    link = [folder, *folder.parents][level]
    link.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    link.symlink_to(target)
    with pytest.raises(compile_cache.Untrusted, match=f"{link.name}' is a link or no folder"):
        compile_cache.trusted(folder)
    assert target.stat().st_mode & 0o777 == 0o755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
@pytest.mark.parametrize("level", [0, 1, 2])
def test_folders_of_others_are_not_used(folder: Path, level: int) -> None:
    path = [compile_cache.trusted(folder), *folder.parents][level]
    os.chown(path, OTHER, OTHER)
    with pytest.raises(compile_cache.Untrusted, match=f"{path.name}' belongs to another user"):
        compile_cache.trusted(folder)


def test_without_a_trusted_folder_one_line_says_so(folder: Path) -> None:
    compile_cache.trusted(folder)
    folder.chmod(0o777)
    environment = os.environ | {"XDG_CACHE_HOME": str(folder.parents[1])}
    del environment["JAX_COMPILATION_CACHE_DIR"]
    command = [sys.executable, "-c", SETUP]
    out = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert out.stdout == "None\n" and out.stderr.count("\n") == 1
    assert out.stderr.startswith("colorjax: compiled programs are not kept between runs: '")


def test_programs_of_no_bytes_are_forgotten(folder: Path) -> None:
    """A full disk leaves them, and jax would tell of them at each start."""
    compile_cache.trusted(folder)
    (folder / "empty-cache").touch()
    (folder / "whole-cache").write_bytes(b"program")
    compile_cache.forget_empty(folder)
    assert [path.name for path in folder.iterdir()] == ["whole-cache"]
