"""Weights of other projects in and out, without PyTorch.

    python -m colorjax.convert --format=lcad --input=coco_weight.ckpt --output=DIR --tokenizer=DIR
    python -m colorjax.convert --format=diffusers --input=stable-diffusion-v1-5 --output=DIR
    python -m colorjax.convert --format=init-lcad --input=stable-diffusion-v1-5 --output=DIR
    python -m colorjax.convert --format=init-cold --input=stable-diffusion-v1-5 \
        --input=clip-vit-large-patch14 --output=DIR
    python -m colorjax.convert --format=lpips --input=vgg16.pth --input=vgg.pth --output=DIR
    python -m colorjax.convert --format=clipseg --input=clipseg-rd64-refined --output=DIR
    python -m colorjax.convert --to=lcad --input=DIR --output=lcad.ckpt
    python -m colorjax.convert --to=diffusers --input=DIR --output=FOLDER
    python -m colorjax.convert --to=bundle --input=DIR --output=DIR [--dtype=float16]

Every key of the input and every leaf of the model is accounted for, or nothing is written.
"""

import argparse
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from colorjax import errors, files, release
from colorjax.convert import (
    architecture,
    clipseg,
    export,
    formats,
    initial,
    leaves,
    own,
    perceptual,
    read_configs,
    writers,
)
from colorjax.convert.read_configs import Settings
from colorjax.errors import UserError, first_line

EXPORTS = {"lcad": export.lcad, "diffusers": export.diffusers}
BUNDLE = "bundle"
TWO_INPUTS = ("lpips", "init-cold")
WRONG_KIND = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
NEEDS_TOKENIZER = {"text_encoder", "clipseg"}
VOCABULARY = ("vocab.json", "merges.txt")
SPECIAL_TOKENS = ("tokenizer_config.json", "special_tokens_map.json")
MODELS = formats.FORMATS | {"clipseg": clipseg.read}
FORMATS = (*MODELS, *perceptual.FORMATS, *initial.FORMATS)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line; argparse ends the program for what it does not know."""
    parser = argparse.ArgumentParser(
        prog="colorjax.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    direction = parser.add_mutually_exclusive_group(required=True)
    direction.add_argument("--format", choices=FORMATS, help="of the input")
    direction.add_argument(
        "--to", choices=(*EXPORTS, BUNDLE), help="of the output; the input is a release"
    )
    parser.add_argument(
        "--input",
        required=True,
        type=Path,
        action="append",
        help="file or folder; lpips: once for the heads and once for the backbone; init-cold: "
        "Stable Diffusion, then CLIP",
    )
    parser.add_argument("--output", required=True, type=Path, help="must not exist")
    parser.add_argument("--config", type=Path, help="JSON: head counts, activations")
    parser.add_argument("--parts", default="", help="all that the input holds, as unet,vae")
    parser.add_argument("--tokenizer", type=Path, help="folder with vocab.json and merges.txt")
    parser.add_argument(
        "--dtype",
        choices=sorted(export.DTYPES),
        help="of the weights of --to=bundle, float16 by default",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """The command line; see the module's docstring."""
    args = parse(arguments)
    if len(args.input) > 1 and args.format not in TWO_INPUTS:
        kinds = " and ".join(f"--format={kind}" for kind in TWO_INPUTS)
        raise UserError(f"--input can be given twice for {kinds} only")
    if args.dtype and args.to != BUNDLE:
        raise UserError(f"--dtype is for --to={BUNDLE} only")
    if args.to:
        _export(args)
    else:
        _import(args)
    errors.say(f"colorjax: wrote '{args.output}'")
    return 0


def _export(args: argparse.Namespace) -> None:
    (source,) = args.input
    if args.config or args.parts or args.tokenizer:
        raise UserError(f"--to={args.to} takes no --config, --parts or --tokenizer")
    if args.to == BUNDLE:
        dtype = args.dtype or "float16"
        _write_new(args.output, lambda output: export.bundle(source, output, dtype))
    else:
        _write_new(args.output, lambda output: EXPORTS[args.to](source, output))


def _import(args: argparse.Namespace) -> None:
    if args.config and args.format == "clipseg":
        raise UserError("--format=clipseg takes no --config: its folder has one")
    if args.format in perceptual.FORMATS and (args.config or args.parts or args.tokenizer):
        raise UserError(f"--format={args.format} takes only --input and --output")
    convert(
        args.format,
        args.input,
        args.output,
        config_file=args.config,
        parts=tuple(filter(None, args.parts.split(","))),
        tokenizer=args.tokenizer,
    )


