"""What papers report, each row with its source, its protocol and what reruns by others gave.

Only rows of one protocol, one kind of captions and one backend can be compared; what is known to
differ stands in a row's note. Sources that are no table of the paper itself say so.
"""

from typing import NamedTuple

LCAD = "Chang et al., L-CAD, NeurIPS 2023"
DDCOLOR = "Kang et al., DDColor, ICCV 2023"
TABLES = "collected by a third party (AdelZakirov/ColorMF, eval/paper_comparison*.md)"
SQUASHED_TOO = (
    "its paper squashes whole pictures (ColorMF's protocol list); DDColor's author, whose set-up "
    "it follows, says that val5k is centre-cropped (piddnad/DDColor#9)"
)
TORCHVISION = "FID by torchvision's Inception (CT2's code), not pytorch-fid's"


class Row(NamedTuple):
    """Figures of a method as somebody reported them; names are those of `measures`."""

    protocol: str
    method: str
    figures: dict[str, float | int]
    source: str
    captions: str = ""  # the level told; "" is an automatic method
    note: str = ""


def _text(psnr: float, ssim: float, lpips: float) -> dict[str, float | int]:
    return {"psnr_pooled": psnr, "ssim": ssim, "lpips": lpips}


ROWS = (
    Row(
        "extended-coco-stuff",
        "L-CAD",
        _text(25.97, 0.9191, 0.142),
        f"{LCAD}, comparison table",
        "complete",
        "raw decodes; whether PSNR is pooled or per picture is not said",
    ),
    Row(
        "extended-coco-stuff",
        "L-CAD without instance-aware sampling",
        _text(25.32, 0.9174, 0.147),
        f"{LCAD}, ablation",
        "complete",
    ),
    Row(
        "extended-coco-stuff",
        "L-CAD",
        _text(24.33, 0.9114, 0.157),
        f"{LCAD}, comparison table",
        "scarce",
    ),
    Row(
        "multi-instance",
        "L-CAD",
        _text(25.51, 0.9156, 0.127),
        f"{LCAD}, comparison table",
        "complete",
    ),
    Row(
        "multi-instance",
        "L-CAD",
        _text(24.19, 0.9108, 0.164),
        f"{LCAD}, comparison table",
        "scarce",
    ),
    Row(
        "imagenet-val5k",
        "L-CAD",
        {
            "fid": 4.36,
            "psnr_pooled": 24.47,
            "ssim_225": 0.92,
            "lpips": 0.16,
            "colourfulness": 34.04,
            "delta_colourfulness": 3.68,
        },
        f"{LCAD}, table 3",
        "scarce",
        TORCHVISION,
    ),
    Row(
        "imagenet-val5k",
        "MultiColor",
        {"fid": 2.17, "psnr_pooled": 24.69, "colourfulness": 38.24, "delta_colourfulness": 0.03},
        f"MultiColor, ACM MM 2024 (arXiv 2408.04172), {TABLES}",
        note=SQUASHED_TOO,
    ),
    Row(
        "imagenet-val5k",
        "SeAda",
        {"fid": 3.36, "psnr_pooled": 24.53, "colourfulness": 36.98, "delta_colourfulness": 1.23},
        f"SeAda, IJCAI 2025, {TABLES}",
    ),
    Row(
        "imagenet-val5k",
        "DDColor-L",
        {"fid": 3.92, "psnr_pooled": 23.85, "colourfulness": 38.26, "delta_colourfulness": 0.05},
        f"{DDCOLOR}, {TABLES}",
        note="FID by torchvision-style Inception; a user's rerun gave FID 3.78 and colourfulness "
        "34.33 (piddnad/DDColor#9)",
    ),
    Row("imagenet-val5k", "ColorFormer", {"fid": 4.64}, TABLES),
    Row("imagenet-val5k", "CT2", {"fid": 5.51}, TABLES),
    Row("imagenet-val5k", "GCP", {"fid": 5.95}, TABLES),
    Row(
        "imagenet-val5k",
        "ColorMF",
        {
            "fid": 9.72,
            "psnr_pooled": 22.34,
            "ssim": 0.9045,
            "lpips": 0.1812,
            "colourfulness": 25.96,
        },
        "ColorMF's repository, 2026, unpublished",
        note="the truth's colourfulness there is 38.65",
    ),
    Row(
        "imagenet-val50k-squashed",
        "MultiColor",
        {"fid": 0.42, "psnr_pooled": 24.58},
        f"MultiColor, ACM MM 2024 (arXiv 2408.04172), {TABLES}",
    ),
    Row(
        "imagenet-val50k-squashed",
        "DDColor-L",
        {"fid": 0.96, "psnr_pooled": 23.74, "colourfulness": 38.65, "delta_colourfulness": 0.44},
        f"{DDCOLOR}, {TABLES}",
    ),
    Row(
        "imagenet-val50k-squashed",
        "ColorMF",
        {"fid": 4.09},
        "ColorMF's repository, 2026, unpublished",
    ),
    Row(
        "coco-val5k",
        "VVFM-Color, one sample",
        {
            "fid": 7.92,
            "psnr_per_image": 20.90,
            "ssim": 0.930,
            "lpips": 0.201,
            "colourfulness": 34.43,
            "delta_colourfulness_per_image": 13.01,
            "ciede2000": 10.25,
        },
        f"VVFM-Color, SIGGRAPH 2024, {TABLES}",
        "complete",
        "its difference of colourfulness is the mean of the pictures' differences, where DDColor "
        "and MultiColor take the difference of means",
    ),
    Row(
        "coco-val5k",
        "ColorDiff-Image",
        {"fid": 9.80, "colourfulness": 41.51, "psnr_pooled": 21.02},
        "ColorDiff-Image, 2024 (arXiv 2404.16678), its first table",
        note="by the same table BigColor 10.24, ControlNet 10.86, InstColor 14.40, ColTran 15.06, "
        "CT2 25.87 FID",
    ),
    Row(
        "ctest10k",
        "CtrlColor, no hints",
        {"fid": 4.29, "colourfulness": 44.93},
        f"Control Color, IJCV 2025 (arXiv 2402.10855), {TABLES}",
        note="a rerun on 5,000 ImageNet pictures gave FID 23.57, colourfulness 29.0, PSNR 25.04, "
        "LPIPS 0.182 (ZhexinLiang/Control-Color#15): not reproduced",
    ),
    Row(
        "ctest10k",
        "Imagination",
        {
            "fid": 3.62,
            "psnr_pooled": 23.8,
            "ssim": 0.884,
            "lpips": 0.207,
            "colourfulness": 48.8,
        },
        f"Imagination, CVPR 2024 (arXiv 2404.05661), {TABLES}",
    ),
    Row(
        "ctest10k",
        "Palette",
        {"fid": 3.4},
        f"Palette, 2022, {TABLES}",
        note="against the statistics of all of val, not of the list",
    ),
)


def of(protocol: str) -> list[Row]:
    """The rows that are reported under a protocol."""
    return [row for row in ROWS if row.protocol == protocol]
