"""Gone: batches that a connection had and that went elsewhere, until its broker knows.

Theory of operation. Their numbers are told to the broker as soon as there is a link, on each link
anew until it confirms them. Some of them it may have run, or be running: a result that comes from
there counts if it is the first.
"""

from __future__ import annotations

from collections.abc import Callable

from ..core.confirm import to_ranges
from ..wire.link import Link
from ..wire.messages import Withdraw
from .sent import Sent

GONE_MAX = 1024
"""Batches whose results count if they come from here first."""

WITHDRAW_CHUNK = 512
"""Numbers in one `Withdraw`, so that its header stays within its limit."""


class Gone:
    """What went from the broker at the other end of a link. ``is_ours`` tells its own numbers."""

    def __init__(self, link: Link, is_ours: Callable[[int], bool]) -> None:
        self._link = link
        self._is_ours = is_ours
        self._sent: dict[int, Sent] = {}
        """By the number that it had here."""
        self._open: dict[int, None] = {}
        """Numbers that the broker has not confirmed."""
        self._told = 0
        """So many of them, the first, were told on this link."""

    def __repr__(self) -> str:
        return f"<Gone: {len(self._open)} to be told>"

    def add(self, sent: Sent) -> None:
        """A batch goes elsewhere."""
        self._sent[sent.sequence] = sent
        if len(self._sent) > GONE_MAX:
            del self._sent[next(iter(self._sent))]
        self._open[sent.sequence] = None

    def find(self, sequence: int) -> Sent | None:
        """The batch that had a number here."""
        return self._sent.get(sequence)

    def on_link(self) -> None:
        """There is another link, or none."""
        self._told = 0

    @property
    def is_telling(self) -> bool:
        """Whether the broker has not confirmed all of it."""
        return bool(self._open)

    def tell(self) -> None:
        """Tell what was not told on this link."""
        if self._told == len(self._open):
            return
        numbers = list(self._open)[self._told :]
        self._told = len(self._open)
        for i in range(0, len(numbers), WITHDRAW_CHUNK):
            chunk = numbers[i : i + WITHDRAW_CHUNK]
            ours = [number for number in chunk if self._is_ours(number)]
            theirs = [number for number in chunk if not self._is_ours(number)]
            self._link.send(Withdraw(to_ranges(ours), to_ranges(theirs)))

    def confirmed(self, sequence: int) -> None:
        """The broker confirms a number. It counts if it was told on this link."""
        if self._told and sequence in self._open:
            del self._open[sequence]
            self._told -= 1
