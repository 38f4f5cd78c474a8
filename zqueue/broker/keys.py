"""Keys: which tasks were sent under a key, for as long as it counts.

Theory of operation. The first task that a queue takes under a key has it for a *window*, whatever
becomes of the task: while it waits or runs, when it is done, failed, dead, cancelled or expired.
What is sent under the key within the window is not put in the queue; its sender hears which task
has the key. When the window ends the key is free.

Keys count against the bytes that the broker may hold, up to a share of them. Beyond that nothing is
forgotten, for then a task would run twice that should run once: what comes with another key is
refused as if the queue were full, until windows end.

With a store a key is an entry of the journal, noted behind its task. Where only the task was stored
the key is found with it.
"""

from __future__ import annotations

from typing import NamedTuple

from ..core.batch import Published
from ..core.records import KEY
from ..core.timers import Timers
from ..wire.options import TaskOptions
from .book import Book, Timer
from .peers import ProducerPeer, origin_number

KEY_WINDOW_MS = 3_600_000
"""How long a key counts if its sender says nothing of that, milliseconds."""

OVERHEAD_BYTES = 700
"""What a key costs beside its text."""

SHARE = 4
"""Keys may take the share of one in so many of the bytes that a broker may hold."""

Name = tuple[str, str]
"""The queue and the key."""


class First(NamedTuple):
    """The task that has a key."""

    origin: int
    sequence: int
    entry: int
    """Of the key, in the journal; 0: it is not there."""


class Keys:
    """Keys of all queues, and the ends of their windows."""

    def __init__(self, book: Book) -> None:
        self.is_complete = True
        """Not while there may be some that a broker before this one noted."""
        self._book = book
        self._first: dict[Name, First] = {}
        self._ends: Timers[Name] = Timers()
        self._armed: float | None = None

    def __repr__(self) -> str:
        return f"<Keys: {len(self)} of {self._book.budget.keys} bytes>"

    def __len__(self) -> int:
        return len(self._first)

    def find(self, queue: str, key: str) -> First | None:
        """The task that has a key now."""
        return self._first.get((queue, key))

    def has_room(self, queue: str, options: TaskOptions) -> bool:
        """Whether a task with these options need not wait until windows end."""
        key, budget = options.key, self._book.budget
        if key is None or (queue, key) in self._first:
            return True
        if not self.is_complete:
            return False
        return budget.keys + _size(key) <= budget.bytes_max // SHARE

    @property
    def why_full(self) -> str:
        """Why a task with a key has to wait."""
        if self.is_complete:
            return "too many keys count at once"
        return "the broker has not read all keys yet"

    def take(self, frame: Published, options: TaskOptions) -> None:
        """A task of a producer was put in its queue, and has its key, if any, from now on."""
        key, book = options.key, self._book
        if key is None or (frame.queue, key) in self._first:
            return  # It is its own: the key was stored, and the task was not.
        assert isinstance(frame.origin, ProducerPeer)
        origin, window_ms = frame.origin.number, window_of(options)
        entry = 0
        if book.journal is not None:
            meta = [key, origin, frame.sequence, book.wall_ms() + window_ms]
            entry = book.journal.entry(KEY, frame.queue, 1, meta, b"")
        self._add(frame.queue, key, First(origin, frame.sequence, entry), window_ms)

    def restore(
        self, queue: str, key: str, origin: int, sequence: int, until_ms: int, entry: int
    ) -> None:
        """A broker before this one noted it, with its end by the wall clock."""
        left_ms = until_ms - self._book.wall_ms()
        known = self._first.get((queue, key))
        if left_ms <= 0 or (known is not None and known.entry):
            if entry and self._book.journal is not None:
                self._book.journal.over(entry, 0, 1)
        elif known is not None:
            self._first[queue, key] = First(origin, sequence, entry)
        else:
            self._add(queue, key, First(origin, sequence, entry), left_ms)

    def restore_from(
        self, queue: str, options: TaskOptions, producer: bytes, sequence: int, at_ms: int
    ) -> None:
        """A task was found, which was put at a time of the wall clock: it has its key."""
        if options.key is not None:
            until_ms = at_ms + window_of(options)
            self.restore(queue, options.key, origin_number(producer), sequence, until_ms, 0)

    def end(self) -> None:
        """Time has passed: windows have ended."""
        book = self._book
        for queue, key in self._ends.due(book.now):
            first = self._first.pop((queue, key))
            self._count(-_size(key))
            if first.entry and book.journal is not None:
                book.journal.over(first.entry, 0, 1)
        self._arm()

    def _add(self, queue: str, key: str, first: First, window_ms: int) -> None:
        self._first[queue, key] = first
        self._ends.set((queue, key), self._book.now + window_ms / 1000)
        self._count(_size(key))
        self._arm()

    def _arm(self) -> None:
        """One of the broker's timers for all of them: the next end."""
        deadline = self._ends.next_deadline()
        if deadline is not None and deadline != self._armed:
            self._book.timers.set((Timer.KEYS, None), deadline)
        self._armed = deadline

    def _count(self, nbytes: int) -> None:
        self._book.budget.keys += nbytes
        self._book.budget.bytes += nbytes


def window_of(options: TaskOptions) -> int:
    """How long the key of a task counts, milliseconds."""
    return KEY_WINDOW_MS if options.key_window_ms is None else options.key_window_ms


def _size(key: str) -> int:
    return len(key.encode()) + OVERHEAD_BYTES
