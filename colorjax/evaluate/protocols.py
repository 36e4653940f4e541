"""What is measured, by name: which pictures, how they are cut, what is said of them.

A figure is one of a protocol only if the list of pictures is the protocol's, down to the last
name. Lists are told apart by a digest of their names; where nobody has published a list, there is
no digest, and no figure can be put beside the papers'.
"""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from colorjax.errors import one_of

CENTRE = "centre"  # a captioned object is in the inner half of each side, its background around it


class Protocol(NamedTuple):
    """How published figures of a kind were measured."""

    name: str
    title: str
    data: str  # what it is called in data/
    split: str
    pictures: int  # how many; 0: all there are
    size: int  # of the pictures that are measured; 0: the model's
    crop: str | None
    captions: str  # the level that is told unless another is asked for
    digest: str = ""  # `digest` of the list's names; "" where the list is not known
    regions: str = ""  # where captions' phrases are: `CENTRE`, or "" where only masks tell
    about: str = ""  # what is particular, and who says so


def digest(names: Iterable[str]) -> str:
    """SHA-256 of a list of pictures: its names in sorted order, a newline after each."""
    lines = "".join(f"{name}\n" for name in sorted(names))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def _imagenet(count: int) -> str:
    return digest(f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, count + 1))


ALL = (
    Protocol(
        "extended-coco-stuff",
        "Extended COCO-Stuff, validation",
        "coco",
        "val",
        2486,
        256,
        "resize",
        "complete",
        "45da7756fdf6c809bfff1454be304e741651300a2acf736203eaaa5453d7e2a4",
        about="squashed to 256 (L-CAD's code); that code draws one of a picture's captions, "
        "here it is the first",
    ),
    Protocol(
        "multi-instance",
        "Multi-instance, validation",
        "multi_instance",
        "val",
        0,
        256,
        "resize",
        "complete",
        about="the list is not published; the paper says 7 K pictures",
    ),
    Protocol(
        "imagenet-val5k",
        "ImageNet, the first 5,000 of val, centre crop",
        "imagenet",
        "val",
        5000,
        256,
        "center",
        "scarce",
        _imagenet(5000),
        about="centre crop to the shorter side, then 256 (CT2; DDColor's author in its issue 9)",
    ),
    Protocol(
        "imagenet-val50k-squashed",
        "ImageNet, all 50,000 of val, squashed",
        "imagenet",
        "val",
        50000,
        256,
        "resize",
        "scarce",
        _imagenet(50000),
        about="whole pictures squashed to 256 (DDColor)",
    ),
    Protocol(
        "coco-val5k",
        "COCO 2017, validation",
        "coco",
        "val",
        5000,
        256,
        "resize",
        "complete",
        about="squashed to 256 (DDColor); the names are COCO's, of which no digest is known here",
    ),
    Protocol(
        "ctest10k",
        "ImageNet ctest10k",
        "ctest10k",
        "val",
        10000,
        256,
        "resize",
        "scarce",
        about="10,000 of val, Larsson et al.'s list, of which no digest is known here",
    ),
    Protocol(
        "cifar10",
        "CIFAR-10, all test pictures",
        "cifar10",
        "test",
        10000,
        32,
        None,
        "complete",
        digest(f"test-{number:05d}" for number in range(10000)),
        CENTRE,
        "captions measured from the pixels: object in the inner half, background around it",
    ),
    Protocol(
        "folder",
        "your pictures",
        "",
        "test",
        0,
        0,
        "resize",
        "complete",
        about="a prepared directory of your own, by --data",
    ),
)
BY_NAME = {protocol.name: protocol for protocol in ALL}


def find(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        UserError: there is none.
    """
    one_of("protocol", name, BY_NAME)
    return BY_NAME[name]


class Listed(NamedTuple):
    """The list that was measured, and whether it is the protocol's."""

    pictures: int
    digest: str
    differences: tuple[str, ...]  # what is not the protocol's, in words; () is the protocol

    @property
    def is_the_protocols(self) -> bool:
        """Whether figures may stand beside the papers'."""
        return not self.differences


def compare(protocol: Protocol, names: list[str], size: int, crop: str | None) -> Listed:
    """Holds what was measured against the protocol."""
    own = digest(names)
    differences = []
    if not protocol.digest:
        differences.append(f"the list of {protocol.name} is not known here and was not compared")
    elif own != protocol.digest:
        of = f" of {protocol.pictures}" if protocol.pictures else ""
        differences.append(f"{len(names)} pictures are not the protocol's list{of}")
    if protocol.size and size != protocol.size:
        differences.append(f"pictures of {size} pixels instead of {protocol.size}")
    if crop != protocol.crop:
        differences.append(f"cut by {crop or 'nothing'} instead of {protocol.crop or 'nothing'}")
    return Listed(len(names), own, tuple(differences))
