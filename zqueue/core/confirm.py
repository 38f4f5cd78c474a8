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

GAPS_MAX = 1024
"""Numbers that may be missing at once among those a broker has seen of one producer. An honest
producer has no more of them than its window is wide, which is less."""


class ConfirmWindow(Generic[Item]):
    """Sent and not yet confirmed, in order; bounded by count."""

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
        return len(self._items) >= self.batches_max

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
    """Which numbers of one producer the broker has taken: all up to the highest, but for gaps.

    ``first`` is the first number ever heard. A producer that greets sends what is unconfirmed
    in rising order before anything else, so whatever lies below was another broker's. A gap is
    never given up, so a batch that waits for room may wait as long as it must while others of
    its producer go on.
    """

    __slots__ = ("_missing", "highest")

    def __init__(self, first: int = 1) -> None:
        self.highest = first - 1
        self._missing: set[int] = set()

    def __repr__(self) -> str:
        return f"<Taken up to #{self.highest}, {len(self._missing)} missing>"

    def __contains__(self, sequence: int) -> bool:
        return sequence <= self.highest and sequence not in self._missing

    def is_too_far(self, sequence: int) -> bool:
        """Whether taking a number would leave too many gaps: those must be filled first."""
        return sequence - self.highest - 1 + len(self._missing) > GAPS_MAX

    def add(self, sequence: int) -> bool:
        """Take a number, not one that is too far. False if it was taken before."""
        if sequence > self.highest:
            self._missing.update(range(self.highest + 1, sequence))
            self.highest = sequence
            return True
        if sequence in self._missing:
            self._missing.remove(sequence)
            return True
        return False


def to_ranges(numbers: list[int]) -> list[int]:
    """Numbers as flat pairs ``[first, last, first, last, …]``, for a short message.

    >>> to_ranges([3, 1, 2, 7])
    [1, 3, 7, 7]
    """
    if len(numbers) == 1:
        return [numbers[0], numbers[0]]
    ranges: list[int] = []
    for number in sorted(numbers):
        if ranges and number <= ranges[-1] + 1:
            ranges[-1] = number
        else:
            ranges += (number, number)
    return ranges
