from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import skimage.color
import skimage.data

from colorjax.data import captions, colour_names, pipeline, records, transforms
from colorjax.errors import UserError
from colorjax.maths import color

DATA = Path(__file__).parent.parent / "assets" / "cifar10"
OPTIONS: dict[str, Any] = dict(size=32, batch_size=24, seed=3, crop=None)
EVALUATION: dict[str, Any] = dict(size=32, batch_size=48, level="complete", crop=None)


def _tokenize(texts):
    """Bytes of the text, so that ids tell which text it was."""
    rows = [np.frombuffer(text.encode().ljust(80)[:80], np.uint8) for text in texts]
    return np.stack(rows).astype(np.int32)


def _train(count, **options):
    iterator = pipeline.train_batches(DATA, "test", tokenize=_tokenize, **(OPTIONS | options))
    batches = [next(iterator) for _ in range(count)]
    iterator.close()
    return batches


def _evaluate(**options):
    options = EVALUATION | options
    return list(pipeline.eval_batches(DATA, "test", tokenize=_tokenize, **options))


def _same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in ("image", "input_ids"))


def _stored():
    source = records.open_split(DATA, "test")
    return [records.Record.unpack(source[i]) for i in range(len(source))]


@pytest.fixture(scope="module")
def whole():
    return _train(25)


def test_batches_have_their_shapes(whole):
    assert whole[0]["image"].shape == (24, 32, 32, 3) and whole[0]["image"].dtype == np.uint8
    assert whole[0]["input_ids"].shape == (24, 80) and whole[0]["input_ids"].dtype == np.int32


def test_an_epoch_is_every_picture_once_flipped_half_the_time():
    index_of = {}
    for index, record in enumerate(_stored()):
        image = transforms.decode(record.image)
        index_of[image.tobytes()] = index, 0
        index_of[image[:, ::-1].tobytes()] = index, 1
    batches = _train(16, batch_size=32, level="complete")
    images = np.concatenate([batch["image"] for batch in batches])
    ids = np.concatenate([batch["input_ids"] for batch in batches])
    found = np.array([index_of[image.tobytes()] for image in images])
    first, second = found[:256, 0], found[256:, 0]
    assert sorted(first) == sorted(second) == list(range(256))
    assert not np.array_equal(first, second) and not np.array_equal(first, range(256))
    assert 200 < found[:, 1].sum() < 312
    texts = [record.captions["complete"][0] for record in _stored()]
    assert np.array_equal(ids, _tokenize([texts[index] for index in found[:, 0]]))
    flips = np.empty((2, 256), int)
    flips[0, first], flips[1, second] = found[:256, 1], found[256:, 1]
    assert 64 < (flips[0] != flips[1]).sum() < 192


@pytest.mark.parametrize("process_count", [2, 4])
def test_processes_together_give_the_same_batches(whole, process_count):
    parts = [_train(25, process_count=process_count, process_index=i) for i in range(process_count)]
    for step, batch in enumerate(whole):
        for name in ("image", "input_ids"):
            joined = np.concatenate([part[step][name] for part in parts])
            assert np.array_equal(joined, batch[name])


@pytest.mark.parametrize("start_step", [0, 1, 7, 10, 11, 21, 24])
def test_a_restart_gives_the_rest(whole, start_step):
    for options in ({}, {"num_threads": 0}):
        rest = _train(25 - start_step, start_step=start_step, **options)
        assert all(_same(a, b) for a, b in zip(rest, whole[start_step:], strict=True))


def test_seeds_and_steps_differ(whole):
    assert not _same(whole[0], whole[1])
    assert not _same(whole[0], _train(1, seed=4)[0])


def test_caption_shares_reach_the_captions():
    ids = np.concatenate([batch["input_ids"] for batch in _train(2, drop_share=1.0)])
    assert np.array_equal(ids, _tokenize([""] * 48))
    scarce = _train(2, drop_share=0.0, scarce_share=1.0)
    texts = {bytes(row.astype(np.uint8)).decode().strip() for row in scarce[0]["input_ids"]}
    assert texts <= set(captions.SCARCE) and len(texts) > 1


