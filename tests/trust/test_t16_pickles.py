"""T16: no pickle that anybody sends is run, whatever it is called and whoever reads it."""

import io
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from colorjax.colorize.files import photos
from colorjax.colorize.words import masks
from colorjax.convert import __main__ as convert
from colorjax.convert import pickles, readers
from colorjax.errors import UserError
from colorjax.evaluate import statistics
from colorjax.prepare.planning import Request
from colorjax.prepare.run import prepare
from tests.trust.conftest import Row

CANARY = "canary"


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


class State(Call):
    """Pickled as a call whose result gets a state, so that BUILD is used too."""

    def __reduce__(self) -> tuple:
        return (*self.call, {"x": 1})


def payloads() -> Iterator[tuple[str, bytes]]:
    """Programs that would leave a file behind: by each way that a pickle can call something."""
    touch = f"touch {CANARY}"
    written = f"open({CANARY!r}, 'w').close()"
    calls = {
        "system": Call(os.system, touch),
        "open": Call(open, CANARY, "w"),
        "eval": Call(eval, written),
        "exec": Call(exec, written),
        "popen": Call(os.popen, touch),
        "state": State(os.mkdir, CANARY),
        "getattr": Call(getattr, os, "mkdir"),
        "numpy": Call(np.save, CANARY, 1),
    }
    for name, call in calls.items():
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            try:
                for where, value in (("top", call), ("in", {"state_dict": {"a": [call]}})):
                    yield f"{name} {where} {protocol}", pickle.dumps(value, protocol)
            except (pickle.PicklingError, TypeError):
                continue  # `os` itself cannot be pickled
    line = touch.encode()
    for module in (b"os", b"posix", b"nt", b"subprocess"):
        function = b"getoutput" if module == b"subprocess" else b"system"
        yield f"GLOBAL {module!r}", b"c" + module + b"\n" + function + b"\n(V" + line + b"\ntR."
        yield f"INST {module!r}", b"(V" + line + b"\ni" + module + b"\n" + function + b"\n."
        yield f"OBJ {module!r}", b"(c" + module + b"\n" + function + b"\nV" + line + b"\no."
        stack = b"\x80\x04\x8c" + bytes([len(module)]) + module
        stack += b"\x8c" + bytes([len(function)]) + function + b"\x93\x8c" + bytes([len(line)])
        yield f"STACK_GLOBAL {module!r}", stack + line + b"\x85R."
        yield f"NEWOBJ {module!r}", stack + line + b"\x85\x81."
    # A harmless global, whose attributes are walked to one that is not.
    walk = b"\x80\x04\x8c\x0bcollections\x8c\x16OrderedDict.__class__\x93."
    yield "dotted", walk
    text = b"X" + len(line).to_bytes(4, "little") + line
    yield "memo", b"\x80\x02cos\nsystem\nq\x00h\x00" + text + b"\x85R."
    yield "EXT", b"\x80\x02\x82\x01(V" + line + b"\ntR."
    place = b"X\x01\0\0\x000X\x03\0\0\0cpuK\x01"
    yield "persistent", b"\x80\x02(X\x07\0\0\0storagecos\nsystem\n" + place + b"tQ."


def zipped(data: bytes, name: str = "archive/data.pkl") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, data)
        archive.writestr("archive/data/0", bytes(8))
        archive.writestr("archive/version", "3")
    return file.getvalue()


def array_file(data: bytes) -> bytes:
    """An .npy file whose elements are objects, which are a pickle."""
    head = str({"descr": "|O", "fortran_order": False, "shape": (1,)}).encode()
    head += b" " * ((-len(head) - 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + data


def containers(data: bytes) -> Iterator[tuple[str, bytes]]:
    yield ".pkl", data
    yield ".ckpt", zipped(data)
    yield ".pt", zipped(data)
    yield ".bin", zipped(zipped(data))
    head = [1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}]
    start = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
    yield ".pth", start + b"".join(pickle.dumps(value, 2) for value in head) + data
    yield ".npy", array_file(data)
    yield ".npz", zipped(array_file(data), "a.npy")


def convert_by(form: str) -> Callable[[Path], object]:
    return lambda path: convert.main(
        [f"--format={form}", f"--input={path}", f"--output={path.parent / 'out'}"]
    )


READERS: dict[str, Callable[[Path], object]] = {
    "readers": readers.read,
    "pickles": pickles.read,
    "photograph": photos.load_photo,
    "masks": lambda path: masks.read_masks(path, ["a"], 32, 32),
    "statistics": lambda path: statistics.read(path, 4),
    **{f"convert {form}": convert_by(form) for form in convert.FORMATS},
}


def test_no_canary(tmp_path: Path, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cases = [
        (name, suffix, data, reader)
        for name, payload in payloads()
        for suffix, data in containers(payload)
        for reader in READERS
    ]
    chosen = row.rng().permutation(len(cases))[: row.count(60, len(cases))]
    told = 0
    for i in chosen:
        name, suffix, data, reader = cases[i]
        path = tmp_path / f"sent{suffix}"
        path.write_bytes(data)
        try:
            content = READERS[reader](path)
            assert (suffix, reader, type(content)) == (".pth", "pickles", int), (
                "a file's first part"
            )
        except UserError as error:
            assert "\n" not in str(error), (name, suffix, reader)
            told += 1
        assert [p.name for p in tmp_path.iterdir()] == [path.name], (name, suffix, reader)
        path.unlink()
    row.tell(
        f"{len(chosen):,} readings of {len(list(payloads()))} programs in 7 kinds of file: "
        f"{told:,} refused, no canary"
    )


def test_the_payloads_are_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own reader does run them: a test of dead canaries would prove nothing."""
    monkeypatch.chdir(tmp_path)
    ran = 0
    for name, data in payloads():
        if name.startswith(("system", "open", "GLOBAL b'os'", "STACK_GLOBAL b'posix'", "state")):
            try:
                made = pickle.loads(data)
                inside = made["state_dict"]["a"] if isinstance(made, dict) else [made]
                getattr(inside[0], "close", int)()
            except Exception as error:  # after the call, mostly
                assert error
            for left in tmp_path.iterdir():
                ran += 1
                left.unlink() if left.is_file() else left.rmdir()
    assert ran > 20


def test_archives_of_data_sets(tmp_path: Path, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """CIFAR-10's own archive is of pickles."""
    import tarfile

    monkeypatch.chdir(tmp_path)
    chosen = list(payloads())[:: row.count(12, 1)]
    for number, (_, data) in enumerate(chosen):
        source = tmp_path / "in"
        source.mkdir()
        with tarfile.open(source / "cifar-10-python.tar.gz", "w:gz") as archive:
            for batch in [f"data_batch_{n}" for n in range(1, 6)] + ["test_batch", "batches.meta"]:
                info = tarfile.TarInfo(f"cifar-10-batches-py/{batch}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        with pytest.raises(UserError):
            prepare(Request("cifar10", source, tmp_path / str(number)))
        assert [path.name for path in tmp_path.iterdir()] == ["in"]
        for path in source.iterdir():
            path.unlink()
        source.rmdir()
    row.tell(f"{len(chosen)} archives of CIFAR-10: no canary")
