"""Dead letters: tasks set aside after their last attempt, kept for people.

Theory of operation. Letters have ascending numbers and are kept by number. The newest are kept, for
the last error is the one that people look for; beyond a bound, in letters or in bytes, the oldest
is dropped and counted, for a handler with a fault can fail millions of tasks an hour. So every task
that ever became a letter is kept, or counted once: as evicted, replayed, or dropped by hand.

Letters that tell the same story (queue, task, type of error, reason) are a group. Groups are kept
as letters come and go, so how many there are of each, and since when, is known without a look at
the letters, and so is which letters a filter means, but for their age.
"""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Container, Iterator
from itertools import islice
from sys import getsizeof
from typing import NamedTuple

OVERHEAD_BYTES = 600
"""What keeping a letter costs beside its body, text and traceback, bytes."""

NUMBER_MAX = (1 << 63) - 1


class DeadLetter(NamedTuple):
    """A task that will not be tried again, and why."""

    number: int
    """1, 2, 3 … in the order in which tasks died, with gaps."""
    queue: str
    task: str
    body: bytes
    """The task's body, packed: an array of one."""
    reason: str
    """``failed``, ``timeout``, ``crashed``, ``malformed`` or ``expired``."""
    error: str
    """The name of the error's type; empty where nobody told."""
    text: str
    traceback: str
    deliveries: int
    """How often it was handed out."""
    failures: int
    timeouts: int
    crashes: int
    """Workers that died while they had it."""
    sent_s: float
    """When it was sent, seconds since 1970."""
    died_s: float
    """When it was set aside."""
    options: bytes
    """Its options, as they came with it; empty: none."""
    origin: int
    """Who sent it, with ``sequence`` and ``position``: the task's id."""
    sequence: int
    position: int

    @property
    def nbytes(self) -> int:
        """What keeping it costs."""
        texts = getsizeof(self.text) + getsizeof(self.traceback)
        return len(self.body) + len(self.options) + texts + OVERHEAD_BYTES

    @property
    def group(self) -> tuple[str, str, str, str]:
        """What it has in common with others."""
        return self.queue, self.task, self.error, self.reason


class Filter(NamedTuple):
    """Which letters are meant; what is None is not looked at."""

    queue: str | None = None
    task: str | None = None
    error: str | None = None
    reason: str | None = None
    since_s: float = 0.0
    """Set aside then or later, seconds since 1970."""


class Group(NamedTuple):
    """Letters that tell the same story."""

    queue: str
    task: str
    error: str
    reason: str
    letters: int
    first_s: float
    """When the oldest of them was set aside."""
    last_s: float
    newest: int
    """The number of the newest of them."""
    text: str
    """What its error said."""


class _Row:
    """Ascending numbers, some of which are gone."""

    __slots__ = ("_first", "kept", "numbers")

    def __init__(self) -> None:
        self.numbers = array("Q")
        self.kept = 0
        self._first = 0

    def add(self, number: int) -> None:
        self.numbers.append(number)
        self.kept += 1

    def gone(self, letters: Container[int]) -> None:
        """One of them is kept no more."""
        self.kept -= 1
        if len(self.numbers) > 2 * self.kept + 64:
            self.numbers = array("Q", (n for n in self.numbers if n in letters))
            self._first = 0

    def oldest(self, letters: Container[int]) -> int:
        while self.numbers[self._first] not in letters:
            self._first += 1
        return self.numbers[self._first]

    def newest(self, letters: Container[int]) -> int:
        while self.numbers[-1] not in letters:
            self.numbers.pop()
        return self.numbers[-1]

    def upwards(self, after: int) -> Iterator[int]:
        """Those above a number, also ones that are gone. Some may go meanwhile."""
        numbers = self.numbers
        position = bisect_right(numbers, after)
        while position < len(numbers):
            yield numbers[position]
            position += 1

    def downwards(self, before: int) -> Iterator[int]:
        """Those below a number, also ones that are gone."""
        numbers = self.numbers
        for position in range(bisect_right(numbers, before - 1) - 1, -1, -1):
            yield numbers[position]