def test_a_share_is_gray_and_said_to_be(whole):
    batches = _train(20, gray_share=0.3)
    shares = []
    for plain, batch in zip(whole, batches):
        for before, image, ids in zip(plain["image"], batch["image"], batch["input_ids"]):
            text = bytes(ids.astype(np.uint8)).rstrip().decode()
            is_gray = np.ptp(image.astype(int), axis=-1).max() <= 1
            said = text.startswith(captions.BLACK_AND_WHITE)
            assert said == is_gray or np.ptp(before.astype(int), axis=-1).max() <= 1
            shares.append(said)
            if said:
                lightness = color.lightness(before / 255.0) - color.lightness(image / 255.0)
                assert np.abs(lightness).max() < 0.4, "half a step of 8 bits, in L"
            else:
                np.testing.assert_array_equal(image, before)
    assert np.mean(shares) == pytest.approx(0.3, abs=0.07)


def test_a_share_has_its_hues_turned_and_its_new_colours_named(whole):
    batches = _train(10, turned_share=0.4)
    shares = []
    for plain, batch in zip(whole, batches):
        for before, image, ids in zip(plain["image"], batch["image"], batch["input_ids"]):
            turned = not np.array_equal(image, before)
            shares.append(turned)
            if turned:
                text = bytes(ids.astype(np.uint8)).rstrip().decode()
                assert colour_names.region_colours(image)[0] in text
    # A gray picture stays as it is.
    assert np.mean(shares) == pytest.approx(0.4, abs=0.1)


def test_turning_hues_keeps_lightness_and_turns_all_by_one_angle():
    pixels = np.random.default_rng(0).integers(105, 145, (16, 16, 3)).astype(np.uint8)
    turned = transforms.with_hues_turned(pixels, np.random.default_rng(1))
    before, after = (skimage.color.rgb2lab(image).reshape(-1, 3) for image in (pixels, turned))
    assert np.abs(after[:, 0] - before[:, 0]).max() < 0.5
    chosen = np.hypot(*before[:, 1:].T) > 8  # where a rounded hue is exact to some degrees
    ratio = (after @ [0, 1, 1j] / (before @ [0, 1, 1j]))[chosen]
    assert np.abs(ratio - ratio.mean()).max() < 0.1
    assert np.exp(-0.5) <= abs(ratio.mean()) <= np.exp(0.5)
    assert abs(np.angle(ratio.mean())) > 0.1


def test_crops_give_the_size_asked_for():
    one = _train(2, size=20, crop="random_resized")
    two = _train(2, size=20, crop="random_resized")
    assert one[0]["image"].shape == (24, 20, 20, 3)
    assert all(_same(a, b) for a, b in zip(one, two, strict=True))


def test_evaluation_keeps_the_order_and_fills_up():
    batches = _evaluate()
    stored = _stored()
    keys = [key for batch in batches for key in batch["keys"]]
    texts = [text for batch in batches for text in batch["captions"]]
    weights = np.concatenate([batch["weights"] for batch in batches])
    images = np.concatenate([batch["image"] for batch in batches])
    assert len(batches) == 6 and weights.dtype == np.float32
    assert keys == [record.key for record in stored] + [""] * 32
    assert texts == [record.captions["complete"][0] for record in stored] + [""] * 32
    assert weights.tolist() == [1.0] * 256 + [0.0] * 32
    assert all(np.array_equal(transforms.decode(r.image), x) for r, x in zip(stored, images))
    assert not images[256:].any()
    assert np.array_equal(batches[5]["input_ids"], _tokenize(batches[5]["captions"]))


def test_evaluation_in_two_processes_and_limited():
    whole = _evaluate(limit=50, level="scarce")
    parts = [_evaluate(limit=50, level="scarce", process_count=2, process_index=i) for i in (0, 1)]
    assert [len(part) for part in parts] == [2, 2]
    assert sum(batch["weights"].sum() for batch in whole) == 50
    for step, batch in enumerate(whole):
        assert batch["keys"] == parts[0][step]["keys"] + parts[1][step]["keys"]
        for name in ("image", "input_ids", "weights"):
            joined = np.concatenate([part[step][name] for part in parts])
            assert np.array_equal(joined, batch[name])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"process_count": 5}, "multiple of their number, 5"),
        ({"process_count": 2, "process_index": 2}, "process_index is 2"),
        ({"seed": -1}, "seed is -1"),
        ({"start_step": -1}, "start_step is -1"),
        ({"level": "rich"}, "caption level is 'rich'"),
        ({"size": 64}, "32x32 but the model's size is 64x64"),
        ({"crop": "center"}, "training crop is 'center'"),
    ],
)
def test_mistakes_are_told(options, message):
    with pytest.raises(UserError, match=message):
        _train(1, **options)


