"""Weights of other projects in and out, without PyTorch.

    python -m colorjax.convert --format=lcad --input=coco_weight.ckpt --output=DIR --tokenizer=DIR
    python -m colorjax.convert --format=diffusers --input=stable-diffusion-v1-5 --output=DIR
    python -m colorjax.convert --format=init-lcad --input=stable-diffusion-v1-5 --output=DIR
    python -m colorjax.convert --format=lpips --input=vgg16.pth --input=vgg.pth --output=DIR
    python -m colorjax.convert --format=clipseg --input=clipseg-rd64-refined --output=DIR
    python -m colorjax.convert --to=lcad --input=DIR --output=lcad.ckpt

Every key of the input and every leaf of the model is accounted for, or nothing is written.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from colorjax import errors, release
from colorjax.convert import (
    architecture,
    clipseg,
    export,
    formats,
    initial,
    leaves,
    perceptual,
    read_configs,
    writers,
)
from colorjax.errors import UserError

EXPORTS = {"lcad": export.lcad, "diffusers": export.diffusers}
INITIAL = "init-lcad"
WRONG_KIND = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
VOCABULARY = ("vocab.json", "merges.txt")
SPECIAL_TOKENS = ("tokenizer_config.json", "special_tokens_map.json")
MODELS = formats.FORMATS | {"clipseg": clipseg.read}
FORMATS = (*MODELS, *perceptual.FORMATS, INITIAL)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="colorjax.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    direction = parser.add_mutually_exclusive_group(required=True)
    direction.add_argument("--format", choices=FORMATS, help="of the input")
    direction.add_argument("--to", choices=EXPORTS, help="of the output; the input is a release")
    parser.add_argument(
        "--input",
        required=True,
        type=Path,
        action="append",
        help="file or folder; for lpips once for the heads and once for the backbone",
    )
    parser.add_argument("--output", required=True, type=Path, help="must not exist")
    parser.add_argument("--config", type=Path, help="JSON: head counts, activations")
    parser.add_argument("--parts", default="", help="all that the input holds, as unet,vae")
    parser.add_argument("--tokenizer", type=Path, help="folder with vocab.json and merges.txt")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    if len(args.input) > 1 and args.format != "lpips":
        raise UserError("--input can be given twice for --format=lpips only")
    if args.to:
        if args.config or args.parts or args.tokenizer:
            raise UserError("--to takes only --input and --output")
        export_to = EXPORTS[args.to]
        write_whole(args.output, lambda output: export_to(args.input[0], output))
    else:
        if args.config and args.format == "clipseg":
            raise UserError("--format=clipseg takes no --config: its folder has one")
        if args.format in perceptual.FORMATS and (args.config or args.parts or args.tokenizer):
            raise UserError(f"--format={args.format} takes only --input and --output")
        parts = tuple(filter(None, args.parts.split(",")))
        convert(args.format, args.input, args.output, args.config, parts, args.tokenizer)
    print(f"colorjax: wrote '{args.output}'")
    return 0


def convert(
    kind: str,
    paths: Sequence[Path],
    output: Path,
    config_file: Path | None = None,
    parts: tuple[str, ...] = (),
    tokenizer: Path | None = None,
) -> None:
    """Reads a file or folder of the given format and writes a release directory.

    LPIPS's heads and backbone may be two files.

    Raises:
        UserError: anything that does not fit; then there is no output.
    """
    source, wanted = _read(kind, paths, parts)
    try:
        told = read_configs.official(config_file) if config_file else {}
    except WRONG_KIND as error:
        raise UserError(f"'{config_file}' has a value of the wrong kind ({error})") from error
    for section, values in source.settings.items():
        for key, value in values.items():
            if told.setdefault(section, {}).setdefault(key, value) != value:
                raise UserError(
                    f"'{config_file}' says {section}.{key} is {told[section][key]}, but "
                    f"'{paths[0]}' says {value}"
                )
    try:
        config, assumed = architecture.settle(source.parts, told)
    except architecture.Unreadable as error:
        raise leaves.unreadable(source, error.pattern) from error
    except WRONG_KIND as error:
        raise UserError(f"a value of the model's configuration cannot be used ({error})") from error
    leaves.check(source, config, wanted)
    architecture.check_schedule(source.extras, config)
    tokenizer = tokenizer or source.tokenizer
    if tokenizer and not all((tokenizer / name).is_file() for name in VOCABULARY):
        raise UserError(f"'{tokenizer}' has no vocab.json and merges.txt of a CLIP tokenizer")
    config["source"] = {"format": kind, "spelling": source.spelling}
    write_whole(output, lambda directory: _write(source, config, tokenizer, directory))
    if assumed:
        print(f"colorjax: assumed, since nothing tells it: {'; '.join(assumed)}")
    if tokenizer is None:
        print("colorjax: no tokenizer: colorize needs one, give it by --tokenizer=DIR")


def _read(
    kind: str, paths: Sequence[Path], parts: tuple[str, ...]
) -> tuple[formats.Source, tuple[str, ...]]:
    """The sorted source, and the parts that it must have."""
    known = (*formats.NEEDED["lcad"], "image_encoder")
    for part in parts:
        if part not in known:
            raise UserError(f"part {part!r} is unknown; there are {', '.join(known)}")
    for path in paths:
        if not path.exists():
            raise UserError(f"'{path}' does not exist")
    if kind in perceptual.FORMATS:
        source = perceptual.FORMATS[kind](paths)
        return source, tuple(source.parts)
    (path,) = paths
    if kind == INITIAL:
        if parts:
            raise UserError(f"--format={INITIAL} makes all parts: leave out --parts")
        base = "diffusers" if path.is_dir() else "ldm"
        return initial.extend(formats.FORMATS[base](path, ())), formats.NEEDED["lcad"]
    source = MODELS[kind](path, parts)
    return source, parts or formats.NEEDED.get(kind) or tuple(source.parts)


def _write(source: formats.Source, config: dict, tokenizer: Path | None, directory: Path) -> None:
    directory.mkdir()
    for part, flat in source.parts.items():
        writers.write_safetensors(directory / f"{part}.safetensors", flat)
    if source.extras:
        writers.write_safetensors(directory / "extras.safetensors", source.extras)
    if tokenizer:
        _copy_tokenizer(tokenizer, directory / "tokenizer", source.spelling.get("text"))
    release.write(directory, config, {})


def _copy_tokenizer(source: Path, output: Path, spelling: str | None) -> None:
    """Vocabulary and merges, and what the folder says of the padding.

    OpenCLIP pads with id 0, which is "!", whatever the folder of the same vocabulary says.
    """
    output.mkdir()
    for name in VOCABULARY if spelling == "open_clip" else (*VOCABULARY, *SPECIAL_TOKENS):
        if (source / name).is_file():
            shutil.copyfile(source / name, output / name)
    if spelling == "open_clip":
        text = json.dumps({"pad_token": "!"})
        (output / "special_tokens_map.json").write_text(text + "\n")


def write_whole(output: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` make a file or folder beside the output, and moves it there when it is whole.

    Raises:
        UserError: the output exists.
    """
    if output.exists() or output.is_symlink():
        raise UserError(f"'{output}' exists; give another --output, or delete it")
    output.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        write(scratch / output.name)
        (scratch / output.name).rename(output)
    except OSError as error:
        raise UserError(f"'{output}' cannot be written ({error})") from error
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    errors.run(main)
