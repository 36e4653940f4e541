"""Turns a public data set into records: `python -m colorjax.prepare --source=coco ...`.

Every picture is decoded; what cannot be used is left out and named in `rejected.jsonl`. A run that
was interrupted goes on where it stopped, by the same command.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from colorjax import errors
from colorjax.data import cores, records
from colorjax.prepare import assembly, captioner, latents, shards, sources, zero_shot
from colorjax.prepare.planning import Request
from colorjax.prepare.run import prepare


def _path(text: str) -> Path:
    if not text:  # as of an unset variable of the shell; Path("") would be this directory
        raise argparse.ArgumentTypeError("it is empty; give a path")
    return Path(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m colorjax.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--source", choices=sorted(sources.SOURCES))
    parser.add_argument("--input", required=True, type=_path, help="downloaded archive or folder")
    parser.add_argument("--output", required=True, type=_path, help="directory to make")
    parser.add_argument("--captions", type=_path, help="file or folder of captions, if elsewhere")
    parser.add_argument("--splits", help="comma-separated; all of the source's if not given")
    parser.add_argument("--limit", type=int, help="only the first so many names of each split")
    parser.add_argument("--short_side", type=int, help="shrink to this many pixels; 320 fits 256")
    parser.add_argument(
        "--gray",
        choices=("drop", "keep"),
        help="what to do with gray pictures; if not given, dropped from training splits only",
    )
    parser.add_argument(
        "--captioner",
        type=_path,
        help="a BLIP model that describes them: a folder, or blip once it is fetched; auto: those "
        "without captions are named by the image tower of --model, with their measured colours",
    )
    parser.add_argument(
        "--captioner_sees",
        choices=captioner.SEEN,
        default="colour",
        help="colour: its sentences replace the source's; gray: they are for automatic captions",
    )
    parser.add_argument(
        "--hold_out",
        type=float,
        default=0.1,
        help="share that becomes the split test where the source has none; 0 for none",
    )
    parser.add_argument("--shard_size", type=int, help="pictures to a file")
    parser.add_argument("--workers", type=int, default=cores.available(), help="processes")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    cache = parser.add_argument_group("latents", "of what was prepared, instead of --source")
    cache.add_argument(
        "--cache",
        choices=("latents",),
        help="encode pictures and captions of the split train once: --input is a prepared "
        "directory",
    )
    cache.add_argument(
        "--model", help="release whose VAE encodes, or that names: a directory, or 'bundled'"
    )
    cache.add_argument(
        "--crops",
        type=int,
        default=1,
        help="random crops of each picture, kept as they are and mirrored; 0: it has the model's "
        "size",
    )
    cache.add_argument(
        "--texts",
        choices=("yes", "no"),
        default="yes",
        help="no: captions are encoded while training; their states can be larger than pictures",
    )
    cache.add_argument("--seed", type=int, default=0, help="of the crops")
    parser.add_argument(
        "--runner",
        help="run as an Apache Beam pipeline: DirectRunner, DataflowRunner, FlinkRunner, ...; "
        "further arguments are Beam's. Its workers must see input and output under these paths",
    )
    return parser


def histogram_table(histogram: shards.Histogram) -> str:
    """Colour words, most frequent first: pictures with the word in each region and in either."""
    lines = [f"{'colour':<10}" + "".join(f"{region:>10}" for region in histogram)]
    for word, _ in histogram["either"].most_common():
        lines.append(f"{word:<10}" + "".join(f"{words[word]:>10}" for words in histogram.values()))
    return "\n".join(lines)


def _cache(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    if args.model is None:
        parser.error("--cache needs --model")
    request = latents.Request(
        args.input,
        args.output,
        args.model,
        args.splits or "train",
        args.crops,
        args.seed,
        overwrite=args.overwrite,
        texts=args.texts == "yes",
    )
    count = records.read_manifest(args.input)["splits"].get(request.split, {}).get("records")
    with tqdm(total=count, unit=" pictures") as bar:
        about = latents.cache(request, bar.update)
    print(f"{request.split}: {bar.n} pictures, {2 * max(1, about.crops)} views of each")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; prints what became of the pictures, and measured colours if there are."""
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    if rest and args.runner is None:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if (args.source is None) == (args.cache is None):
        parser.error("give one of --source and --cache")
    if args.cache is not None:
        return _cache(parser, args)
    if args.captioner == Path(zero_shot.AUTO):
        if args.model is None:
            parser.error("--captioner=auto needs --model")
        args.captioner = zero_shot.of_release(args.model)
    if args.splits is not None:
        args.splits = args.splits.split(",")
    names = [field.name for field in dataclasses.fields(Request)]
    request = Request(**{name: getattr(args, name) for name in names})
    summary = prepare(request, args.workers, args.runner, rest)
    counts = records.read_manifest(args.output)["splits"]
    for split, outcome in summary.items():
        print(f"{split}: {counts[split]['records']} pictures, {outcome.captions} captions")
        for reason, count in assembly.reasons(outcome.rejected).items():
            print(f"  left out: {count} {reason}")
    if any(outcome.rejected for outcome in summary.values()):
        errors.say(f"{args.output / assembly.REJECTED} names what was left out")
    split, outcome = next(iter(summary.items()))
    if outcome.colours["either"]:
        print(f"pictures of the {split} split with each colour word")
        print(histogram_table(outcome.colours))
    return 0


if __name__ == "__main__":
    errors.run(main)
