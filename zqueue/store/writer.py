"""The thread that writes: commits first, and between them whatever makes room.

`Writer` decides nothing. A commit is a list of `Write`, made in their order; `Make` asks for a file
that will be written later. One commit is under way at a time.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import NamedTuple

from .files import Files
from .format import restamp
from .pen import Pen

logger = logging.getLogger(__name__)

SYNC_EVERY_S = 0.05
"""What is written and not synced at once is synced after so many seconds."""

RETRY_S = 1.0
"""How soon it is tried again to make a file on a full disk, seconds."""

STUCK_S = 0.1
"""The same while a commit waits for it."""

WINDOW_BYTES = 1 << 16
"""Read at once of what is to be moved."""

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Damaged(Exception):
    """What was to be moved is not what was written."""


class Move(NamedTuple):
    """A record that is in another file, to be written with another stamp."""

    name: str
    at: int
    nbytes: int
    old: int
    new: int


class Write(NamedTuple):
    """Parts, written at an offset of a file."""

    name: str
    at: int
    parts: list[bytes]
    sync: bool
    moves: tuple[Move, ...] = ()
    """Written behind the parts."""
    last: bool = False
    """The file is not written after this."""


class Make(NamedTuple):
    """A file to make, anew or out of one that is not needed; without a name, that one to remove;
    without a length, a small file to write again, before all else."""

    name: str
    head: bytes = b""
    nbytes: int = 0
    old: str = ""


class Writer:
    """A thread, and what it was given."""

    def __init__(self, disk: Files, *, sync: bool) -> None:
        self._disk = disk
        self._sync = sync
        self.made: set[str] = set()
        """Files that were made."""
        self.full = False
        """The disk has no room for a file that was asked for."""
        self.is_stuck = False
        """A commit waits until it has."""
        self._error: Exception | None = None
        self.syncs = 0
        self._pen = Pen()
        self._ended = 0
        self._synced = 0
        self._job: list[Write] = []
        self._name = ""
        self._dirty: set[str] = set()
        self._sync_at = self._retry_at = 0.0
        self._lock = threading.Lock()
        self._makes: deque[Make] = deque()
        self._making: tuple[Make, Iterator[None]] | None = None
        self._last = Make("")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="zqueue-store", daemon=True)
        self._thread.start()

    # --- for the thread that has the store ---

    def fileno(self) -> int:
        """Readable once something has ended, was made, or failed."""
        return self._pen.bell

    def hush(self) -> None:
        """Make it unreadable."""
        self._pen.hush()

    @property
    def error(self) -> Exception | None:
        """Why nothing will be written any more.

        A write that failed has ended, too: whoever sees that must see the error, though the thread
        has not come to tell of it.
        """
        if self._error is None and self._pen.error:
            return OSError(self._pen.error, os.strerror(self._pen.error))
        return self._error

    @property
    def ended(self) -> int:
        """How many commits have been written."""
        return self._ended + self._pen.ended

    @property
    def synced(self) -> int:
        """How many commits have been synced."""
        return self.ended if self._sync else self._synced

    def begin(self, writes: list[Write]) -> None:
        """Begin a commit. The one before must have ended."""
        first = writes[0]
        is_plain = len(writes) == 1 and not first.moves and first.name in self.made
        if not is_plain or first.sync != self._sync:
            self._job = writes
            self._pen.call()
        else:
            self._name = first.name
            self._pen.begin(self._disk.fd(first.name), first.at, first.parts, first.sync)

    def make(self, make: Make) -> None:
        """Have a file made when there is time, or when it is to be written."""
        with self._lock:
            if make.nbytes or make.old:
                self._makes.append(make)
            else:
                self._makes.appendleft(make)
        self._pen.call()

    def stop(self, last: Make, within_s: float) -> bool:
        """End the thread, after what was begun, and a small file that is written ``last`` of all
        if nothing has failed. False: it has not ended within so many seconds."""
        self._last = last
        self._stopping.set()
        self._pen.call()
        self._thread.join(within_s)
        if self._thread.is_alive():
            return False
        self._pen.close()
        return True

    # --- in the thread ---

    def _run(self) -> None:
        try:
            while True:
                seen = self._pen.ended
                self._pen.serve(self._wait_ms())
                if self._pen.error:
                    raise OSError(self._pen.error, os.strerror(self._pen.error))
                if self._pen.ended != seen and not self._sync:
                    self._written(self._name)
                if self._job:
                    self._do()
                if self._dirty and (self._stopping.is_set() or monotonic() >= self._sync_at):
                    self._sync_all()
                if self._stopping.is_set():
                    break
                self._make_some()
        except Exception as error:
            # Of whatever kind: what was not finished is not known to be there, and never will be.
            self._error = error
            self._pen.ring()
            return
        with contextlib.suppress(OSError):  # It tells of less then, which is as true.
            for _ in self._steps(self._last):
                pass

    def _wait_ms(self) -> int:
        """How long there is nothing to do but commits, in milliseconds; -1: for ever."""
        if self._can_make():
            return 0
        at = [when for due, when in ((self._dirty, self._sync_at), (self.full, self._retry_at))
              if due]  # fmt: skip
        return max(0, int((min(at) - monotonic()) * 1000) + 1) if at else -1

    def _do(self) -> None:
        """A commit of several writes, or one that needs more than writing."""
        for write in self._job:
            self._await_file(write.name)
            parts = write.parts + self._moved(write.moves)
            self._disk.write(write.name, write.at, parts)
            if write.sync:
                self._disk.sync(write.name)
                self._dirty.discard(write.name)
                self.syncs += 1
            else:
                self._written(write.name)
            if write.last:
                self._disk.done(write.name)
        self._job = []
        self._ended += 1
        if not self._dirty:
            self._synced = self.ended
        self._pen.ring()

    def _await_file(self, name: str) -> None:
        """Have a file made that is to be written now. A full disk is waited for: nothing of the
        write is there, so that nothing is lost, unless the process is to end."""
        while name not in self.made:
            try:
                self._step()
            except OSError as error:
                if error.errno not in FULL or self._stopping.is_set():
                    raise
                self._tell_full()
                self.is_stuck = True
                self._stopping.wait(STUCK_S)
        self.is_stuck = False

    def _moved(self, moves: Iterable[Move]) -> list[bytes]:
        parts: list[bytes] = []
        name, start, window = "", 0, b""
        for move in moves:
            at = move.at - start
            if move.name != name or not 0 <= at <= len(window) - move.nbytes:
                # Neighbours are read together.
                name, start, at = move.name, move.at, 0
                window = self._disk.read(name, start, max(move.nbytes, WINDOW_BYTES))
            record = restamp(window[at : at + move.nbytes], move.old, move.new)
            if record is None:
                raise Damaged(f"{move.name} is damaged at byte {move.at}")
            parts.append(record)
        return parts

    def _written(self, name: str) -> None:
        if not self._dirty:
            self._sync_at = monotonic() + SYNC_EVERY_S
        self._dirty.add(name)

    def _sync_all(self) -> None:
        ended = self.ended
        for name in self._dirty:
            self._disk.sync(name)
        self._dirty.clear()
        self.syncs += 1
        self._synced = ended
        self._pen.ring()

    def _can_make(self) -> bool:
        """Whether there is a file to make, and perhaps room for it."""
        if not self.full or monotonic() >= self._retry_at:
            return self._making is not None or bool(self._makes)
        with self._lock:
            return any(make.old for make in self._makes)

    def _make_some(self) -> None:
        """A step of what makes room."""
        try:
            if self._can_make():
                self._step()
        except OSError as error:
            if error.errno not in FULL:
                raise
            self._tell_full()

    def _tell_full(self) -> None:
        self._retry_at = monotonic() + RETRY_S
        if not self.full:
            self.full = True
            self._pen.ring()

    def _step(self) -> None:
        if self._making is None:
            make = self._next()
            self._making = make, self._steps(make)
        make, steps = self._making
        try:
            for _ in steps:
                return
        except OSError:
            self._making = None
            with self._lock:
                self._makes.appendleft(make)
            raise
        self._making = None
        if make.nbytes and not make.old:
            self.full = False
        if make.nbytes:
            self.made.add(make.name)
            self._pen.ring()

    def _next(self) -> Make:
        """The next file to make: out of an old one, if any is not needed any more."""
        with self._lock:
            make = self._makes.popleft()
            for i, other in enumerate(self._makes):
                if other.old and not make.old and make.nbytes:
                    make = make._replace(old=other.old)
                    self._makes[i] = other._replace(old="")
                    if not other.name:
                        del self._makes[i]
                    break
        return make

    def _steps(self, make: Make) -> Iterator[None]:
        if not make.name:
            self._disk.remove(make.old)
        elif not make.nbytes:
            self._disk.write(make.name, 0, [make.head])
            self._disk.sync(make.name)
        elif make.old:
            yield from self._disk.recycle(make.old, make.name, make.head)
        else:
            yield from self._disk.create(make.name, make.head, make.nbytes)
