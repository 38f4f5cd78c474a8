"""A far row: entries of a queue that wait in the store, as little of each as finds it again.

Most of a long queue is far from its front. What is there takes some fifty bytes of memory an entry,
packed in large pieces, and no object: its batch is made, and its body read, when its turn comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from struct import Struct

from .records import PUT, Found, Run

PIECE_BYTES = 1 << 16
"""Of a piece of the row: it is freed when all of it has been taken."""

_HEAD = Struct("<QIQHH")
"""Number, tasks, bytes of the body, of ``meta``, and runs."""
_RUN = Struct("<IIH")
"""First task, tasks, bytes of its ``meta``."""


class FarRow:
    """Entries in order, the first taken first."""

    __slots__ = ("_at", "_newer", "_older", "bytes", "entries", "memory_bytes", "queue", "tasks")

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self.entries = 0
        self.tasks = 0
        """How many of all its entries are open."""
        self.bytes = 0
        """Of all bodies."""
        self.memory_bytes = 0
        """What the row itself takes."""
        self._older: deque[bytearray] = deque()
        self._newer: deque[bytearray] = deque()
        self._at = [0, 0]
        """Where the first entry begins in the first piece of the older, and of the newer."""

    def __bool__(self) -> bool:
        return bool(self.tasks)

    def __repr__(self) -> str:
        return f"<FarRow of {self.tasks} tasks in {self.memory_bytes} bytes>"

    def put(self, found: Found, *, older: bool = False) -> None:
        """An entry, at the end, or behind those that are older than all others."""
        packed = [_HEAD.pack(found.number, found.tasks, found.nbytes, len(found.meta),
                             len(found.runs)), found.meta]  # fmt: skip
        for run in found.runs:
            packed += (_RUN.pack(run.first, run.tasks, len(run.meta)), run.meta)
            self.tasks += run.tasks
        pieces = self._older if older else self._newer
        if not pieces or len(pieces[-1]) >= PIECE_BYTES:
            pieces.append(bytearray())
        piece = pieces[-1]
        before = len(piece)
        for part in packed:
            piece += part
        self.entries += 1
        self.bytes += found.nbytes
        self.memory_bytes += len(piece) - before

    def __iter__(self) -> Iterator[Found]:
        """All of them, in order; nothing may be put or taken meanwhile."""
        for pieces, at in zip((self._older, self._newer), self._at, strict=True):
            for piece in pieces:
                while at < len(piece):
                    found, at = self._read(piece, at)
                    yield found
                at = 0

    def first(self) -> int:
        """Number of the first entry; there must be one."""
        pieces, which = (self._older, 0) if self._older else (self._newer, 1)
        number: int = _HEAD.unpack_from(pieces[0], self._at[which])[0]
        return number

    @property
    def has_older(self) -> bool:
        """Whether one of the older ones is the first."""
        return bool(self._older)

    def take(self) -> Found:
        """The first entry, which is not here any more; there must be one."""
        pieces, which = (self._older, 0) if self._older else (self._newer, 1)
        start = self._at[which]
        found, at = self._read(pieces[0], start)
        self.tasks -= sum(run.tasks for run in found.runs)
        self.entries -= 1
        self.bytes -= found.nbytes
        self.memory_bytes -= at - start
        self._at[which] = at
        if at == len(pieces[0]):
            pieces.popleft()
            self._at[which] = 0
        return found

    def _read(self, piece: bytearray, at: int) -> tuple[Found, int]:
        """The entry there, and where the next one begins."""
        number, tasks, nbytes, meta_bytes, count = _HEAD.unpack_from(piece, at)
        at += _HEAD.size
        meta = bytes(piece[at : at + meta_bytes])
        at += meta_bytes
        runs: list[Run] = []
        for _ in range(count):
            first, run_tasks, run_meta = _RUN.unpack_from(piece, at)
            at += _RUN.size
            runs.append(Run(first, run_tasks, bytes(piece[at : at + run_meta])))
            at += run_meta
        return Found(number, PUT, self.queue, tasks, meta, nbytes, runs), at
