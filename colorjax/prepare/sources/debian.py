"""Photographs of more than ten kinds of things from Debian's packages, cut to 32 pixels.

    apt-get download mate-backgrounds plasma-workspace-wallpapers tuxpaint-stamps-default
    for file in *.deb; do dpkg -x "$file" unpacked; done

Scenes are photographs among the wallpapers, cut at many scales. Stamps are cut-out photographs of
animals, food, plants, tools and vehicles: they are laid on scenes of the same split or on a plain
ground. A tenth of the files, whole, is the test split. Captions are measured from the pixels, every
other one with the stamp's own name and with that of its kind.

Of the wallpapers not named here none is a photograph in colour; drawn stamps, and those that the
program tints, are left out.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from colorjax.errors import UserError
from colorjax.prepare.sources import collages
from colorjax.prepare.sources.entries import Entry, Item, PixelContent

_STAMPS = "usr/share/tuxpaint/stamps"
_WALLPAPERS = {"mate": "usr/share/backgrounds/mate/nature", "plasma": "usr/share/wallpapers"}
_PACKAGES = {"mate": "mate-backgrounds", "plasma": "plasma-workspace-wallpapers"}
_SCENES = {  # file -> what it shows
    "mate/Aqua.jpg": "water",
    "mate/Blinds.jpg": "leaf",
    "mate/Dune.jpg": "meadow",
    "mate/FreshFlower.jpg": "flower",
    "mate/Garden.jpg": "flower",
    "mate/GreenMeadow.jpg": "grass",
    "mate/LadyBird.jpg": "garden",
    "mate/RainDrops.jpg": "leaf",
    "mate/Storm.jpg": "sky",
    "mate/TwoWings.jpg": "flower",
    "mate/Wood.jpg": "wood",
    "mate/YellowFlower.jpg": "sunflower",
    "plasma/BytheWater/contents/images/2560x1600.jpg": "lake",
    "plasma/ColorfulCups/contents/images/2560x1600.jpg": "cup",
    "plasma/DarkestHour/contents/images/2560x1600.jpg": "lake",
    "plasma/EveningGlow/contents/images/2560x1600.jpg": "boat",
    "plasma/FallenLeaf/contents/images/2560x1600.jpg": "leaf",
    "plasma/Kite/contents/images/2560x1600.jpg": "sky",
    "plasma/OneStandsOut/contents/images/2560x1600.jpg": "garden",
    "plasma/Path/contents/images/2560x1600.jpg": "forest",
    "plasma/summer_1am/contents/images/2560x1600.jpg": "lake",
}
_KINDS = {  # folder of stamps -> their kind; the first that fits counts
    "animals/birds": "bird",
    "animals/fish": "fish",
    "animals/insects": "insect",
    "animals": "animal",
    "food/fruit": "fruit",
    "food/vegetables": "vegetable",
    "food": "food",
    "hobbies/music": "instrument",
    "hobbies": "thing",
    "household/tools": "tool",
    "household": "thing",
    "people": "person",
    "plants/flowers": "flower",
    "plants/trees": "tree",
    "plants": "plant",
    "sports": "toy",
    "vehicles": "vehicle",
}
_LEFT_OUT = set(  # drawn, tinted by the program, or no thing of its own
    "7spoke256 bee bluegroper butterflyfish clownfish coraltrout dolphinfish echidna eye fly glass "
    "hedgehog highlighter moonwrasse mug pizza rambutan rugby_goal_posts sedan_police stripedfish "
    "whale".split()
)
_NAMES = {  # stem -> noun, where the stamp's sentence does not end in one
    "747": "airplane",
    "adeenia": "rose",
    "anthoorium": "flower",
    "appooppanthady": "flower",
    "beetle": "car",
    "chemparathi": "hibiscus",
    "flower4": "flower",
    "flower7": "flower",
    "garlic": "garlic",
    "ginger": "ginger",
    "hoverfly": "bee",
    "measuring_tape": "tape",
    "Cherry_Stella": "cherry",
    "cep-2": "mushroom",
    "drumkit": "drum",
    "holly_leaves": "leaf",
    "toilet": "toilet",
    "tomato": "tomato",
    "australian_rules_football": "football",
    "trophy_cup": "cup",
    "wildboar": "pig",
}
_TEST_EVERY, _TEST_AT = 10, 5  # of the files in order of their names
_PER_SCENE, _PER_STAMP = 400, 64


@dataclass(frozen=True)
class _Photograph:
    """A file: `nouns` say what it shows, its own name first, then its kind."""

    path: Path
    name: str
    nouns: tuple[str, str]
    is_stamp: bool
    split: str


def read(path: Path, split: str, captions: Path | None) -> Iterator[Item]:
    """Pictures of the packages unpacked in the folder `path`: 400 of a scene, 64 of a stamp.

    Raises:
        UserError: a photograph is missing or damaged, with the package that has it.
    """
    photographs = [one for one in [*_scenes(path), *_stamps(path)] if one.split == split]
    grounds = [collages.read_scene(one.path) for one in photographs if not one.is_stamp]
    for photograph in photographs:
        for index, pixels in enumerate(_pictures(photograph, grounds)):
            key = f"{photograph.name}-{index:03d}"
            noun = photograph.nouns[index % 2]
            yield Entry(key, PixelContent(f"{key}.png", pixels), label=noun)


def _pictures(photograph: _Photograph, grounds: list[collages.Pixels]) -> Iterator[collages.Pixels]:
    rng = np.random.default_rng((0, zlib.crc32(photograph.name.encode())))
    if photograph.is_stamp:
        stamp = collages.read_stamp(photograph.path)
        for _ in range(_PER_STAMP):
            yield collages.stamped(stamp, grounds, rng)
    else:
        scene = collages.read_scene(photograph.path)
        for _ in range(_PER_SCENE):
            yield collages.crop(scene, rng, collages.SIZE)


def _split(place: int) -> str:
    return "test" if place % _TEST_EVERY == _TEST_AT else "train"


def _scenes(packages: Path) -> Iterator[_Photograph]:
    for place, (name, noun) in enumerate(sorted(_SCENES.items())):
        package, _, file = name.partition("/")
        path = packages / _WALLPAPERS[package] / file
        if not path.is_file():
            raise UserError(
                f"{str(path)!r} is missing; unpack Debian's package {_PACKAGES[package]} into "
                f"--input={str(packages)!r} (dpkg -x)"
            )
        stem = path.stem if package == "mate" else Path(file).parts[0]
        yield _Photograph(path, f"{package}-{stem}", (noun, "scene"), False, _split(place))


def _stamps(packages: Path) -> Iterator[_Photograph]:
    top = packages / _STAMPS
    place = 0
    for path in sorted(top.rglob("*.png")):
        folder = path.parent.relative_to(top).as_posix()
        kind = next((kind for under, kind in _KINDS.items() if folder.startswith(under)), None)
        is_drawn = "cartoon" in folder or path.stem in _LEFT_OUT
        if kind is None or is_drawn or path.stem.endswith("_mirror"):
            continue
        sentence = path.with_suffix(".txt").read_text(encoding="utf-8").split("\n")[0]
        name = "-".join(path.relative_to(top).with_suffix("").parts)
        nouns = (_noun(sentence, path.stem), kind)
        yield _Photograph(path, name, nouns, True, _split(place))
        place += 1
    if not place:
        raise UserError(
            f"{str(top)!r} has no stamps; unpack Debian's package tuxpaint-stamps-default into "
            f"--input={str(packages)!r} (dpkg -x)"
        )


def _noun(sentence: str, stem: str) -> str:
    """The last word of the name in a stamp's sentence: "A helmeted guinea fowl." is a "fowl"."""
    if stem in _NAMES:
        return _NAMES[stem]
    name = re.split(r"[.,!?(]", sentence.lower())[0]
    name = re.sub(r"\b(pair|bunch|string|head|quarter|baby) of( a)?\b", "", name)
    name = re.split(r"\b(?:of|with|in|at|on|from|for|covered|used|resembles)\b", name)[0]
    words = re.findall(r"[a-z]+", name)
    return words[-1] if words else stem
