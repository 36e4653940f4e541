"""A process that reads damaged photographs: `python -m tests.trust.reading FOLDER COUNT SEED`.

It imports no more than reading needs, so that its memory is reading's. It prints a line of JSON.
"""

import collections
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from colorjax.colorize.files import photos
from colorjax.errors import UserError
from tests.trust import damage


def memory(name: str = "VmRSS") -> int:
    """Bytes of this process, now or at most (`VmHWM`)."""
    return memory_of("self", name)


def memory_of(process: int | str, name: str = "VmRSS") -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def main(folder: Path, count: int, seed: int) -> None:
    warnings.simplefilter("error")
    outcomes: collections.Counter[str] = collections.Counter()
    odd: list[str] = []
    sources = sorted(folder.iterdir())
    whole = {path: path.read_bytes() for path in sources}
    slowest = 0.0
    for number in range(count):
        source = sources[number % len(sources)]
        rng = np.random.default_rng([seed, number])
        path = folder.parent / f"damaged{source.suffix}"
        path.write_bytes(damage.damaged(whole[source], rng))
        start = time.process_time()
        try:
            photo = photos.load_photo(path)
            fine = np.isfinite(photo.rgb).all() and photo.rgb.min() >= 0 and photo.rgb.max() <= 1
            outcomes["read" if fine else "out of range"] += 1
        except UserError as error:
            told = str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 500
            outcomes["told" if told else "badly told"] += 1
        except BaseException as error:  # whatever it is, it is what is looked for
            outcomes[type(error).__name__] += 1
            odd.append(f"{source.name} {number}: {error!r}"[:300])
        slowest = max(slowest, time.process_time() - start)
    most = memory("VmHWM")  # getrusage would count the process that started this one
    told = {"outcomes": outcomes, "odd": odd, "slowest": slowest, "memory": most}
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
