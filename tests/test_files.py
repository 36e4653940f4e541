"""Files and folders are written whole, or what was there stays and nothing is left beside it."""

import errno

import pytest

from colorjax import files


def full(partial) -> None:
    partial.write_bytes(b"half")
    raise OSError(errno.ENOSPC, "No space left on device")


def full_folder(partial) -> None:
    partial.mkdir()
    full(partial / "file")


def test_a_file_is_replaced_whole(tmp_path) -> None:
    path = tmp_path / "new" / "file.txt"
    files.write_text(path, "ä\n")
    assert path.read_bytes() == "ä\n".encode()
    files.write_bytes(path, b"b")
    assert path.read_bytes() == b"b"
    assert list(tmp_path.rglob("*")) == [path.parent, path]


@pytest.mark.parametrize("write", [full, full_folder])
def test_a_full_disk_changes_nothing(tmp_path, write) -> None:
    path = tmp_path / "file"
    with pytest.raises(OSError, match="No space left"):
        files.replace(path, write)
    assert not list(tmp_path.iterdir())
    path.write_bytes(b"before")
    with pytest.raises(OSError, match="No space left"):
        files.replace(path, write)
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


def test_a_folder_takes_the_place_of_another(tmp_path) -> None:
    def write(partial) -> None:
        (partial / "inner").mkdir(parents=True)
        (partial / "inner" / "file").write_text("new")

    output = tmp_path / "out"
    output.mkdir()
    (output / "before").touch()
    files.replace(output, write)
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == [
        *("out", "out/inner", "out/inner/file")
    ]


def test_a_folder_comes_back_if_the_new_one_cannot_be_renamed(tmp_path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "before").touch()
    with pytest.raises(FileNotFoundError):
        files.put_in_place(tmp_path / "nowhere", output)
    assert [path.name for path in output.iterdir()] == ["before"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
