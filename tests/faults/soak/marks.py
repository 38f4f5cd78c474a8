"""Marks: one byte for each numbered task, in files that all processes of a soak have mapped.

What a process stored there stays when it is killed. Each file has one kind of writer, and a byte
only goes from 0 to 1, so nobody needs a lock.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable
from pathlib import Path

LIFE_TASKS = 1 << 22
"""Numbers for one life of a producer: at 1,000 tasks/s more than an hour."""
LIVES_MAX = 4096

CONFIRMED, DONE, MENDED = "confirmed", "done", "mended"


class Marks:
    """The marks of one kind. Numbers nobody used take no room: the file has holes."""

    def __init__(self, folder: Path, kind: str) -> None:
        descriptor = os.open(folder / kind, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            size = LIFE_TASKS * LIVES_MAX
            os.ftruncate(descriptor, size)
            self._bytes = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)

    def __getitem__(self, number: int) -> int:
        return self._bytes[number]

    def set(self, numbers: Iterable[int]) -> None:
        """Mark these."""
        for number in numbers:
            self._bytes[number] = 1

    def life(self, number: int) -> bytes:
        """All marks of a life of a producer."""
        return self._bytes[number * LIFE_TASKS : (number + 1) * LIFE_TASKS]


def missing(confirmed: Marks, done: Marks, lives: int) -> list[int]:
    """Numbers of tasks that were confirmed and never done."""
    found: list[int] = []
    for life in range(lives):
        told, ran = (int.from_bytes(marks.life(life), "little") for marks in (confirmed, done))
        left = (told & ~ran).to_bytes(LIFE_TASKS, "little")
        at = left.find(1)
        while at >= 0:
            found.append(life * LIFE_TASKS + at)
            at = left.find(1, at + 1)
    return found
