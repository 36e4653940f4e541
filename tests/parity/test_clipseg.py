"""Random CLIPSegs of transformers, through the conversion command, against ours."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from colorjax import release
from colorjax.colorize.words import segmenter
from colorjax.maths import color
from colorjax.models import clipseg
from colorjax.models.layers import apply
from tests.parity import models
from tests.parity.compare import convert, jitted, nchw, normal

BOUND = 1e-4
KINDS = {
    "plain": dict(use_complex_transposed_convolution=False, conditional_layer=0),
    "refined": dict(use_complex_transposed_convolution=True, conditional_layer=0),
    "later": dict(use_complex_transposed_convolution=True, conditional_layer=1),
}
VISION = dict(
    hidden_size=48,
    intermediate_size=96,
    num_hidden_layers=6,
    num_attention_heads=4,
    image_size=64,
    patch_size=16,
)


@pytest.fixture(scope="module", params=KINDS)
def both(request, tmp_path_factory):
    """PyTorch's module, and our network and parameters of the same weights."""
    root = tmp_path_factory.mktemp(request.param)
    config = CLIPSegConfig(
        text_config=models.text_sizes(models.GENERATION["sd1"]),
        vision_config=VISION,
        projection_dim=24,
        reduce_dim=16,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=40,
        extract_layers=[1, 2, 4],
        **KINDS[request.param],
    )
    theirs = models.randomize(CLIPSegForImageSegmentation(config), 3)
    theirs.save_pretrained(root / "theirs")
    convert("clipseg", root / "theirs", root / "ours")
    model = clipseg.build(release.read_config(root / "ours")["clipseg"]["model"])
    return theirs, model, release.read_part(root / "ours", "clipseg")


def phrases() -> np.ndarray:
    """Three phrases of different lengths, each ended by the highest id."""
    ids = np.random.default_rng(5).integers(1, 60, (3, models.LENGTH))
    ids[:, 0] = models.VOCABULARY - 2
    for row, length in zip(ids, (4, 8, models.LENGTH - 1), strict=True):
        row[length:] = models.VOCABULARY - 1
    return ids


@pytest.mark.parametrize("pictures", [1, 3])
@pytest.mark.parametrize("side", [64, 96, 32])  # as its positions are, and resized ones
def test_clipseg(both, side, pictures) -> None:
    theirs, model, params = both
    image, ids = normal(side, pictures, side, side, 3), phrases()
    with torch.no_grad():
        repeated = nchw(image).expand(3, -1, -1, -1)
        expected = theirs(torch.from_numpy(ids), repeated).logits.numpy()
    found = np.asarray(jitted(apply, model, params, image, ids))
    assert found.shape == expected.shape == (3, side, side)
    assert expected.std() > 0.05
    error = np.abs(found - expected).max()
    print(f"error {error:.1e}, largest logit {np.abs(expected).max():.1f}")
    assert error <= BOUND


@pytest.mark.parametrize("shape", [(352, 352), (200, 300), (700, 520)])
def test_pictures_are_prepared_as_by_their_processor(shape) -> None:
    lightness = np.random.default_rng(0).uniform(0, 100, (shape[0] // 4, shape[1] // 4))
    lightness = np.kron(lightness, np.ones((4, 4)))
    statistics = dict(image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
    lab = np.stack([lightness, 0 * lightness, 0 * lightness], axis=-1)
    rgb = np.round(np.clip(color.lab_to_srgb(lab), 0, 1) * 255).astype(np.uint8)
    processor = ViTImageProcessorPil(size=dict(height=352, width=352), resample=2, **statistics)
    expected = processor(Image.fromarray(rgb), return_tensors="np")["pixel_values"]
    found = segmenter.preprocess(lightness, 352, **statistics)
    one_level = 1 / 255 / min(statistics["image_std"])
    error = np.abs(np.moveaxis(found, -1, 1) - expected)
    assert error.max() <= 1.01 * one_level and (error > 1e-5).mean() < 0.01
