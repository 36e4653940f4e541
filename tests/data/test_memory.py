"""The memory of a process that reads stays flat."""

import gc
import os
from pathlib import Path

import pytest

from colorjax.data import pipeline, records
from colorjax.data.tokenizer import Tokenizer
from tests import pictures

TOKENIZER = Path(__file__).parent.parent / "assets" / "tokenizer"
RECORDS, BATCH = 50_000, 50


def resident() -> int:
    """Bytes of memory this process holds."""
    gc.collect()
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_fifty_thousand_records_with_as_many_captions(tmp_path):
    """Different sizes, different captions and five shards; the first tenth may grow."""
    files = [pictures.jpeg(i, height=200 + 4 * i, width=320 - 3 * i) for i in range(32)]
    for shard in range(5):
        rows = (
            records.Record(
                f"{i:06d}", files[i % 32], None, {"complete": [f"a red car number {i} in town"]}
            )
            for i in range(shard * RECORDS // 5, (shard + 1) * RECORDS // 5)
        )
        records.write_shard(tmp_path / records.shard_name("train", shard, 5), rows)
    batches = pipeline.train_batches(
        tmp_path,
        "train",
        size=128,
        batch_size=BATCH,
        seed=0,
        tokenize=Tokenizer(TOKENIZER, 77),
        scarce_share=0.0,
        drop_share=0.0,
    )
    sizes = []
    for step in range(RECORDS // BATCH):
        next(batches)
        if step % (RECORDS // BATCH // 10) == 99:
            sizes.append(resident())
    batches.close()
    print([size >> 20 for size in sizes], "MiB")
    assert max(sizes[1:]) < 1.05 * sizes[0]