def test_evaluation_mistakes_are_told():
    for options, message in (({"limit": 0}, "limit is 0"), ({"crop": "top"}, "crop is 'top'")):
        with pytest.raises(UserError, match=message):
            _evaluate(**options)


def test_random_crops_keep_to_scale_and_ratio():
    # Red counts columns and green counts rows, so a crop's corners tell its rectangle.
    rows, columns = np.mgrid[0:200, 0:240].astype(np.uint8)
    image = np.stack([columns, rows, np.zeros_like(rows)], -1)
    seen = set()
    for seed in range(60):
        crop = transforms.random_resized_crop(image, np.random.default_rng(seed), 256)
        assert crop.shape == (256, 256, 3)
        (left, top, _), (right, bottom, _) = crop[0, 0].astype(int), crop[-1, -1].astype(int)
        w, h = right - left + 1, bottom - top + 1
        assert 0.78 < w * h / (200 * 240) <= 1.0 and 0.74 < w / h < 1.36
        seen.add((left, top))
    assert len(seen) > 30


def test_a_crop_that_cannot_fit_is_central():
    image = np.zeros((10, 100, 3), np.uint8)
    image[:, 43:56] = 200
    image[:, :40] = image[:, 60:] = 90
    crop = transforms.random_resized_crop(image, np.random.default_rng(0), 13)
    assert (crop[:, 1:-1] == 200).all()


@pytest.mark.parametrize("size", [(256, 256), (100, 231), (700, 500)])
def test_bicubic_is_pillows(monkeypatch, size):
    photo = PIL.Image.fromarray(skimage.data.coffee())
    expected = np.asarray(photo.resize(size, PIL.Image.Resampling.BICUBIC)).astype(int)
    difference = transforms.bicubic(np.asarray(photo), *size) - expected
    assert (np.abs(difference) > 1).mean() < 1e-3 and np.sqrt((difference**2).mean()) < 0.6
    monkeypatch.setattr(transforms, "cykooz_resizer", None)
    assert np.array_equal(transforms.bicubic(np.asarray(photo), *size), expected)


def test_resizing_stretches_and_centre_crops():
    image = np.zeros((20, 60, 3), np.uint8)
    image[:, :20], image[:, 20:40], image[:, 40:] = 10, 100, 250
    assert (transforms.center_crop(image, 8) == 100).all()
    small = transforms.resize(image, 6)
    assert small.shape == (6, 6, 3)
    assert small[0, 0, 0] == 10 and small[0, -1, 0] == 250
    # Two pixels to four, bilinear with half-pixel centres: 0, 1/4, 3/4, 1.
    steps = np.array([[[0] * 3, [200] * 3]] * 2, np.uint8)
    assert transforms.resize(steps, 4)[0, :, 0].tolist() == [0, 50, 150, 200]


def test_decoding_gives_rgb():
    bgr = np.zeros((4, 6, 3), np.uint8)
    bgr[..., 2] = 200
    data = cv2.imencode(".png", bgr)[1].tobytes()
    assert transforms.decode(data)[0, 0].tolist() == [200, 0, 0]
    gray = cv2.imencode(".png", bgr[..., 2])[1].tobytes()
    assert transforms.decode(gray).shape == (4, 6, 3)
    jpeg = cv2.imencode(".jpg", bgr[..., 2], [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    assert (transforms.decode(jpeg) == 200).all() and transforms.decode(jpeg).shape == (4, 6, 3)
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    assert np.array_equal(transforms.decode(transforms.encode_png(image)), image)
    for broken in (b"", b"no picture", jpeg[:-20]):
        with pytest.raises(UserError, match="could not be decoded"):
            transforms.decode(broken)
