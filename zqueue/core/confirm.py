"""Confirms: what a producer may forget, and what a broker has taken already.

The two ends of one numbering. A producer numbers its batches 1, 2, 3 … and keeps each in a
`ConfirmWindow` until the broker has confirmed it; after a loss it sends again what is there.
The broker keeps a `Taken` for every producer, so that a number counts once however often it
comes, in whatever order (idempotent publishing as in Kafka's KIP-98).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

REORDER_MAX = 1024
"""How far numbers may lie apart that are under way at once, in batches. Both ends keep to it: a
producer does not number beyond it, a broker does not take beyond it. So the broker never has to
give up a gap, and its memory of a producer stays bounded."""


class ConfirmWindow(Generic[Item]):
    """Sent and not yet confirmed, in order; bounded by count and by how far numbers lie apart."""

    __slots__ = ("_items", "batches_max", "next_sequence")

    def __init__(self, batches_max: int) -> None:
        self.batches_max = batches_max
        self.next_sequence = 1
        self._items: dict[int, Item] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"<ConfirmWindow {len(self)} of {self.batches_max}, next #{self.next_sequence}>"

    def is_full(self) -> bool:
        """No further batch may be sent."""
        if len(self._items) >= self.batches_max:
            return True
        for lowest in self._items:
            return self.next_sequence - lowest >= REORDER_MAX
        return False

    def add(self, item: Item) -> int:
        """Number the next batch and keep it. Ask `is_full` before."""
        assert not self.is_full()
        sequence = self.next_sequence
        self.next_sequence += 1
        self._items[sequence] = item
        return sequence

    def get(self, sequence: int) -> Item | None:
        """What is kept under that number."""
        return self._items.get(sequence)

    def remove(self, sequence: int) -> Item | None:
        """Confirmed or refused: forget it. None if it was not there."""
        return self._items.pop(sequence, None)

    def items(self) -> Iterator[tuple[int, Item]]:
        """All that is kept, lowest number first."""
        return iter(list(self._items.items()))


class Taken:
    """Which numbers of one producer the broker has taken: all up to a mark, and some above.

    ``first`` is the first number ever heard. A producer that greets sends what is unconfirmed
    in rising order before anything else, so whatever lies below was another broker's.
    """

    __slots__ = ("_above", "mark")

    def __init__(self, first: int = 1) -> None:
        self.mark = first - 1
        self._above: set[int] = set()

    def __repr__(self) -> str:
        return f"<Taken up to #{self.mark}, {len(self._above)} above>"

    def __contains__(self, sequence: int) -> bool:
        return sequence <= self.mark or sequence in self._above

    def is_too_far(self, sequence: int) -> bool:
        """Whether a number lies so far ahead that those before it must be taken first."""
        return sequence > self.mark + REORDER_MAX

    def add(self, sequence: int) -> bool:
        """Take a number, not one that is too far. False if it was taken before."""
        if sequence == self.mark + 1 and not self._above:
            self.mark = sequence  # As it nearly always is.
            return True
        if sequence in self:
            return False
        self._above.add(sequence)
        while self.mark + 1 in self._above:
            self.mark += 1
            self._above.remove(self.mark)
        return True


def to_ranges(numbers: list[int]) -> list[int]:
    """Numbers as flat pairs ``[first, last, first, last, …]``, for a short message.

    >>> to_ranges([3, 1, 2, 7])
    [1, 3, 7, 7]
    """
    ranges: list[int] = []
    for number in sorted(numbers):
        if ranges and number <= ranges[-1] + 1:
            ranges[-1] = number
        else:
            ranges += (number, number)
    return ranges
