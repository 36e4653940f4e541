"""A process that measures alone or as one of several, as the environment says: prints nothing.

`python -m tests.evaluate.one_of_several OUT` writes every value and the moments of small features.
"""

import sys
from pathlib import Path

import jax
import numpy as np

from colorjax.devices import processes
from colorjax.evaluate import measuring, painters, protocols
from colorjax.evaluate.measuring import Measurement
from colorjax.evaluate.networks import Networks
from colorjax.evaluate.pictures import Frame, Selection
from colorjax.models import perceptual
from colorjax.models.perceptual import Lpips
from tests import small
from tests.evaluate.test_report import BAD, GOOD

PICTURES, BATCH = 52, 8  # not a whole number of batches, and of these an odd number


def networks() -> Networks:
    """VGG16 with four channels a layer, and random weights."""
    layers = perceptual.BACKBONES["vgg16"]
    perceptual.BACKBONES["vgg16"] = tuple(layer._replace(channels=4) for layer in layers)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    shapes = jax.eval_shape(Lpips("vgg16").init, jax.random.key(0), image, image)["params"]
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    weights = {"vgg16": small.randomised(zeros)}
    return Networks(("vgg16",), False, None, weights, None, {})


def main(path: Path) -> None:
    processes.join()
    measurement = Measurement(
        protocols.find("cifar10"),
        Selection(small.DATA / "cifar10", "test", PICTURES),
        Frame(32, BATCH, "complete", painters.no_tokens),
        (GOOD, BAD),
        networks(),
        references=False,
    )
    tally = measuring.measure(measurement)
    moments = tally.moments("vgg16", GOOD.name)
    if processes.is_first():
        scores = tally.scores(GOOD.name)
        np.savez(
            path,
            keys=tally.keys,
            mean=moments.mean,
            covariance=moments.covariance,
            kid=tally.kid("vgg16", GOOD.name, "truth"),
            **{f"score_{name}": values for name, values in scores.items()},
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