class DeadLetters:
    """The newest dead letters, bounded by count and bytes; older ones make room and are counted."""

    __slots__ = ("_groups", "_letters", "_row", "bytes", "bytes_max", "dropped", "evicted",
                 "letters_max", "replayed", "total")  # fmt: skip

    def __init__(self, *, letters_max: int = 10_000, bytes_max: int = 64 << 20) -> None:
        self.letters_max = letters_max
        self.bytes_max = bytes_max
        self.bytes = 0
        self.total = 0
        """Letters that were ever added. All are kept, or counted by one of the next three."""
        self.evicted = 0
        """Letters that made room for newer ones."""
        self.replayed = 0
        self.dropped = 0
        """Letters that somebody dropped."""
        self._letters: dict[int, DeadLetter] = {}
        self._row = _Row()
        self._groups: OrderedDict[tuple[str, str, str, str], _Row] = OrderedDict()
        """The group of the newest letter stands last."""

    def __len__(self) -> int:
        return len(self._letters)

    def __repr__(self) -> str:
        return f"<DeadLetters {len(self)} kept, {self.evicted} evicted of {self.total}>"

    @property
    def groups_kept(self) -> int:
        """How many groups there are."""
        return len(self._groups)

    def add(self, letter: DeadLetter) -> list[DeadLetter]:
        """Keep a letter, whose number is above all before. Returns the oldest ones, which had to
        make room for it; the letter itself, if it is too large."""
        self.total += 1
        self._letters[letter.number] = letter
        self._row.add(letter.number)
        self.bytes += letter.nbytes
        row = self._groups.get(letter.group)
        if row is None:
            row = self._groups[letter.group] = _Row()
        else:
            self._groups.move_to_end(letter.group)
        row.add(letter.number)
        evicted = []
        while not self.has_room(0):
            oldest = self._letters[self._row.oldest(self._letters)]
            self._remove(oldest)
            evicted.append(oldest)
        self.evicted += len(evicted)
        return evicted

    def has_room(self, nbytes: int, letters: int = 0) -> bool:
        """Whether so much more can be kept with nothing dropped for it."""
        return len(self) + letters <= self.letters_max and self.bytes + nbytes <= self.bytes_max

    def get(self, number: int) -> DeadLetter | None:
        """The letter of that number, if it is kept."""
        return self._letters.get(number)

    def replay(self, letter: DeadLetter) -> None:
        """A letter that is kept became a task again."""
        self._remove(letter)
        self.replayed += 1

    def drop(self, letter: DeadLetter) -> None:
        """Somebody wants a letter that is kept to be kept no more."""
        self._remove(letter)
        self.dropped += 1

    def _remove(self, letter: DeadLetter) -> None:
        del self._letters[letter.number]
        self.bytes -= letter.nbytes
        self._row.gone(self._letters)
        row = self._groups[letter.group]
        row.gone(self._letters)
        if not row.kept:
            del self._groups[letter.group]

    def newest(self, count: int) -> list[DeadLetter]:
        """The newest so many, newest first."""
        return list(islice(self.newest_first(Filter()), count))

    def oldest_first(
        self, wanted: Filter, after: int = 0, upto: int = NUMBER_MAX
    ) -> Iterator[DeadLetter]:
        """The letters that are meant with numbers above ``after``, up to ``upto``. Those that it
        gave may go meanwhile."""
        rows = [row.upwards(after) for row in self._rows(wanted)]
        for number in rows[0] if len(rows) == 1 else heapq.merge(*rows):
            if number > upto:
                return
            letter = self._letters.get(number)
            if letter is not None and letter.died_s >= wanted.since_s:
                yield letter

    def newest_first(self, wanted: Filter, before: int = NUMBER_MAX) -> Iterator[DeadLetter]:
        """The letters that are meant with numbers below ``before``."""
        rows = [row.downwards(before) for row in self._rows(wanted)]
        for number in rows[0] if len(rows) == 1 else heapq.merge(*rows, reverse=True):
            letter = self._letters.get(number)
            if letter is not None and letter.died_s >= wanted.since_s:
                yield letter

    def groups(self, wanted: Filter) -> Iterator[Group]:
        """The groups of the letters that are meant, the one with the newest letter first.

        By age, every letter has to be looked at; by all else, none.
        """
        letters = self._letters
        for key, row in reversed(self._groups.items()):
            if not _matches(key, wanted):
                continue
            oldest, newest = letters[row.oldest(letters)], letters[row.newest(letters)]
            count = row.kept
            if wanted.since_s:
                young = [letter for letter in map(letters.get, row.numbers)
                         if letter is not None and letter.died_s >= wanted.since_s]  # fmt: skip
                if not young:
                    continue
                count, oldest, newest = len(young), young[0], young[-1]
            yield Group(*key, count, oldest.died_s, newest.died_s, newest.number, newest.text)

    def _rows(self, wanted: Filter) -> list[_Row]:
        """Where the numbers of the letters are that are meant."""
        if wanted[:4] == (None, None, None, None):
            return [self._row]
        return [row for key, row in self._groups.items() if _matches(key, wanted)]


def _matches(key: tuple[str, str, str, str], wanted: Filter) -> bool:
    return all(want is None or want == have for want, have in zip(wanted[:4], key, strict=True))
