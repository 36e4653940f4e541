"""Data sets that TensorFlow Datasets has prepared as ArrayRecord; TensorFlow itself is not used."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colorjax.errors import UserError, first_line
from colorjax.prepare.sources.entries import Entry, Item, Rejected, Rejection, sentences, shown

_KEYS = ("file_name", "filename", "image/filename", "image/id", "id")
_TEXTS = ("caption", "captions", "text", "texts")


@dataclass(frozen=True, slots=True)
class TfdsContent:
    """The encoded picture of an example."""

    directory: str
    split: str
    index: int
    feature: str

    @property
    def name(self) -> str:
        # Nothing tells whether the bytes are a JPEG or a PNG, so there is no suffix.
        return f"{self.split}-{self.index}"

    def read(self) -> bytes:
        try:
            data = _open(self.directory, self.split, self.feature)[self.index][self.feature]
        except Exception as error:  # whatever a damaged shard or example raises
            raise Rejected("unreadable file", shown(first_line(error))) from None
        return bytes(data)


def splits(path: Path) -> tuple[str, ...]:
    """The names of the data set's splits, in its own order."""
    return tuple(_builder(str(_version(path))).info.splits)


def read(path: Path, split: str, captions: Path | None) -> Iterator[Item]:
    """Examples of a split, keyed by their file name if they have one, else by their number.

    `path` is the prepared directory (`.../imagenet2012/5.1.0`) or one above it with a single
    version. The picture is the only image feature; a class label becomes the label, features
    called caption, captions or text become the captions.

    Raises:
        UserError: `path` is no such directory, is not in ArrayRecord, or has no single picture.
    """
    directory = str(_version(path))
    features = _builder(directory).info.features
    image = _image_feature(directory)
    labels = [name for name, feature in features.items() if hasattr(feature, "int2str")]
    label = labels[0] if len(labels) == 1 else None
    source = _open(directory, split, image)
    for index in range(len(source)):
        content = TfdsContent(directory, split, index, image)
        try:
            example = source[index]
        except Exception as error:
            yield Rejection(content.name, "unreadable file", shown(first_line(error)))
            continue
        yield _item(content, example, features[label].int2str if label else None, label)


def _item(content: TfdsContent, example: dict[str, Any], name_of: Any, label: str | None) -> Item:
    keys = [str(_text(example[name])) for name in _KEYS if name in example]
    key = keys[0] if keys else f"{content.split}-{content.index:07d}"
    texts = next((example[name] for name in _TEXTS if name in example), None)
    if isinstance(texts, dict):  # COCO's: a sequence of {"id", "text"}
        texts = texts.get("text")
    number = int(example[label]) if label else -1
    try:
        lines = () if texts is None else sentences(_texts(texts))
    except Rejected as rejected:
        return Rejection(key, rejected.reason, rejected.detail)
    return Entry(key, content, lines, name_of(number) if number >= 0 else None)


def _texts(values: Any) -> list[Any]:
    return [_text(value) for value in ([values] if isinstance(values, str | bytes) else values)]


def _text(value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Rejected("caption is not text", "it is not UTF-8") from None


def _version(path: Path) -> Path:
    """The directory with `dataset_info.json`, at `path` or up to two levels below."""
    for pattern in ("dataset_info.json", "*/dataset_info.json", "*/*/dataset_info.json"):
        matches = sorted(path.glob(pattern))
        if len(matches) == 1:
            return matches[0].parent
        if matches:
            names = ", ".join(str(file.parent.relative_to(path)) for file in matches)
            raise UserError(f"{str(path)!r} has several data sets: {names}; give one as --input")
    raise UserError(
        f"{str(path)!r} has no dataset_info.json; give a directory that TFDS prepared, such as "
        "~/tensorflow_datasets/imagenet2012/5.1.0"
    )


@functools.cache
def _builder(directory: str) -> Any:
    import tensorflow_datasets as tfds

    return tfds.builder_from_directory(directory)


def _image_feature(directory: str) -> str:
    import tensorflow_datasets as tfds

    features = _builder(directory).info.features
    images = [k for k, feature in features.items() if isinstance(feature, tfds.features.Image)]
    if len(images) != 1:
        raise UserError(
            f"{directory!r} has {len(images)} image features ({', '.join(images) or 'none'}); "
            "choose a data set with exactly one"
        )
    return images[0]


@functools.cache
def _open(directory: str, split: str, image: str) -> Any:
    """The examples with their picture still encoded."""
    import tensorflow_datasets as tfds

    try:
        return _builder(directory).as_data_source(
            split=split, decoders={image: tfds.decode.SkipDecoding()}
        )
    except NotImplementedError:
        raise UserError(
            f"{directory!r} is not in ArrayRecord; prepare it in TFDS with "
            "download_and_prepare(file_format='array_record')"
        ) from None
