"""Searches by hypothesis that try the same examples each time, and JSON with anything in it."""

import copy
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

NUMBERS = st.sampled_from([0, -1, 1, 3, 7, 10**6, 10**40, 0.5, -0.0, 1e308, 5e-324])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(), part, max_size=4),
    max_leaves=8,
)
_GONE = object()


def searched(count: int) -> settings:
    """So many examples, however long each takes; what fails is found again by the same seed."""
    return settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],  # shrinking prompts of 10,000 takes minutes
    )


def changed(value: Any) -> st.SearchStrategy[Any]:
    """A JSON value with up to three of its parts replaced by anything, or taken away."""
    new = JSON | st.just(_GONE)
    change = st.tuples(st.sampled_from(_places(value)), new)
    return st.lists(change, min_size=1, max_size=3).map(lambda changes: _applied(value, changes))


def _places(value: Any, place: tuple = ()) -> list[tuple]:
    inner = value.items() if isinstance(value, dict) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    deeper = [found for key, part in inner for found in _places(part, (*place, key))]
    return ([place] if place else []) + deeper


def _applied(value: Any, changes: list[tuple[tuple, Any]]) -> Any:
    result = copy.deepcopy(value)
    for (*way, key), new in changes:
        part = result
        try:
            for step in way:
                part = part[step]
            if isinstance(part, dict) and not isinstance(key, str):
                continue  # a list was there before
            if new is _GONE:
                del part[key]
            else:
                part[key] = new
        except (IndexError, KeyError, TypeError):  # another change has taken it away
            continue
    return result
