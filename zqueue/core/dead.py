"""Dead letters: tasks set aside after their last attempt, kept for people."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple


class DeadLetter(NamedTuple):
    """A task that will not be tried again, and why."""

    queue: str
    task: str
    body: bytes
    """The task's body, packed: an array of one."""
    reason: str
    """``failed``, ``timeout``, ``crashed`` or ``malformed``."""
    error: bytes
    """``[type, text, traceback]`` as the worker packed it; empty where no worker spoke."""
    attempt: int

    @property
    def nbytes(self) -> int:
        """What keeping it costs."""
        return len(self.body) + len(self.error) + 400


class DeadLetters:
    """The newest dead letters, bounded by count and bytes; older ones make room and are counted.

    Bounded, because a handler with a bug can fail millions of tasks an hour; the newest,
    because the last error is the one people look for.
    """

    __slots__ = ("_letters", "bytes", "bytes_max", "evicted", "letters_max", "total")

    def __init__(self, *, letters_max: int = 10_000, bytes_max: int = 16 << 20) -> None:
        self.letters_max = letters_max
        self.bytes_max = bytes_max
        self.bytes = 0
        self.total = 0
        self.evicted = 0
        self._letters: deque[DeadLetter] = deque()

    def __len__(self) -> int:
        return len(self._letters)

    def __repr__(self) -> str:
        return f"<DeadLetters {len(self)} kept, {self.evicted} evicted of {self.total}>"

    def add(self, letter: DeadLetter) -> None:
        """Keep a dead letter, at the cost of the oldest if need be."""
        self.total += 1
        self._letters.append(letter)
        self.bytes += letter.nbytes
        while len(self._letters) > self.letters_max or self.bytes > self.bytes_max:
            self.bytes -= self._letters.popleft().nbytes
            self.evicted += 1

    def newest(self, count: int) -> list[DeadLetter]:
        """The newest so many, newest first."""
        return [letter for _, letter in zip(range(count), reversed(self._letters), strict=False)]
