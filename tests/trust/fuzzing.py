"""Coverage-guided fuzzing by atheris: `python -m tests.trust.fuzzing --minutes 20 [TARGET ...]`.

Each target reads bytes of a stranger and may answer by `UserError` alone. What begins a target lies
in `corpus/TARGET`, and so does what was seen to break one: `test_corpus.py` reads all of it.
"""

import argparse
import io
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from colorjax.errors import UserError

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
MEGABYTES, SECONDS = 2048, 20  # that one input may take
Read = Callable[[bytes, Path], object]


def photograph(data: bytes, scratch: Path) -> object:
    from colorjax.colorize.files import photos

    (scratch / "photograph").write_bytes(data)
    return photos.load_photo(scratch / "photograph", 10**6)


def prompt(data: bytes, scratch: Path) -> object:
    from colorjax import release
    from colorjax.colorize.words import prompts
    from colorjax.data import phrases, tokenizer

    text = data.decode("utf-8", "surrogateescape")
    if not _KNOWN:
        _KNOWN.append(tokenizer.Tokenizer(release.BUNDLED / "tokenizer", 77))
    plain = prompts.plain(text)
    phrases.colour_phrases(plain)
    return _KNOWN[0]([plain]), list(prompts.remarks(text, plain, _KNOWN[0]))


_KNOWN: list = []


def vocabulary(data: bytes, scratch: Path) -> object:
    """A release's words: `vocab.json`, a zero, `merges.txt`."""
    from colorjax.data import tokenizer

    words, _, merges = data.partition(b"\0")
    (scratch / tokenizer.VOCABULARY).write_bytes(words)
    (scratch / tokenizer.MERGES).write_bytes(merges)
    return tokenizer.Tokenizer(scratch, 8)(["a red car"])


def pickled(data: bytes, scratch: Path) -> object:
    from colorjax.convert import pickles

    return pickles.load(io.BytesIO(data), "sent")


def weights(data: bytes, scratch: Path) -> object:
    """PyTorch's zips, its older files, safetensors: by what the bytes begin with."""
    from colorjax.convert import readers

    (scratch / "sent.safetensors").write_bytes(data)
    return readers.read(scratch / "sent.safetensors")


def export(data: bytes, scratch: Path) -> object:
    from colorjax.export import archive

    (scratch / "sent.cjx").write_bytes(data)
    return archive.Archive(scratch / "sent.cjx")


def record(data: bytes, scratch: Path) -> object:
    """As training reads it: unpacked, its picture decoded, a caption drawn."""
    import numpy as np

    from colorjax.data import captions, records, transforms

    unpacked = records.Record.unpack(data)
    captions.sample(unpacked.captions, np.random.default_rng(0), 0.3, 0.1, 0.5)
    return transforms.decode(unpacked.image)


def archive_of_pictures(data: bytes, scratch: Path) -> object:
    from colorjax.prepare.sources import archives

    (scratch / "sent.tar").write_bytes(data)
    return list(archives.members(scratch / "sent.tar"))


TARGETS: dict[str, Read] = {
    "photographs": photograph,
    "prompts": prompt,
    "vocabularies": vocabulary,
    "pickles": pickled,
    "weights": weights,
    "exports": export,
    "records": record,
    "archives": archive_of_pictures,
}


def read(target: str, data: bytes, scratch: Path) -> bool:
    """Whether a target takes bytes; whatever else than `UserError` comes out is a fault."""
    try:
        TARGETS[target](data, scratch)
    except UserError as error:
        assert str(error)
        return False
    return True


def fuzz(target: str, seconds: int, place: Path) -> None:
    """Runs one target in this process, to its first fault or for so long."""
    import atheris

    scratch = Path(tempfile.mkdtemp(prefix="fuzz-"))
    with atheris.instrument_imports(include=["colorjax"]):
        for begun in sorted((CORPUS / target).glob("*")):
            read(target, begun.read_bytes(), scratch)
    words = [
        sys.argv[0],
        f"-max_total_time={seconds}",
        f"-rss_limit_mb={MEGABYTES}",
        f"-timeout={SECONDS}",
        f"-artifact_prefix={place}/",
        str(place / "new"),
        str(CORPUS / target),
    ]
    (place / "new").mkdir(parents=True, exist_ok=True)
    atheris.Setup(words, lambda data: read(target, data, scratch))
    atheris.Fuzz()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.trust.fuzzing", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="all by default")
    parser.add_argument("--minutes", type=float, default=20.0, help="of all targets together")
    parser.add_argument("--here", action="store_true", help="one target in this process")
    parser.add_argument("--output", type=Path, default=Path("outputs/fuzzing"))
    chosen = parser.parse_args(arguments)
    targets = chosen.targets or list(TARGETS)
    seconds = max(1, round(60 * chosen.minutes / len(targets)))
    if chosen.here:
        fuzz(targets[0], seconds, chosen.output)
        return 0
    failed = []
    for target in targets:
        place = chosen.output / target
        place.mkdir(parents=True, exist_ok=True)
        words = ["--here", "--minutes", str(seconds / 60), "--output", str(place), target]
        command = [sys.executable, "-m", "tests.trust.fuzzing", *words]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace")
        lines = done.stderr.splitlines()
        numbers = re.findall(r"^(?:Done |#)(\d+)", done.stderr, re.MULTILINE)
        faults = sorted(path.name for path in place.glob("[!n]*-*"))
        print(
            f"{target}: {seconds} s, {max(map(int, numbers), default=0):,} inputs, "
            f"{len(faults)} faults",
            flush=True,
        )
        if done.returncode or faults:
            failed.append(target)
            print("\n".join(lines[-40:]), flush=True)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
