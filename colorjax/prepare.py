"""Turns a public data set into records: `python -m colorjax.prepare --source=cifar10 ...`."""

import argparse
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from colorjax import errors
from colorjax.data import captions, records, sources, transforms

Histogram = dict[str, Counter[str]]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m colorjax.prepare", description=__doc__)
    parser.add_argument("--source", required=True, choices=sorted(sources.SOURCES))
    parser.add_argument("--input", required=True, type=Path, help="downloaded archive or folder")
    parser.add_argument("--output", required=True, type=Path, help="directory to make")
    parser.add_argument("--splits", help="comma-separated; all of the source's if not given")
    parser.add_argument("--limit", type=int, help="at most this many pictures of each split")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    return parser


def make_records(
    examples: Iterator[sources.Example], limit: int | None, histogram: Histogram
) -> Iterator[records.Record]:
    """Encodes examples as PNG, captions them, and counts their colour words in `histogram`."""
    for count, (key, image, label) in enumerate(examples):
        if count == limit:
            return
        yield _record(key, image, label, histogram)


def _record(
    key: str, image: UInt8[np.ndarray, "h w 3"], label: str | None, histogram: Histogram
) -> records.Record:
    object_colour, surround_colour = captions.region_colours(image)
    histogram["object"][object_colour] += 1
    histogram["surround"][surround_colour] += 1
    histogram["either"].update({object_colour, surround_colour})
    sentences = captions.phrase(object_colour, surround_colour, label) if label else {}
    return records.Record(key, transforms.encode_png(image), label, sentences)


def histogram_table(histogram: Histogram) -> str:
    """Colour words, most frequent first: pictures with the word in each region and in either."""
    lines = [f"{'colour':<10}" + "".join(f"{region:>10}" for region in histogram)]
    for word, _ in histogram["either"].most_common():
        lines.append(f"{word:<10}" + "".join(f"{of[word]:>10}" for of in histogram.values()))
    return "\n".join(lines)


def prepare(
    source: str,
    path: Path,
    output: Path,
    splits: Sequence[str] | None = None,
    limit: int | None = None,
    overwrite: bool = False,
) -> dict[str, Histogram]:
    """Writes splits (None: all) and the manifest; returns the colour words of each split.

    The directory appears under its name only when all of it is written.

    Raises:
        UserError: the output exists and `overwrite` is off or it is not a data directory, or the
            input is not the data set.
    """
    spec = sources.SOURCES[source]
    splits = spec.splits if splits is None else splits
    if not splits or not set(splits) <= set(spec.splits):
        raise errors.UserError(
            f"--splits={','.join(splits)!r} is not among the splits of {source}; choose from "
            f"{', '.join(spec.splits)}"
        )
    if limit is not None and limit < 1:
        raise errors.UserError(f"--limit={limit} leaves no picture; give at least 1")
    if output.exists() and not overwrite:
        raise errors.UserError(
            f"--output={str(output)!r} exists; choose another directory or add --overwrite"
        )
    if output.exists() and not (output / records.MANIFEST).is_file():
        raise errors.UserError(
            f"--output={str(output)!r} was not written by this command, so --overwrite does not "
            "remove it; choose another directory"
        )
    output = output.resolve()
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    histograms: dict[str, Histogram] = {}
    try:
        shards = {}
        for split in splits:
            histograms[split] = {region: Counter() for region in ("object", "surround", "either")}
            examples = tqdm(spec.read(path, split), desc=split, unit=" pictures", mininterval=0.5)
            made = make_records(iter(examples), limit, histograms[split])
            shards[split] = records.write_split(partial, split, made)
            examples.close()
        records.write_manifest(partial, spec.title, shards)
        _replace(partial, output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return histograms


def _replace(partial: Path, output: Path) -> None:
    """Renames `partial` to `output`; what was there is removed only after it stepped aside."""
    if not output.exists():
        partial.rename(output)
        return
    old = output.with_name(f".{output.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    output.rename(old)
    partial.rename(output)
    shutil.rmtree(old)


def main(argv: Sequence[str] | None = None) -> None:
    """The command line; prints how often each colour word is in the first split's captions."""
    args = _parser().parse_args(argv)
    splits = args.splits.split(",") if args.splits is not None else None
    histograms = prepare(args.source, args.input, args.output, splits, args.limit, args.overwrite)
    split, histogram = next(iter(histograms.items()))
    print(f"pictures of the {split} split with each colour word")
    print(histogram_table(histogram))


if __name__ == "__main__":
    errors.run(main)
