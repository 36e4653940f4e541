"""From what a user asked to prepare to the shards that are to be made."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from colorjax import __version__
from colorjax.data import records
from colorjax.errors import UserError
from colorjax.prepare import shards, sources


@dataclass(frozen=True)
class Request:
    """What the user asked for; see the command line's help. None means the source's default."""

    source: str
    input: Path
    output: Path
    captions: Path | None = None
    splits: Sequence[str] | None = None
    limit: int | None = None
    short_side: int | None = None
    gray: str | None = None
    captioner: Path | str | None = None  # see `shards.Options`
    captioner_sees: str = "colour"
    shard_size: int | None = None
    overwrite: bool = False
    hold_out: float = 0.0  # share of a source without other splits that becomes `test`


def check(request: Request) -> None:
    """Refuses what cannot be done, as far as the options and the paths show it.

    Raises:
        UserError: a number is too small, the input does not exist, or the output exists and may
            not be replaced.
    """
    for name in ("limit", "short_side", "shard_size"):
        value = getattr(request, name)
        if value is not None and value < 1:
            raise UserError(f"--{name}={value} is too small; give at least 1")
    if not request.input.exists():
        raise UserError(f"--input={str(request.input)!r} does not exist; check the path")
    if not 0.0 <= request.hold_out < 1.0:
        raise UserError(f"--hold_out={request.hold_out} must be a share from 0 to below 1")
    check_output(request.output, request.overwrite)


def check_output(output: Path, overwrite: bool) -> None:
    """Refuses a directory that exists and may not be replaced, or that is no prepared data.

    Raises:
        UserError: it does.
    """
    if output.exists() and not overwrite:
        raise UserError(
            f"--output={str(output)!r} exists; choose another directory or add --overwrite"
        )
    if output.exists() and not (output / records.MANIFEST).is_file():
        raise UserError(
            f"--output={str(output)!r} was not written by this command, so --overwrite does not "
            "remove it; choose another directory"
        )


def tasks(request: Request, directory: Path) -> list[shards.Task]:
    """The shards of all splits, to be made in `directory`.

    Raises:
        UserError: the source has no such split, or the input is not what the source reads, or has
            no picture.
    """
    source = sources.SOURCES[request.source]
    known = source.splits(request.input)
    if request.hold_out and known == ("train",):
        known = ("train", "test")
    chosen = known if request.splits is None else tuple(dict.fromkeys(request.splits))
    if not chosen or not set(chosen) <= set(known):
        raise UserError(
            f"--splits={','.join(chosen)!r} is not among the splits of {request.source}; choose "
            f"from {', '.join(known)}"
        )
    chosen_tasks: list[shards.Task] = []
    for split in chosen:
        try:
            chosen_tasks += _tasks(request, source, split, directory)
        except UserError as error:
            if len(known) == 1 or request.splits is not None:
                raise
            raise UserError(f"{error}; --splits takes only some of {', '.join(known)}") from None
    return chosen_tasks


def _tasks(
    request: Request, source: sources.Source, split: str, directory: Path
) -> Iterator[shards.Task]:
    items = list(islice(_items(request, source, split), request.limit))
    if not any(isinstance(item, sources.Entry) for item in items):
        raise UserError(
            f"split {split!r} has no pictures in {str(request.input)!r}; check --input and "
            f"--captions{first(items)}"
        )
    drop_gray = split in source.drops_gray if request.gray is None else request.gray == "drop"
    options = shards.Options(
        short_side=request.short_side,
        drop_gray=drop_gray,
        measured=source.measured,
        captioner=None if request.captioner is None else str(request.captioner),
        captioner_sees=request.captioner_sees,
    )
    size = request.shard_size or source.shard_size
    count = -(-len(items) // size)
    for index in range(count):
        part = items[index * size : (index + 1) * size]
        yield shards.Task(str(directory), split, index, count, part, options)


def _items(request: Request, source: sources.Source, split: str) -> Iterator[sources.Item]:
    """What the source lists of a split, or that share of its only split that it is to have."""
    if not request.hold_out or source.splits(request.input) != ("train",):
        yield from sources.unique(source.read(request.input, split, request.captions))
        return
    items = list(sources.unique(source.read(request.input, "train", request.captions)))
    held_out = _held_out([i.key for i in items if isinstance(i, sources.Entry)], request.hold_out)
    for item in items:
        if (item.key in held_out) == (split == "test"):
            yield item


def _held_out(keys: Sequence[str], share: float) -> set[str]:
    """Drawn by what pictures are called: the same ones on any machine and in any order."""
    drawn = sorted(keys, key=lambda key: sha256(key.encode(errors="surrogatepass")).digest())
    return set(drawn[: max(1, round(share * len(keys)))]) if len(keys) > 1 else set()


def first(rejections: Sequence[Any]) -> str:
    """The first of the rejections, to be put behind a sentence; nothing if there are none."""
    if not rejections:
        return ""
    return f" (the first of {len(rejections)}: {rejections[0].key}: {rejections[0].reason})"


def plan(request: Request, tasks: Sequence[shards.Task]) -> dict[str, Any]:
    """What decides the bytes of the shards, as JSON: another plan must not go on with them."""
    return {
        "version": __version__,
        "source": request.source,
        "tasks": [
            {
                "shard": task.path.name,
                "options": asdict(task.options),
                "items": sha256(repr(task.items).encode(errors="backslashreplace")).hexdigest(),
            }
            for task in tasks
        ],
    }
