"""T15: nothing in an archive leaves its folder, and none asks for more than a data set may."""

import hashlib
import io
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from colorjax.convert import readers
from colorjax.errors import UserError
from colorjax.prepare.planning import Request
from colorjax.prepare.run import prepare
from tests import pictures
from tests.convert.test_readers import tensor_pickle
from tests.trust.conftest import Row
from tests.trust.reading import memory

JPEG = pictures.jpeg(0)
NAMES = (
    *(
        "../out.JPEG",
        "../../out.JPEG",
        "a/../../out.JPEG",
        "/abs.JPEG",
        "//abs.JPEG",
        "./../o.JPEG",
    ),
    *("C:\\out.JPEG", "C:out.JPEG", "..\\out.JPEG", "a\\..\\..\\out.JPEG", "\\\\host\\out.JPEG"),
    *("~/out.JPEG", "~root/out.JPEG", "nul\0.JPEG", "a\nb.JPEG", "\x1b[2J.JPEG", "\udcff.JPEG"),
    *("CON.JPEG", "aux", "Good.JPEG", "good.jpeg", ".", "..", "", "x" * 300 + ".JPEG", "a/" * 200),
    *("\u202egnp.JPEG", "good.JPEG/", "good.JPEG.tar", ".hidden.JPEG"),
)
KINDS = {
    "symlink": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "character device": tarfile.CHRTYPE,
    "block device": tarfile.BLKTYPE,
    "pipe": tarfile.FIFOTYPE,
    "contiguous": tarfile.CONTTYPE,
    "sparse": tarfile.GNUTYPE_SPARSE,
    "unknown": b"Z",
}


def tree(root: Path, without: Path) -> str:
    """A digest of every name, kind, mode and content of a folder but one inside it."""
    total = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path != without and without not in path.parents:
            about = path.lstat()
            total.update(f"{path.relative_to(root)} {about.st_mode} {about.st_ino}\n".encode())
            total.update(path.read_bytes() if path.is_file() else b"")
    return total.hexdigest()


def archives() -> Iterator[tuple[str, bytes]]:
    """Each has a good member before and after the one that it is about."""

    def around(info: tarfile.TarInfo, data: bytes = b"", **more: object) -> bytes:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, **more) as archive:
            for one, content in ((tarfile.TarInfo("good.JPEG"), JPEG), (info, data)):
                one.size = len(content)
                archive.addfile(one, io.BytesIO(content))
            last = tarfile.TarInfo("last.JPEG")
            last.size = len(JPEG)
            archive.addfile(last, io.BytesIO(JPEG))
        return file.getvalue()

    for name in NAMES:
        yield f"name {name[:40]!r}", around(tarfile.TarInfo(name), JPEG)
    for kind, code in KINDS.items():
        for target in ("/etc/passwd", "../../out", "good.JPEG"):
            info = tarfile.TarInfo("other.JPEG")
            info.type, info.linkname, info.devmajor, info.devminor = code, target, 1, 5
            yield f"{kind} to {target}", around(info)
    link = tarfile.TarInfo("folder")
    link.type, link.linkname = tarfile.SYMTYPE, ".."
    yield "a link, and a member below it", around(link) + around(tarfile.TarInfo("folder/o.JPEG"))
    header = tarfile.TarInfo("big.JPEG")
    header.size = 2**40
    yield "a size of a terabyte", around(tarfile.TarInfo("a.JPEG"), JPEG)[:-10240] + header.tobuf()
    pax = tarfile.TarInfo("pax.JPEG")
    pax.pax_headers = {"path": "../../out.JPEG", "size": "-1", "mtime": "nan"}
    yield "pax headers", around(pax, JPEG)


def test_members_that_try_to_leave(tmp_path: Path, row: Row) -> None:
    cases = list(archives())
    chosen = row.rng().permutation(len(cases))[: row.count(10, len(cases))]
    root = tmp_path / "root"
    (root / "work").mkdir(parents=True)
    (root / "out").write_text("untouched")
    told = 0
    for i in chosen:
        name, data = cases[i]
        source = root / "work" / "raw"
        source.mkdir(parents=True)
        (source / "ILSVRC2012_img_val.tar").write_bytes(data)
        before = tree(tmp_path, root / "work")
        output = root / "work" / "data"
        try:
            prepare(Request("imagenet", source, output, splits=["val"]))
        except UserError as error:
            assert not output.exists(), name
            assert str(source) in str(error) or "ILSVRC" in str(error), name
            told += 1
        assert tree(tmp_path, root / "work") == before, name
        assert {path.name for path in (root / "work").iterdir()} <= {"raw", "data"}, name
        for path in sorted((root / "work").rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
    row.tell(
        f"{len(chosen)} archives: nothing outside ({told} refused, others without that member)"
    )


def zip_of(members: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def test_what_unpacks_to_too_much(tmp_path: Path, row: Row) -> None:
    """Ratios of 1,000, and a million members: refused with bounded memory, in bounded time."""
    zeros = bytes(row.count(2, 300) * 2**20)
    many = row.count(3_000, 1_000_000)
    tensor = tensor_pickle(len(zeros) // 4, 0, (len(zeros) // 4,), (1,))
    cases: dict[str, tuple[bytes, Callable[[Path], object]]] = {
        "pickle 1000:1": (zip_of({"archive/data.pkl": zeros}), readers.read),
        "storage 1000:1": (
            zip_of({"archive/data.pkl": tensor, "archive/data/0": zeros}),
            readers.read,
        ),
        "byte order 1000:1": (
            zip_of({"archive/data.pkl": b"\x80\x02}.", "archive/byteorder": zeros}),
            readers.read,
        ),
        "many members": (
            zip_of({f"archive/data/{i}": b"" for i in range(many // 10)}),
            readers.read,
        ),
    }
    del zeros
    for name, (data, read) in cases.items():
        path = tmp_path / "sent.ckpt"
        path.write_bytes(data)
        before, start = memory("VmHWM"), time.process_time()
        with pytest.raises(UserError):
            read(path)
        assert memory("VmHWM") - before < 300e6, name
        assert time.process_time() - start < 30.0, name
    row.tell(f"{len(cases)} zips of 1,000 to 1 or {many // 10:,} members: refused within bounds")


def test_a_million_members(tmp_path: Path, row: Row) -> None:
    """Their headers alone are half a gigabyte, which is not held in memory."""
    from colorjax.prepare.sources import archives as tars

    count = row.count(2_000, 1_000_000)
    path = tmp_path / "many.tar"
    with path.open("wb") as file:
        for i in range(count):
            file.write(tarfile.TarInfo(f"{i}.JPEG").tobuf(tarfile.GNU_FORMAT))
        file.write(bytes(1024))
    before = memory("VmHWM")
    assert sum(1 for _ in tars.members(path)) == count
    grown = memory("VmHWM") - before
    assert grown < 100e6
    row.tell(f"{count:,} members: {grown / 1e6:.0f} MB more")
