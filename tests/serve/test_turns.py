"""Whose turn it is."""

from dataclasses import dataclass

from colorjax.serve.turns import Turns


@dataclass(frozen=True, eq=False)
class Item:
    name: str
    client: str
    group: str = "g"


def names(items) -> str:
    return "".join(item.name for item in items)


def filled(*rows: tuple[str, str, str]) -> Turns:
    turns: Turns[Item] = Turns()
    for row in rows:
        turns.add(Item(*row))
    return turns


def test_clients_take_turns() -> None:
    turns = filled(
        *[(name, "anna", "g") for name in "abcdef"], ("x", "bert", "g"), ("y", "carl", "g")
    )
    assert names(turns.in_order()) == "axybcdef"
    assert names(turns.take(2)) == "ax", "two of one batch are of two clients"
    assert names(turns.take(2)) == "yb", "who had a turn is behind"
    assert names(turns.take(9)) == "cdef" and len(turns) == 0
    assert turns.take(4) == []


def test_only_what_is_of_one_group_is_taken_together() -> None:
    turns = filled(
        ("a", "anna", "wide"), ("b", "anna", "tall"), ("x", "bert", "tall"), ("c", "anna", "wide")
    )
    assert names(turns.together(4)) == names(turns.take(4)) == "ac"
    assert names(turns.take(4)) == "xb"


def test_what_is_removed_has_no_turn() -> None:
    turns = filled(("a", "anna", "g"), ("b", "anna", "g"), ("x", "bert", "g"))
    (first, second, third) = turns.in_order()
    assert turns.remove(second) and not turns.remove(second)
    assert names(turns.in_order()) == "ab" and turns.of_client("bert") == 0
    assert turns.of_client("anna") == 2 and len(turns) == 2
