"""Lists of pictures by their digests, and what stands beside which figures."""

import hashlib
import json

import numpy as np
import pytest

from colorjax.errors import UserError
from colorjax.evaluate import measures, protocols, published, results
from colorjax.evaluate.protocols import compare, find


def test_a_digest_is_that_of_the_sorted_names() -> None:
    """As `sort names.txt | sha256sum` gives it."""
    expected = hashlib.sha256(b"a.jpg\nb.jpg\n").hexdigest()
    assert protocols.digest(["b.jpg", "a.jpg"]) == expected


def test_the_protocols_own_list_and_others() -> None:
    protocol = find("imagenet-val5k")
    names = [f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(1, 5001)]
    assert compare(protocol, names[::-1], 256, "center").is_the_protocols
    for changed, size, crop, words in (
        (names[:-1], 256, "center", "4999 pictures are not the protocol's list of 5000"),
        ([*names[:-1], "ILSVRC2012_val_00005001.JPEG"], 256, "center", "not the protocol's list"),
        (names, 128, "center", "128 pixels instead of 256"),
        (names, 256, "resize", "cut by resize instead of center"),
    ):
        listed = compare(protocol, changed, size, crop)
        assert not listed.is_the_protocols and words in listed.differences[0]


def test_a_list_that_nobody_published_is_never_the_protocols() -> None:
    listed = compare(find("ctest10k"), ["x"] * 10000, 256, "resize")
    assert listed.differences == ("the list of ctest10k is not known here and was not compared",)
    with pytest.raises(UserError, match="imagenet-val5k"):
        find("imagenet")


def test_every_published_row_has_a_protocol_a_source_and_known_measures() -> None:
    for row in published.ROWS:
        assert row.protocol in protocols.BY_NAME and row.source
        assert row.figures.keys() <= measures.BY_NAME.keys()
    assert not published.of("cifar10")


def result(protocol: str, differences: tuple[str, ...]) -> results.Result:
    about = {"protocol": {"name": protocol, "title": "T", "size": 256}, "seed": 0}
    rows = {"ours": {"pictures": 2, "psnr_pooled": 24.0, "fid": 5.0}, "truth": {"pictures": 2}}
    listed = protocols.Listed(2, "0" * 64, differences)
    return results.Result(about, rows, {"ours": {}}, [], listed, "scarce")


def test_the_papers_stand_beside_their_own_list_only() -> None:
    text = results.table(result("imagenet-val5k", ()))
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    assert "4.36" in lines["L-CAD"] and "table 3" in lines["L-CAD"]
    assert "34.33" in lines["DDColor-L"], "what a rerun gave stands beside"
    other = results.table(result("imagenet-val5k", ("2 pictures are not the protocol's list",)))
    assert "4.36" not in other and "8 rows are not put beside" in other
    assert json.loads(json.dumps(result("imagenet-val5k", ()).json()))["rows"]["ours"]["fid"] == 5


def test_statistics_of_pictures() -> None:
    """By hand: errors 0.01 and 0.0001, colourfulness 10 too much and 10 too little."""
    scores = {
        "mse": np.array([0.01, 0.0001]),
        "colourfulness_difference": np.array([10.0, -10.0]),
        "obedience": np.array([0.5, np.nan]),
        "cdr": np.array([np.nan, np.nan]),
    }
    figures = measures.figures(scores)
    assert figures["psnr_pooled"] == pytest.approx(-10 * np.log10(0.00505))
    assert figures["delta_colourfulness"] == 0.0
    assert figures["delta_colourfulness_per_image"] == 10.0
    assert figures["obedience"] == 0.5
    assert "cdr" not in figures
