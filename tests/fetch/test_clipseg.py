"""CLIPSeg by name: what is fetched is what masks by words find."""

from pathlib import Path

import numpy as np
import pytest

from colorjax.colorize.words.segmenter import Segmenter
from colorjax.convert import writers
from colorjax.errors import UserError
from colorjax.fetch import __main__ as fetch
from tests.colorize.test_segmenter import directory, photograph  # noqa: F401
from tests.convert.test_clipseg import folder  # noqa: F401
from tests.fetch import loopback
from tests.fetch.conftest import describe_tokens, place


def test_clipseg_lies_where_masks_by_words_look_for_it(
    hub: loopback.Hub,
    caches: Path,
    directory: Path,  # noqa: F811
    folder: tuple[Path, dict[str, np.ndarray]],  # noqa: F811
) -> None:
    """From the file of PyTorch's that the repository has."""
    path, tensors = folder[0] / "in", folder[1]
    (path / "model.safetensors").unlink()
    writers.write_checkpoint(path / "pytorch_model.bin", tensors)
    describe_tokens(path)
    hub.add(place("clipseg")[0], path)
    with pytest.raises(UserError, match="python -m colorjax.fetch clipseg"):
        Segmenter()
    fetch.main(["clipseg"])
    lightness = photograph()
    masks = [Segmenter(where)(lightness, ["a cup"], 20, 30) for where in (None, directory)]
    np.testing.assert_array_equal(*masks)
