"""The run: pictures read, coloured by every painter, measured in one program, added up."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float
from tqdm import tqdm

from colorjax.colorize.colorizer import Colorizer
from colorjax.data import obedience, records, transforms
from colorjax.devices import processes
from colorjax.evaluate import pictures, protocols, scoring
from colorjax.evaluate.networks import Networks
from colorjax.evaluate.painters import ModelPainter, Painter
from colorjax.evaluate.pictures import Batch, Frame, Selection, Share
from colorjax.evaluate.protocols import Protocol
from colorjax.evaluate.tally import Tally
from colorjax.maths import color, regions

MEAN_CHROMA_PICTURES = 10_000
TRUTH, GRAY = "truth", "gray"
RAW = ", raw decode"
Shown = Float[np.ndarray, "n h w 3"]  # [0,1]


class Measurement(NamedTuple):
    """What is to be measured of whom.

    Attributes:
        references: whether gray, mean chroma and the autoencoder are measured beside the painters.
    """

    protocol: Protocol
    selection: Selection
    frame: Frame
    painters: Sequence[Painter]
    networks: Networks
    seed: int = 0
    references: bool = True
    mesh: Mesh | None = None


def measure(measurement: Measurement, program: scoring.Program | None = None) -> Tally:
    """The tally over all pictures, the same on every process.

    `program` is one of `scoring.program`, for a caller who measures several times with one.
    """
    averaged, mean_ab = "", np.zeros(2, np.float32)
    if measurement.references:
        averaged, mean_ab = mean_chroma(measurement.selection)
    program = program or scoring.program(measurement.networks, measurement.mesh)
    share = Share(jax.process_index(), jax.process_count())
    tally: Tally | None = None
    batches = pictures.read(measurement.selection, measurement.frame, share)
    for batch in tqdm(batches, unit=" batches", disable=not processes.is_first(), leave=False):
        rows = dict(_rows(measurement, batch, averaged, mean_ab))
        tally = tally or Tally(list(rows))
        measured = _measured(measurement, batch, rows)
        values = program(measured)
        values = {name: value[: len(batch.keys)] for name, value in values.items()}
        own, true = values["colourfulness"], values["colourfulness"][:, -1:]
        values["colourfulness_difference"] = own - true
        if (labs := values.pop("region_labs", None)) is not None:
            values["obedience"] = _obedience(measurement, batch, labs)
        tally.add(batch.places, batch.keys, values)
    # A process that the pictures did not suffice for has nothing to send.
    parts = processes.gather(b"" if tally is None else tally.packed())
    return Tally.joined([part for part in parts if part])


def _rows(
    measurement: Measurement, batch: Batch, averaged: str, mean_ab: Float[np.ndarray, "2"]
) -> Iterator[tuple[str, Shown]]:
    """Every row's pictures, in [0,1]; the truth is the last one."""
    lightness = color.lightness(batch.truth)
    for painter in measurement.painters:
        raw = painter.paint(batch, measurement.seed)
        yield painter.name, pictures.shown(raw, lightness)
        yield painter.name + RAW, np.clip(color.to_unit(raw), 0.0, 1.0)
    if measurement.references:
        yield GRAY, painted(lightness, np.zeros(2, np.float32))
        yield f"mean chroma of {averaged}", painted(lightness, mean_ab)
        if (colorizer := first_model(measurement.painters)) is not None:
            plain, guided = colorizer.reconstruct(color.from_unit(batch.truth))
            yield "autoencoder", pictures.shown(plain, lightness)
            yield "autoencoder, guided decoder", pictures.shown(guided, lightness)
    yield TRUTH, batch.truth


def _obedience(
    measurement: Measurement, batch: Batch, labs: Float[np.ndarray, "n r k 3"]
) -> Float[np.ndarray, "n r"]:
    """By what each row's painter was told; of the references by the set's captions."""

    def shares(captions: Sequence[str]) -> Float[np.ndarray, "n r"]:
        return obedience.shares([obedience.of_caption(caption) for caption in captions], labs)

    values = shares(batch.captions)
    for place, painter in enumerate(measurement.painters):
        if isinstance(painter, ModelPainter) and painter.captioner is not None:
            own = slice(2 * place, 2 * place + 2)  # as shown, and its raw decode
            values[:, own] = shares(painter.told(batch))[:, own]
    return values


def first_model(painters: Sequence[Painter]) -> Colorizer | None:
    """The colorizer of the first painter that is a model."""
    return next((p.colorizer for p in painters if isinstance(p, ModelPainter)), None)


def _measured(measurement: Measurement, batch: Batch, rows: dict[str, Shown]) -> scoring.Measured:
    """A full batch, the missing pictures black: one program for all."""
    missing = measurement.frame.batch_size - len(batch.keys)

    def filled(array: np.ndarray) -> np.ndarray:
        return np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))

    tokens, masks = None, None
    if measurement.networks.tokenize is not None:
        tokens = filled(measurement.networks.tokenize(batch.captions))
    if measurement.protocol.regions == protocols.CENTRE:
        both = regions.inner_and_outer(*batch.truth.shape[1:3])
        masks = np.repeat(both[None], measurement.frame.batch_size, axis=0)
    stacked = np.stack(list(rows.values()), axis=1)
    return scoring.Measured(filled(stacked), filled(batch.truth), masks, input_ids=tokens)


def painted(lightness: Float[np.ndarray, "n h w 1"], ab: Float[np.ndarray, "2"]) -> Shown:
    """One chroma for all pixels, at each pixel's lightness."""
    chroma = np.broadcast_to(ab, (*lightness.shape[:-1], 2))
    lab = np.concatenate([lightness, chroma], axis=-1)
    rgb: np.ndarray = np.clip(color.lab_to_srgb(color.fit_gamut(lab)), 0.0, 1.0)
    return rgb


def mean_chroma(selection: Selection) -> tuple[str, Float[np.ndarray, "2"]]:
    """Mean a and b over the first pictures of the training split, or of the selected one.

    Also the name of the split it is, which the table shows.
    """
    directory: Path = selection.directory
    name = "train" if "train" in records.splits(directory) else selection.split
    source = records.open_split(directory, name)
    indices = range(min(MEAN_CHROMA_PICTURES, len(source)))
    total = np.zeros(2)
    for data in source.__getitems__(list(indices)):
        image = transforms.decode(records.Record.unpack(data).image).astype(np.float32) / 255.0
        total += color.srgb_to_lab(image)[..., 1:].mean(axis=(0, 1))
    return name, (total / len(indices)).astype(np.float32)
