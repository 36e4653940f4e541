"""Readers of public data sets: what pictures there are, and where, with captions and classes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from colorjax.prepare.sources import cifar10, debian, folder, imagenet, lists, tfds
from colorjax.prepare.sources.entries import Entry, Item, Rejected, Rejection, unique

__all__ = ["SOURCES", "Entry", "Item", "Rejected", "Rejection", "unique"]


@dataclass(frozen=True)
class Source:
    """A data set that `prepare` can read.

    Attributes:
        title: one line for the manifest: name and authors.
        read: (input, split, captions file or folder) -> its items in the set's own order.
        splits: input -> names of its splits, training first.
        drops_gray: splits that gray pictures are dropped from; the published protocols count all
            pictures of a test set.
        measured: captions are measured from the pixels and the class.
        shard_size: items to a file.
    """

    title: str
    read: Callable[[Path, str, Path | None], Iterator[Item]]
    splits: Callable[[Path], tuple[str, ...]]
    drops_gray: tuple[str, ...] = ("train",)
    measured: bool = False
    shard_size: int = 1024


def _always(*names: str) -> Callable[[Path], tuple[str, ...]]:
    return lambda path: names


SOURCES = {
    "cifar10": Source(
        "CIFAR-10, Krizhevsky 2009",
        cifar10.read,
        _always("train", "test"),
        drops_gray=(),
        measured=True,
        shard_size=65536,
    ),
    "cifar10_close_ups": Source(
        "CIFAR-10, Krizhevsky 2009, and close-ups of its pictures",
        cifar10.read_close_ups,
        _always("train", "test"),
        drops_gray=(),
        measured=True,
        shard_size=65536,
    ),
    "coco": Source("COCO, Lin et al. 2014", lists.read_coco, _always("train", "val")),
    "coco_stuff": Source(
        "Extended COCO-Stuff, Weng et al. 2022", lists.read_coco_stuff, _always("train", "val")
    ),
    "debian": Source(
        "photographs of mate-backgrounds, plasma-workspace-wallpapers, tuxpaint-stamps-default",
        debian.read,
        _always("train", "test"),
        drops_gray=(),
        measured=True,
        shard_size=65536,
    ),
    "folder": Source("a folder of pictures", folder.read, folder.splits),
    "imagenet": Source("ImageNet ILSVRC 2012", imagenet.read, _always("train", "val")),
    "multi_instance": Source(
        "Multi-instance, Chang et al. 2023", lists.read_multi_instance, _always("train", "val")
    ),
    "test_list": Source("a list of test pairs", lists.read_test_list, _always("test")),
    "tfds": Source("a prepared TFDS directory", tfds.read, tfds.splits),
}
