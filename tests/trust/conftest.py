"""What every row of the reliability suite has: its count, its seed, and a place for its figures."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.trust.forked import Trainings

TOLD = "COLORJAX_TRUST"  # a file, where figures are appended
SHORT = "COLORJAX_TRUST_SHORT"  # the short counts all the same
_outcomes = {"passed": 0, "failed": 0}
_skipped: list[str] = []


class Row:
    """One test of a row: how much it tries, and what it says of what it saw."""

    def __init__(self, seed: int) -> None:
        self.is_full = TOLD in os.environ and SHORT not in os.environ
        self.seed = seed

    def count(self, quick: int, full: int) -> int:
        """How often it is tried: a few times among the other tests, as asked by `make trust`."""
        return full if self.is_full else quick

    def rng(self, *numbers: int) -> np.random.Generator:
        """Random numbers that are the same each time, by the row's seed and `numbers`."""
        return np.random.default_rng([self.seed, *numbers])

    def tell(self, figure: str) -> None:
        """Prints a figure, which `make trust` puts into its table."""
        print(f"{figure} (seed {self.seed})")
        if TOLD in os.environ:
            append({"figure": figure})


def append(line: dict[str, object]) -> None:
    with Path(os.environ[TOLD]).open("a") as file:
        file.write(json.dumps(line) + "\n")


@pytest.fixture
def row() -> Row:
    """Its seed is 0, or what COLORJAX_TRUST_SEED says: a failure can be made again."""
    return Row(int(os.environ.get("COLORJAX_TRUST_SEED", "0")))


@pytest.fixture(scope="session")
def trainings() -> Iterator[Trainings]:
    """What starts small trainings in a moment each."""
    with Trainings() as running:
        yield running


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped:
        _skipped.append(str(report.longrepr[-1] if report.longrepr else report.nodeid))
    elif report.when == "call" or report.failed:
        _outcomes[report.outcome] += 1


def pytest_sessionfinish() -> None:
    if TOLD in os.environ:
        append({"outcomes": _outcomes, "skipped": _skipped})
