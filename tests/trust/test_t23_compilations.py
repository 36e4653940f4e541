"""T23: neither the size of a photograph nor the rest of a batch compiles anything anew."""

from pathlib import Path

import numpy as np
import pytest

from colorjax.colorize import painters
from colorjax.colorize.colorizer import Colorizer
from tests.colorize import test_batch
from tests.trust.conftest import Row


def test_by_the_shapes(row: Row) -> None:
    test_batch.test_of_each_bucket_two_programs_whatever_the_sizes_and_tails()
    row.tell("50 sizes x 3 rests by a model without networks: two shapes a bucket")


@pytest.mark.slow
def test_by_the_compiler(small_release: Path, row: Row) -> None:
    """With the small model: every bucket is met by one picture and by a full batch."""
    colorizer = Colorizer(small_release, "lcad", batch_size=4)
    rng = np.random.default_rng(row.seed)
    sizes = [tuple(int(n) for n in rng.integers(8, 60, 2)) for _ in range(50)]
    counts = []
    assert painters.Colouring()
    for rest in (1, 2, 3):
        arrays = [np.full(size, 99, np.uint8) for size in [*sizes, *[(40, 40)] * rest]]
        done = test_batch.outcomes(arrays, colorizer)
        assert not any(outcome.error for outcome in done)
        counts.append(colorizer.compilations)
    assert counts[-1] <= 2 * len(colorizer.buckets)
    row.tell(
        f"{3 * len(sizes) + 6} photographs of 50 sizes: {counts[-1]} programs for "
        f"{len(colorizer.buckets)} buckets (one picture or a batch), {counts[0]} after the first 51"
    )
