"""The kinds of files that photographs come in, by their suffixes, and the extras that read more."""

import importlib.util

from colorjax.data import decoding, raws

# A whitelist: Pillow's rarer decoders (PSD, FITS, EPS, ...) are more surface than use.
FORMATS = decoding.FORMATS | {
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), "PPM"),
    ".mpo": "JPEG",  # of stereo cameras and phones: JPEGs one behind the other
    ".jp2": "JPEG2000",
    ".avif": "AVIF",
}
# The extra of the package that reads pictures of these kinds.
EXTRAS = {".heic": "heic", ".heif": "heic", ".jxl": "jxl"} | dict.fromkeys(raws.SUFFIXES, "raw")
if importlib.util.find_spec("pillow_heif"):  # of the extra colorjax[heic]
    importlib.import_module("pillow_heif").register_heif_opener()
    FORMATS |= {".heic": "HEIF", ".heif": "HEIF"}
if importlib.util.find_spec("pillow_jxl"):  # of colorjax[jxl]; importing it is enough
    importlib.import_module("pillow_jxl")
    FORMATS |= {".jxl": "JXL"}
if importlib.util.find_spec("rawpy"):  # of colorjax[raw]
    FORMATS |= dict.fromkeys(raws.SUFFIXES, "RAW")
