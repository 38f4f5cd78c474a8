"""Which files are ready to be written, and which are not needed any more.

A segment that went is written again as another one, but not before the commit is synced that says
that it went. Of what is ready there are always a few, and the writer makes them between commits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from . import format as f
from .segments import COLD, HOT, NUMBER_BITS, Segment, number_of
from .survey import name_of
from .writer import Make, Writer

SPARES = 2
"""Files that are ready to be written: as long as there is no room for them, the disk is full."""

SPARES_MAX = 4
"""Files that are kept to be written again, which is quicker than to make them."""


class Doomed(NamedTuple):
    """A segment that goes once a commit is synced."""

    commit: int
    stream: int
    first: int
    name: str


class Spares:
    """Segments to write, and those that go. ``last_number`` is that of the last segment there was;
    ``chance`` gives random bits for stamps."""

    def __init__(
        self, writer: Writer, segment_bytes: int, chance: Callable[[], int], last_number: int
    ) -> None:
        self.doomed: deque[Doomed] = deque()
        self._writer = writer
        self._segment_bytes = segment_bytes
        self._chance = chance
        self._last_number = last_number
        self._stamps: deque[int] = deque()
        """Of segments to write, those that are being made included."""

    def __repr__(self) -> str:
        return f"<Spares: {self.ready()} of {len(self)} ready, {len(self.doomed)} doomed>"

    def __len__(self) -> int:
        return len(self._stamps)

    def begin(self, stamps: Iterable[int], spent: Iterable[str]) -> None:
        """These were found: segments that were never written, and files that are not needed."""
        self._stamps.extend(sorted(stamps, key=number_of))
        self._writer.made.update(name_of(number_of(stamp)) for stamp in self._stamps)
        self.doomed.extend(Doomed(0, COLD, 0, name) for name in spent)

    def take(self) -> int:
        """The stamp of the next segment to write."""
        if not self._stamps:
            self._order()
        return self._stamps.popleft()

    def ready(self) -> int:
        """How many were made."""
        made = self._writer.made
        return sum(name_of(number_of(stamp)) in made for stamp in self._stamps)

    def doom(self, commit: int, segments: Iterable[Segment]) -> None:
        """Segments go once a commit is synced."""
        self.doomed.extend(
            Doomed(commit, gone.stream, gone.first, name_of(gone.number)) for gone in segments
        )

    def lowest(self, lowest: int) -> int:
        """The lowest number of which there may be an entry in a hot file; ``lowest`` is that in a
        file that is needed."""
        if not self.doomed:
            return lowest
        gone = [doomed.first for doomed in self.doomed if doomed.stream == HOT]
        return min(gone, default=lowest)

    def reclaim(self, synced: int) -> None:
        """So many commits are synced: what is not needed is written again, and some are ready."""
        while self.doomed and self.doomed[0].commit <= synced:
            name = self.doomed.popleft().name
            if len(self._stamps) < SPARES_MAX:
                self._order(name)
            else:
                self._writer.make(Make("", old=name))
        while len(self._stamps) < SPARES:
            self._order()

    def _order(self, old: str = "") -> None:
        """Have a segment made, anew or out of an old file."""
        self._last_number += 1
        stamp = self._chance() << NUMBER_BITS | self._last_number
        self._stamps.append(stamp)
        name = name_of(self._last_number)
        self._writer.make(Make(name, f.pack_segment(stamp), self._segment_bytes, old))
