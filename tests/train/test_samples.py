"""The sheet of what a stage shows."""

import numpy as np
from PIL import Image

from colorjax.train import samples


def test_gray_and_truth_are_the_first_columns(tmp_path) -> None:
    levels = {"complete": 0.5, "gray": -1.0, "scarce": 0.75, "truth": 1.0}
    columns = {name: np.full((3, 64, 64, 3), level) for name, level in levels.items()}
    samples.save_samples(tmp_path / "sheet.png", columns)
    row = np.asarray(Image.open(tmp_path / "sheet.png"))[0, ::66, 0]
    np.testing.assert_array_equal(row, [0, 255, 191, 223])
