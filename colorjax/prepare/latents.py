"""Latents and text states cached beside the crops of pictures: two encoders run once.

Else they would run in every step of training, and on the same pictures and sentences.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from colorjax import __version__
from colorjax.data import latents, records, texts, transforms
from colorjax.errors import UserError
from colorjax.files import put_in_place
from colorjax.prepare import assembly, planning, vocabulary

PART, TEXT = "vae", "text_encoder"


@dataclass(frozen=True)
class Request:
    """What to cache.

    Attributes:
        input: a prepared directory of pictures.
        output: the directory to make.
        model: the release whose VAE encodes.
        split: whose pictures become crops and latents; all others stay as they are.
        crops: random crops of each picture, as training draws them; 0 for pictures that have the
            model's size.
        seed: decides the crops.
        batch_size: pictures that are encoded at a time.
        texts: whether the states of every sentence are made, too.
    """

    input: Path
    output: Path
    model: str
    split: str = "train"
    crops: int = 1
    seed: int = 0
    batch_size: int = 64
    overwrite: bool = False
    texts: bool = True


def cache(request: Request, tick: Callable[[int], Any] = lambda count: None) -> latents.Cache:
    """Writes the directory; the same command goes on where it was interrupted, shard by shard.

    Args:
        tick: hears how many records were added.

    Raises:
        UserError: a path or a number is wrong, the output exists, or a picture has another size.
    """
    manifest = _check(request)
    # Only this needs jax: whoever prepares pictures does without.
    from colorjax import release
    from colorjax.methods.encoding import encoder

    model = release.locate(request.model)
    size = int(release.read_config(model)["image_size"])
    encode = encoder(model)
    shape = encode(np.zeros((1, size, size, 3), np.uint8)).shape[1:]
    about = latents.Cache(release.digest(model, PART), size, request.crops, shape)
    partial = assembly.partial_directory(request.output)
    plan = {"version": __version__, "cache": about._asdict(), "seed": request.seed}
    shards = manifest["splits"]
    assembly.begin(partial, plan | {"shards": shards}, request.overwrite)
    made: dict[str, list[records.Shard]] = {}
    place = 0
    for split, of_split in shards.items():
        for shard in of_split["shards"]:
            source, target = request.input / shard["file"], partial / shard["file"]
            if split != request.split:
                shutil.copyfile(source, target)
            elif not target.exists():
                views = _views(request, source, place, encode, about)
                records.write_shard(target, _counted(views, tick))
            place += shard["records"] if split == request.split else 0
            written = records.Shard(shard["file"], shard["records"], records.sha256(target))
            made.setdefault(split, []).append(written)
    more: dict[str, Any] = {k: manifest[k] for k in ("options", "counts") if k in manifest}
    more |= _texts(request, manifest, partial, model) if request.texts else {}
    more[latents.SECTION] = {request.split: about._asdict()}
    records.write_manifest(partial, manifest["source"], made, **more, colorjax_version=__version__)
    put_in_place(partial, request.output.resolve())
    (request.output / assembly.PLAN).unlink()
    return about


def _texts(
    request: Request, manifest: dict[str, Any], partial: Path, model: Path
) -> dict[str, Any]:
    """Writes the states of the split's sentences; returns what the manifest says of them."""
    from colorjax import release
    from colorjax.methods.encoding import text_encoder

    paths = [request.input / shard["file"] for shard in manifest["splits"][request.split]["shards"]]
    packed = records.Source(request.input, paths)
    rows = (records.Record.unpack(packed[place]) for place in range(len(packed)))
    count, beside = texts.write(
        partial, request.split, rows, vocabulary.tokenizer_of(model), text_encoder(model)
    )
    about = texts.Cache(release.digest(model, TEXT), count)
    return {texts.SECTION: {request.split: about._asdict()}, records.BESIDE: beside}


def _check(request: Request) -> dict[str, Any]:
    manifest = records.read_manifest(request.input)
    if request.split not in manifest["splits"]:
        raise UserError(
            f"--splits={request.split!r} is not in {str(request.input)!r}; it has "
            f"{', '.join(manifest['splits'])}"
        )
    if request.split in manifest.get(latents.SECTION, {}):
        raise UserError(f"{str(request.input)!r} has latents already; give what they are made of")
    if request.crops < 0:
        raise UserError(f"--crops={request.crops} is too small; give 0 or more")
    planning.check_output(request.output, request.overwrite)
    return manifest


def _counted(
    made: Iterator[records.Record], tick: Callable[[int], Any]
) -> Iterator[records.Record]:
    for record in made:
        yield record
        tick(1)


def _views(
    request: Request,
    source: Path,
    first: int,
    encode: Callable[[np.ndarray], np.ndarray],
    about: latents.Cache,
) -> Iterator[records.Record]:
    """The records of a shard, the first of which is the split's `first`, with views."""
    packed = records.Source(request.input, [source])
    count = 2 * max(1, request.crops)
    together = -(-request.batch_size // count)  # pictures
    for start in range(0, len(packed), together):
        rows = [
            records.Record.unpack(packed[place])
            for place in range(start, min(start + together, len(packed)))
        ]
        pixels = np.zeros((together * count, about.size, about.size, 3), np.uint8)
        for i, record in enumerate(rows):
            crops = _crops(record, request, about.size, first + start + i)
            pixels[i * count : (i + 1) * count] = crops
        moments = encode(pixels)
        for i, record in enumerate(rows):
            places = range(i * count, (i + 1) * count)
            views = [latents.pack(pixels[place], moments[place]) for place in places]
            yield records.Record(
                record.key, b"", record.label, record.captions, record.pairs, views
            )


def _crops(record: records.Record, request: Request, size: int, place: int) -> np.ndarray:
    """Every crop as it is and mirrored, in this order."""
    image = transforms.decode(record.image)
    if request.crops:
        generators = [
            np.random.default_rng((request.seed, place, crop)) for crop in range(request.crops)
        ]
        cut = [transforms.random_resized_crop(image, rng, size) for rng in generators]
    else:
        cut = [transforms.for_evaluation(image, size, None)]
    return np.stack([view for one in cut for view in (one, one[:, ::-1])])
