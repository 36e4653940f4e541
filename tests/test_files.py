"""Files and folders are written whole, or what was there stays and nothing is left beside it."""

import errno
import io
import os
import pickle
import signal
import subprocess
import sys
import time

import pytest

from colorjax import errors, files
from colorjax.errors import UserError

LIMITED = """
import resource, sys
from pathlib import Path
from colorjax import errors, files
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
errors.run(lambda: files.write_bytes(Path(sys.argv[1]), bytes(1001)))
"""
# What a shell started in the background ignores Ctrl-C, and so would all that it starts.
SLOW = """
import signal, sys, time
from pathlib import Path
from colorjax import errors, files

signal.signal(signal.SIGINT, signal.default_int_handler)

def write(partial):
    partial.write_bytes(b"half")
    print("begun", flush=True)
    time.sleep(60)

errors.run(lambda: files.replace(Path(sys.argv[1]), write))
"""


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
    with pytest.raises(UserError, match="file' could not be written .No space left.*make room"):
        files.replace(path, write)
    assert not list(tmp_path.iterdir())
    path.write_bytes(b"before")
    with pytest.raises(UserError, match="file' could not be written .No space left.*make room"):
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


def test_a_disk_that_is_full_is_told_in_a_sentence(small_disk) -> None:
    path = small_disk / "file"
    files.write_bytes(path, bytes(700_000))
    for size in (400_000, 10_000_000):
        with pytest.raises(UserError, match="file' could not be written .No space left.*make room"):
            files.write_bytes(path, bytes(size))
    assert path.read_bytes() == bytes(700_000) and list(small_disk.iterdir()) == [path]


def test_a_file_that_is_cut_short_never_has_its_name(tmp_path) -> None:
    """The limit is the system's own, by which a write of 1001 bytes may put down 1000 of them."""
    path = tmp_path / "file"
    command = [sys.executable, "-c", LIMITED, str(path)]
    out = subprocess.run(command, capture_output=True, text=True)
    assert out.returncode == 2 and out.stderr.count("\n") == 1 and "File too large" in out.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number,code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_nothing_half_written(tmp_path, number, code) -> None:
    command = [sys.executable, "-c", SLOW, str(tmp_path / "file")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n" and len(list(tmp_path.iterdir())) == 1
    start = time.monotonic()
    process.send_signal(number)
    assert process.communicate()[1].count("\n") <= 1
    assert process.returncode == code and time.monotonic() - start < 30
    assert not list(tmp_path.iterdir())


def test_everything_is_on_the_disk_before_the_name_and_the_name_after(
    tmp_path, monkeypatch
) -> None:
    steps = []
    flush, rename = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        steps.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", lambda *names: (steps.append("name"), rename(*names)))
    files.write_bytes(tmp_path / "file", b"data")
    assert steps[1:] == ["name", str(tmp_path)] and steps[0].endswith(".partial")


def test_a_device_is_not_replaced_by_a_file(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe' is a device, not a file or folder"):
        files.write_text(tmp_path / "pipe", "text")
    assert (tmp_path / "pipe").is_fifo() and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["file/inner", "n" * 300])
def test_an_impossible_place_is_named(tmp_path, name) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"{name}' could not be written"):
        files.write_text(tmp_path / name, "text")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "text,shown",
    [
        ("a\nb", r"a\nb"),
        ("\x1b[2Jdone", r"\x1b[2Jdone"),
        ("a\u202eb", r"a\u202eb"),
        ("a\udcffb", r"a\udcffb"),
        ("rot ä 赤 '\\'", "rot ä 赤 '\\'"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text, shown) -> None:
    assert errors.printable(text) == shown


def test_what_is_said_is_one_line_without_control_characters(capsys) -> None:
    errors.say("wrote 'a\x1b[2J\nb'")
    errors.say("not 'a\r'", error=True)
    assert capsys.readouterr() == ("wrote 'a\\x1b[2J\\nb'\n", "not 'a\\r'\n")


def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path) -> None:
    """Its own files, once it is gone: no others', none of a living one, of old ones the name."""
    running = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(tmp_path / "a.png")], stdout=subprocess.PIPE, text=True
    )
    assert running.stdout is not None and running.stdout.readline() == "begun\n"
    (unfinished,) = tmp_path.iterdir()
    kept = [".cat.partial.png", "a.partial.png", f".{'0' * 32}.partial", f".{'f' * 31}.partial.png"]
    kept.append(f".{'0' * 12}-{running.pid}-{'0' * 32}.partial.png")  # of another machine
    for name in kept:
        (tmp_path / name).touch()
    assert files.sweep(tmp_path) == 0 and unfinished.exists()
    running.kill()
    running.communicate()
    assert files.sweep(tmp_path) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    for name in kept:
        os.utime(tmp_path / name, (0, 0))
    assert files.sweep(tmp_path) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept[:2], kept[3]])
    assert files.sweep(tmp_path / "nowhere") == 0


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_numbers_beyond_what_it_makes_is_told(protocol: int) -> None:
    value = {"a": [1, "b", (2, 3)], "c": {"d": [4.0] * 300}}
    file = io.BytesIO(pickle.dumps(value, protocol))
    files.check_pickle(file)
    assert pickle.load(file) == value
    # LONG_BINPUT of two thousand millions: the table for it would have 16 GB.
    hostile = io.BytesIO(b"\x80\x02]r" + (2 * 10**9).to_bytes(4, "little") + b".")
    with pytest.raises(ValueError, match="numbers 3 things up to 2000000000"):
        files.check_pickle(hostile)


def test_a_name_with_a_backslash_is_no_warning() -> None:
    """As any warning in a test is an error, and a line of Python's to a user."""
    file = io.BytesIO(b"\x80\x02c\\ a\nname\n.")
    files.check_pickle(file)
    assert file.tell() == 0


@pytest.mark.parametrize("frame", [b"]]", b"]" * 11 + b"\x95\x04" + bytes(7) + b"]]."])
def test_frames_that_hide_something_are_told(frame: bytes) -> None:
    """One that ends within a thing or has another in it: Python's two readers differ there."""
    hostile = (
        b"\x80\x04\x95" + (12).to_bytes(8, "little") + frame + b"X\x09\0\0\0" + b"." * 9 + b"."
    )
    with pytest.raises(ValueError, match="frame"):
        files.check_pickle(io.BytesIO(hostile))


KILLED = """
import os, signal, sys
from pathlib import Path
from colorjax import files

left = int(sys.argv[1])

def counted(of):
    def call(*arguments, **named):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return of(*arguments, **named)
    return call

for place, name in ((os, "open"), (os, "fsync"), (Path, "replace"), (Path, "rename")):
    setattr(place, name, counted(getattr(place, name)))
files.write_text(Path(sys.argv[2]), "new")
"""


def test_a_process_killed_at_any_call_leaves_the_old_file_or_the_new(tmp_path) -> None:
    path, seen, left = tmp_path / "a.txt", [], 0
    while True:
        path.write_text("old")
        done = subprocess.run([sys.executable, "-c", KILLED, str(left), str(path)])
        seen.append(path.read_text())
        assert {p.name for p in tmp_path.glob("[!.]*")} == {"a.txt"}
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        left += 1
    # Nothing but a flush of the folder comes after the new name.
    first = seen.index("new")
    assert first >= 3 and set(seen[:first]) == {"old"} and set(seen[first:]) == {"new"}
    assert files.sweep(tmp_path) == first
