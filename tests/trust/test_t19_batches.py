"""T19: a thousand photographs, some damaged, killed often: each is made once and whole."""

from pathlib import Path

from tests.colorize import restarts
from tests.trust.conftest import Row


def test_killed_batches(tmp_path: Path, row: Row) -> None:
    count, damaged = row.count(60, 1000), row.count(3, 50)
    seen = restarts.killed(
        tmp_path, count=count, damaged=damaged, kills=row.count(1, 20), seed=row.seed
    )
    row.tell(
        f"{count:,} photographs, {seen.kills} kills: {seen.results} whole results, "
        f"{seen.again} made again that were not yet written, {seen.listed} damaged ones listed"
    )
