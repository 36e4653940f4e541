"""What is kept of the pictures while they pass: a few numbers of each, and moments of features.

No picture and, but for a KID's first thousands, no feature stays, so memory does not grow with
pictures beyond some bytes for each. Tallies of several processes add up to that of one.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from colorjax.maths import distributions
from colorjax.maths.distributions import Moments

KID_PICTURES = 5000  # whose features are kept, and
KID_BLOCK = 1000  # of how many a discrepancy is taken: five blocks of the original's subsets' size
FEATURES = "features_"


class Tally:
    """Values by picture and by row, and moments of features by row.

    Attributes:
        rows: names of the rows of the table.
    """

    def __init__(self, rows: Sequence[str]) -> None:
        """Of no picture yet."""
        self.rows = tuple(rows)
        self._values: dict[str, list[Float[np.ndarray, "n r"]]] = {}
        self._places: list[np.ndarray] = []
        self._keys: list[str] = []
        self._moments: dict[str, list[Moments]] = {}
        self._kept: dict[str, list[np.ndarray]] = {}

    def add(self, places: np.ndarray, keys: Sequence[str], values: Mapping[str, Any]) -> None:
        """The values of a batch: `[n, rows]`, and features `[n, rows, d]`."""
        self._places.append(np.asarray(places, np.int64))
        self._keys += keys
        for name, value in values.items():
            if not name.startswith(FEATURES):
                self._values.setdefault(name, []).append(np.asarray(value, np.float64))
                continue
            batch = [Moments.of(value[:, row]) for row in range(len(self.rows))]
            sums = self._moments.get(name)
            self._moments[name] = (
                batch if sums is None else [a + b for a, b in zip(sums, batch, strict=True)]
            )
            first = np.asarray(value)[np.asarray(places) < KID_PICTURES]
            self._kept.setdefault(name, []).append(first)

    def packed(self) -> bytes:
        """All of it, to be sent to the other processes."""
        arrays: dict[str, np.ndarray] = {"places": self.places}
        arrays["keys"] = np.array(self._keys, dtype=np.str_)
        arrays["rows"] = np.array(self.rows, dtype=np.str_)
        for name, parts in self._values.items():
            arrays[f"value/{name}"] = np.concatenate(parts)
        for name, moments in self._moments.items():
            arrays[f"kept/{name}"] = np.concatenate(self._kept[name])
            arrays[f"count/{name}"] = np.array([one.number for one in moments])
            arrays[f"mean/{name}"] = np.stack([one.mean for one in moments])
            arrays[f"scatter/{name}"] = np.stack([one.scatter for one in moments])
        file = io.BytesIO()
        np.savez(file, **arrays)  # type: ignore[arg-type]
        return file.getvalue()

    @classmethod
    def joined(cls, parts: Sequence[bytes]) -> "Tally":
        """The tallies of all processes as one, in the order of the list."""
        tally = cls(())
        for part in parts:
            with np.load(io.BytesIO(part), allow_pickle=False) as arrays:
                tally._extend({name: arrays[name] for name in arrays.files})
        order = np.argsort(tally.places, kind="stable")
        tally._values = {name: [np.concatenate(v)[order]] for name, v in tally._values.items()}
        kept = np.argsort(tally.places[tally.places < KID_PICTURES], kind="stable")
        tally._kept = {name: [np.concatenate(v)[kept]] for name, v in tally._kept.items()}
        tally._keys = [tally._keys[i] for i in order]
        tally._places = [tally.places[order]]
        return tally

    def _extend(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.rows = tuple(str(row) for row in arrays["rows"])
        self._places.append(arrays["places"])
        self._keys += [str(key) for key in arrays["keys"]]
        for entry, array in arrays.items():
            kind, _, name = entry.partition("/")
            if kind == "value":
                self._values.setdefault(name, []).append(array)
            elif kind == "kept":
                self._kept.setdefault(name, []).append(array)
            elif kind == "count":
                sent = zip(array, arrays[f"mean/{name}"], arrays[f"scatter/{name}"], strict=True)
                moments = [Moments(int(count), mean, scatter) for count, mean, scatter in sent]
                sums = self._moments.get(name)
                self._moments[name] = (
                    moments if sums is None else [a + b for a, b in zip(sums, moments, strict=True)]
                )

    @property
    def places(self) -> np.ndarray:
        """Of the pictures in the split."""
        return np.concatenate(self._places)

    @property
    def keys(self) -> list[str]:
        """The pictures' names."""
        return self._keys

    def scores(self, row: str) -> dict[str, Float[np.ndarray, " n"]]:
        """Every value of every picture, of one row."""
        column = self.rows.index(row)
        return {name: np.concatenate(parts)[:, column] for name, parts in self._values.items()}

    def networks(self) -> list[str]:
        """Whose features there are."""
        return [name.removeprefix(FEATURES) for name in self._moments]

    def moments(self, network: str, row: str) -> Moments:
        """Of one row's features."""
        return self._moments[FEATURES + network][self.rows.index(row)]

    def kid(self, network: str, row: str, truth: str) -> float:
        """1000 times the mean squared discrepancy over blocks of up to 1,000 pictures.

        Disjoint blocks of the list's first 5,000, where the original draws subsets with
        repetition (Binkowski et al. 2018): as unbiased, and the same at every run. NaN of fewer
        than 2 pictures.
        """
        whole = np.concatenate(self._kept[FEATURES + network])
        if len(whole) < 2:
            return float("nan")
        blocks = np.array_split(whole, max(1, len(whole) // KID_BLOCK))
        own, true = self.rows.index(row), self.rows.index(truth)
        values = [distributions.polynomial_mmd(block[:, own], block[:, true]) for block in blocks]
        return 1000.0 * float(np.mean(values))