def convert(
    kind: str,
    paths: Sequence[Path],
    output: Path,
    *,
    config_file: Path | None = None,
    parts: tuple[str, ...] = (),
    tokenizer: Path | None = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Reads a file or folder of the given format and writes a release directory.

    Args:
        kind: one of `FORMATS`.
        paths: the file or folder; two where LPIPS's heads and backbone are apart, and of
            "init-cold".
        output: a directory that does not exist yet.
        config_file: what the tensors' shapes do not tell, see `read_configs.official`.
        parts: the parts to convert; by default all that the format or the input has.
        tokenizer: a folder with `vocab.json` and `merges.txt`, if the input has none.
        about: what else `config.json` says, such as the weights' licence.

    Raises:
        UserError: anything that does not fit; then there is no output.
    """
    source, wanted = _read(kind, paths, parts)
    settings = _settings(source, paths[0], config_file)
    assumed: list[str]
    try:
        config, assumed = dict(source.config or {}), []
        if not config:
            config, assumed = architecture.configure(source.parts, settings)
    except architecture.Unreadable as error:
        raise leaves.unreadable(source, error.pattern) from error
    except WRONG_KIND as error:
        raise UserError(
            f"a value of the model's configuration cannot be used ({first_line(error)})"
        ) from error
    leaves.check(source, config, wanted)
    architecture.check_schedule(source.extras, config)
    tokenizer = tokenizer or source.tokenizer
    if tokenizer and not all((tokenizer / name).is_file() for name in VOCABULARY):
        raise UserError(f"'{tokenizer}' has no vocab.json and merges.txt of a CLIP tokenizer")
    config |= {"source": {"format": kind, "spelling": source.spelling}, **(about or {})}
    _write_new(output, lambda directory: _write(source, config, tokenizer, directory))
    if assumed:
        errors.say(f"colorjax: assumed, since nothing tells it: {'; '.join(assumed)}")
    if tokenizer is None and NEEDS_TOKENIZER & config.keys():
        print("colorjax: no tokenizer: colorize needs one, give it by --tokenizer=DIR")


def _settings(source: formats.Source, path: Path, config_file: Path | None) -> Settings:
    """What `--config` and the input's own configuration say; `UserError` where they disagree."""
    try:
        settings = read_configs.official(config_file) if config_file else {}
    except WRONG_KIND as error:
        raise UserError(
            f"'{config_file}' has a value of the wrong kind ({first_line(error)})"
        ) from error
    for section, values in source.settings.items():
        for key, value in values.items():
            if settings.setdefault(section, {}).setdefault(key, value) != value:
                raise UserError(
                    f"'{config_file}' says {section}.{key} is {settings[section][key]}, but "
                    f"'{path}' says {value}"
                )
    return settings


def _read(
    kind: str, paths: Sequence[Path], parts: tuple[str, ...]
) -> tuple[formats.Source, tuple[str, ...]]:
    """The sorted source, and the parts that it must have."""
    known = (*formats.NEEDED["lcad"], *own.FOLDERS[1:])
    for part in parts:
        errors.one_of("--parts", part, known)
    for path in paths:
        if not path.exists():
            raise UserError(f"'{path}' does not exist")
    if kind in perceptual.FORMATS:
        source = perceptual.FORMATS[kind](paths)
        return source, tuple(source.parts)
    if kind in initial.FORMATS:
        if parts:
            raise UserError(f"--format={kind} makes all parts: leave out --parts")
        return initial.FORMATS[kind](paths), initial.NEEDED[kind]
    (path,) = paths
    source = MODELS[kind](path, parts)
    if source.config is not None:
        return source, parts or tuple(source.parts)
    return source, parts or formats.NEEDED.get(kind) or tuple(source.parts)


def _write(
    source: formats.Source, config: dict[str, Any], tokenizer: Path | None, directory: Path
) -> None:
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


def _write_new(output: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` make a file or folder, which is there only when it is whole.

    Raises:
        UserError: the output exists, or cannot be written.
    """
    if output.exists() or output.is_symlink():
        raise UserError(f"'{output}' exists; give another --output, or delete it")
    try:
        files.replace(output, write)
    except OSError as error:
        raise UserError(f"'{output}' cannot be written ({first_line(error)})") from error


if __name__ == "__main__":
    errors.run(main)
