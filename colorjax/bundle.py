"""Copies a release in half precision: `python -m colorjax.bundle --input=DIR --output=DIR`.

float16 keeps 11 bits of each weight; what that changes is measured by `colorjax.evaluate` on both.
"""

import argparse
from pathlib import Path

import numpy as np

from colorjax import errors, release

DTYPES = {"float16": np.float16, "float32": np.float32}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="colorjax.bundle", description=__doc__.split("\n")[0])
    parser.add_argument("--input", required=True, help="a release directory")
    parser.add_argument("--output", required=True, type=Path, help="a directory to write into")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="float16")
    args = parser.parse_args(arguments)
    source = release.locate(args.input)
    parts = {part: release.read_part(source, part) for part in sorted(release.parts_in(source))}
    config = release.read_config(source)
    release.write(args.output, config, parts, source / "tokenizer", DTYPES[args.dtype])
    total = sum(path.stat().st_size for path in args.output.rglob("*") if path.is_file())
    print(f"{', '.join(parts)} in '{args.output}', {total / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    errors.run(main)
