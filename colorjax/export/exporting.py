"""From a release in memory to a file: its programs as StableHLO, weights, tokenizer, settings."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from colorjax import __version__, release
from colorjax.colorize import batching, finished
from colorjax.colorize.colorizer import Colorizer
from colorjax.data.tokenizer import FILES
from colorjax.errors import UserError, one_of
from colorjax.export import archive, manifest
from colorjax.export.archive import Part
from colorjax.inputs import AUTO, Pictures
from colorjax.maths.types import Params

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
INCLUDE = ("masks", "attention", AUTO)
# A number that nobody gives: by it the place of a value is known in a sentence about it.
_MARK = 0.123456789


class Program(NamedTuple):
    """A program of the file: what it computes, from what."""

    name: str
    example: Pictures

    @property
    def about(self) -> dict[str, Any]:
        """What the manifest says of it, see `manifest.key_of`; `part` is its place in the file."""
        count, height, width = self.example.lightness.shape[:3]
        fields = sorted(manifest.fields_of(self.example))
        kind = "-".join([self.name, *(f for f in fields if f not in ("lightness", "seed"))])
        part = f"programs/{height}x{width}/{count}/{kind}"
        sizes = {"count": count, "height": height, "width": width}
        return {"name": self.name, **sizes, "fields": fields, "part": part}


def write(
    path: Path,
    colorizer: Colorizer,
    directory: Path,
    platforms: Sequence[str] = PLATFORMS[:1],
    include: Sequence[str] = (),
) -> list[Program]:
    """Writes a colorizer's file, whole or not at all; returns the programs in it.

    For each bucket there are a program for one picture and one for a full batch, the same as the
    colorizer itself compiles. Their number of pictures is no variable of the program: the bytes of
    a picture are then those of the loaded model.

    Args:
        path: of the file, which ends in `.cjx`.
        directory: the release that the colorizer was loaded from.
        platforms: of `PLATFORMS`: each program is lowered for all of them, wherever this runs.
        include: of `INCLUDE`: programs for masks that are given, for masks by attention, and for
            vividness "auto".

    Raises:
        UserError: an argument cannot be, the release lacks a part, or the disk refuses.
    """
    check(path, platforms, include)
    programs = list(programs_of(colorizer, include))
    if any(program.name == "candidates" for program in programs):
        colorizer.function("candidates")  # a release without a ranker is told before the work
    weights = _weights(colorizer, programs)
    vocabulary = [name for name in FILES if (directory / "tokenizer" / name).is_file()]
    about = {
        "platforms": list(platforms),
        "release": finished.digest_of_model(directory),
        "weights": {name: f"weights/{name}.safetensors" for name in weights},
        "programs": [program.about for program in programs],
        "tokenizer": {
            "max_length": colorizer.tokenize.max_length,
            "most_ids": colorizer.tokenize.vocab_size,
            "files": [f"tokenizer/{name}" for name in vocabulary],
        },
        **_about(colorizer),
    }
    folder = release.tokenizer(directory, FILES)
    parts: list[Part] = [
        *((f"weights/{name}.safetensors", partial(_stored, weights[name])) for name in weights),
        *((f"tokenizer/{name}", (folder / name).read_bytes) for name in vocabulary),
        *((p.about["part"], partial(_lowered, colorizer, p, platforms)) for p in programs),
    ]
    archive.write(path, about, parts)
    return programs


def check(path: Path, platforms: Sequence[str], include: Sequence[str]) -> None:
    """Raises `UserError` for arguments of `write` that cannot be, before anything is loaded."""
    if path.suffix != archive.SUFFIX:
        raise UserError(
            f"'{path}' must end in {archive.SUFFIX}: by it the file is told from others"
        )
    for name in platforms:
        one_of("platform", name, PLATFORMS)
    for name in include:
        one_of("include", name, INCLUDE)


def programs_of(colorizer: Colorizer, include: Sequence[str] = ()) -> Iterator[Program]:
    """The programs of a file, with what each of them takes.

    A traced number whose value means that nothing is computed for it is no input of the usual
    program; another program has all of them, for all other values.
    """
    automatic = AUTO in include or colorizer.settings["vividness"] == AUTO
    for height, width in colorizer.buckets:
        for count in dict.fromkeys((1, colorizer.batch_size)):
            usual = colorizer.example(count, height, width)
            masked = _masked(usual, count, height, width)
            kinds = {
                "": usual,
                "masks": masked,
                "attention": masked._replace(masks=None),
            }
            for kind, pictures in kinds.items():
                if kind and kind not in include:
                    continue
                variants = [pictures, _with_all_numbers(colorizer, pictures)]
                unlike = {manifest.fields_of(variant): variant for variant in variants}
                for variant in unlike.values():
                    yield Program("colorize", variant)
                if automatic:
                    yield Program("candidates", pictures._replace(vividness=None))


def _masked(pictures: Pictures, count: int, height: int, width: int) -> Pictures:
    spans = np.zeros((count, batching.PHRASES, pictures.input_ids.shape[1]), bool)
    masks = np.zeros((count, batching.PHRASES, height, width), np.float32)
    return pictures._replace(spans=spans, masks=masks)


def _with_all_numbers(colorizer: Colorizer, pictures: Pictures) -> Pictures:
    names = [row.name for row in colorizer.method.settings if row.traced and row.kind is float]
    missing = [name for name in names if getattr(pictures, name) is None]
    return pictures._replace(
        uncond_input_ids=pictures.input_ids, **dict.fromkeys(missing, np.float32(1.0))
    )


def _lowered(colorizer: Colorizer, program: Program, platforms: Sequence[str]) -> bytes:
    """A program for all platforms, serialised; its weights are an input of it."""
    function, params = colorizer.function(program.name)
    inputs = {name: getattr(program.example, name) for name in program.about["fields"]}
    exported = jax.export.export(jax.jit(plain(function)), platforms=platforms)(
        _shapes(params), _shapes(inputs)
    )
    return bytes(exported.serialize())


def plain(function: Callable[[Params, Pictures], Any]) -> Callable[[Params, Params], Any]:
    """A function of pictures as one of a dict, which can be described without code of ours."""

    def run(params: Params, inputs: Params) -> Any:
        return function(params, Pictures(**dict.fromkeys(Pictures._fields) | inputs))

    return run


def _shapes(tree: Any) -> Any:
    def shape(leaf: Any) -> Any:
        return jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype)  # type: ignore[no-untyped-call]

    return jax.tree.map(shape, tree)


def _weights(colorizer: Colorizer, programs: Sequence[Program]) -> Params:
    names = dict.fromkeys(program.name for program in programs)
    weights: Params = {}
    for name in names:
        weights |= colorizer.function(name)[1]
    return weights


def _stored(tree: Params) -> bytes:
    """A tree as safetensors, in half precision where that loses nothing: it may come from it."""
    from safetensors.numpy import save

    leaves = flatten_dict(tree, sep="/")  # type: ignore[no-untyped-call]
    flat = {name: np.asarray(leaf) for name, leaf in leaves.items()}
    if all(_is_half(leaf) for leaf in flat.values()):
        flat = {name: leaf.astype(np.float16) for name, leaf in flat.items()}
    return save({name: np.ascontiguousarray(leaf) for name, leaf in flat.items()})


def _is_half(array: np.ndarray) -> bool:
    if array.dtype != np.float32:
        return False
    with np.errstate(over="ignore"):
        return np.array_equal(array.astype(np.float16).astype(np.float32), array)


def _about(colorizer: Colorizer) -> dict[str, Any]:
    # Vectors are float32 whatever the matrices are.
    dtypes = {str(leaf.dtype) for leaf in jax.tree.leaves(colorizer.params)}
    return {
        "colorjax": __version__,
        "jax": jax.__version__,
        "dtype": min(dtypes),
        "method": colorizer.method.name,
        "methods": [manifest.of_table(table) for table in colorizer.methods],
        "settings": dict(colorizer.settings),
        "refused": _refused(colorizer),
        "image_size": colorizer.image_size,
        "batch_size": colorizer.batch_size,
        "buckets": [list(size) for size in colorizer.buckets],
    }


def _refused(colorizer: Colorizer) -> Mapping[str, str]:
    """What this model refuses beyond the table: settings that keep their value, and the sentence.

    In it `{value}` stands for the value that is refused.
    """
    sentences = {}
    for row in colorizer.method.settings:
        if row.traced and row.kind is float:
            try:
                colorizer.changed(**{row.name: _MARK})
            except UserError as error:
                sentences[row.name] = str(error).replace(str(_MARK), "{value}")
    return sentences
