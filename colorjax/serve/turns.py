"""A queue in which clients take turns: one with a hundred pictures does not keep others waiting."""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, Protocol, TypeVar, runtime_checkable


@runtime_checkable
class Waits(Protocol):
    """What can wait in the queue."""

    @property
    def client(self) -> str:
        """Whose it is."""

    @property
    def group(self) -> Hashable:
        """What of it can be computed together: that of the same group."""


Item = TypeVar("Item", bound=Waits)


def _always(item: object) -> bool:
    return True


class Turns(Generic[Item]):
    """Items by client, each client's oldest first. Not safe for threads: its owner has a lock."""

    def __init__(self) -> None:
        self._lanes: OrderedDict[str, deque[Item]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def of_client(self, client: str) -> int:
        """How many of a client's items wait."""
        return len(self._lanes.get(client, ()))

    def add(self, item: Item) -> None:
        """Puts an item behind those of its client."""
        self._lanes.setdefault(item.client, deque()).append(item)

    def remove(self, item: Item) -> bool:
        """Takes an item out, wherever it is; False if it does not wait."""
        lane = self._lanes.get(item.client, deque())
        if item not in lane:
            return False
        lane.remove(item)
        if not lane:
            del self._lanes[item.client]
        return True

    def in_order(self) -> Iterator[Item]:
        """All items as their turns come: every client's first, then every client's second."""
        lanes = [list(lane) for lane in self._lanes.values()]
        for round_ in range(max(map(len, lanes), default=0)):
            yield from (lane[round_] for lane in lanes if round_ < len(lane))

    def together(self, most: int, may: Callable[[Item], bool] = _always) -> list[Item]:
        """Whose turn it is, and what of the following turns can be computed with it.

        Args:
            may: whether an item's turn can come now; what it is not for is passed over.
        """
        items: list[Item] = []
        for item in filter(may, self.in_order()):
            if len(items) < most and (not items or item.group == items[0].group):
                items.append(item)
        return items

    def take(self, most: int, may: Callable[[Item], bool] = _always) -> list[Item]:
        """Removes and returns `together`; clients who had their turn go to the end."""
        items = self.together(most, may)
        for item in items:
            self.remove(item)
            if item.client in self._lanes:
                self._lanes.move_to_end(item.client)
        return items
