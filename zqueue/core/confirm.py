"""Confirms: what a broker has taken already.

A producer numbers its batches 1, 2, 3 … and keeps each until the broker has confirmed it; after a
loss it sends again what is there (`client.connection`). The broker keeps a `Taken` for every
producer, so that a number counts once however often it comes, in whatever order (idempotent
publishing as in Kafka's KIP-98).
"""

from __future__ import annotations

from collections.abc import Iterable

GAPS_MAX = 1024
"""Numbers that may be missing at once among those a broker has seen of one producer. An honest
producer has no more of them than its window is wide, which is less."""

MOVED_MAX = 2048
"""Numbers of other brokers that are remembered: more than a producer has unconfirmed batches of
several brokers, and what that takes is little."""


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

    @classmethod
    def recall(cls, highest: int, missing: Iterable[int]) -> Taken:
        """What another broker had taken: all up to the highest, but these."""
        taken = cls(highest + 1)
        taken._missing.update(missing)
        return taken

    def __repr__(self) -> str:
        return f"<Taken up to #{self.highest}, {len(self._missing)} missing>"

    def __contains__(self, sequence: int) -> bool:
        return sequence <= self.highest and sequence not in self._missing

    def begin(self, first: int) -> None:
        """Give up the gaps below a number: whoever could have filled them numbers on from there."""
        self._missing = {number for number in self._missing if number >= first}
        self.highest = max(self.highest, first - 1)

    def missing(self) -> set[int]:
        """The numbers below the highest that it has not taken."""
        return self._missing

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


class Moved:
    """Which batches a broker has taken that were numbered for other brokers: the last of them.

    They come in no order that says which are still to come, so each is remembered. One that is sent
    again after `MOVED_MAX` others were taken would be taken twice.
    """

    __slots__ = ("numbers",)

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self.numbers = dict.fromkeys(numbers)

    def __repr__(self) -> str:
        return f"<Moved {len(self.numbers)}>"

    def __contains__(self, sequence: int) -> bool:
        return sequence in self.numbers

    def add(self, sequence: int) -> bool:
        """Take a number. False if it was taken before."""
        if sequence in self.numbers:
            return False
        self.numbers[sequence] = None
        if len(self.numbers) > MOVED_MAX:
            del self.numbers[next(iter(self.numbers))]
        return True


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
