# cython: binding=False, auto_pickle=False, wraparound=False
# cython: embedsignature=True, embedsignature.format=clinic
"""`MemoryQueue`: a bounded queue between threads, a drop-in for `queue.Queue` with batches.

Theory of operation. Items lie in a ring, a list whose length is a power of two. ``_tail`` and
``_head`` count what was ever put and taken: their difference is what is there, and a count masked
is a slot. To put an item is: is there a free slot, store, count, is anybody waiting.

Nobody may come in between, so it is done in a *critical section*. One source makes three kinds:

- Compiled, under the global interpreter lock, a section costs nothing. That lock changes hands
  only where Python code runs or something waits, so inside a section there is neither: C numbers
  are changed, and elements of lists are moved. Nothing is allocated that the garbage collector
  counts (until Python 3.12 that sets it off at once, and with it anybody's finalizers). No
  reference is dropped that may be the last one to anything that has a finalizer: moving an item
  changes its owner, not its count. Only when all is in order again are others woken.
- Run by the interpreter, it is a lock.
- Compiled for an interpreter without a global lock, it would be a mutex; as that has not been
  tested, ``setup.py`` has the source run there.

Whoever must wait puts a lock of its own into a line, in the same section in which it saw that it
must, and sleeps by acquiring it. Whoever then puts an item takes one lock out of the line and
releases it. So every item that comes while somebody waits wakes somebody, who looks again. If
another was faster, it joins the line again, as there is nothing left. If it gives up though it was
woken (Ctrl-C), it wakes the next one. The same goes for those who wait for room.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from math import ceil
from operator import index
from queue import Empty, Full
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from . import _cython as cython
from .memory_ring import ENDLESS, Ring

if TYPE_CHECKING:
    from typing import Generic
else:
    from ._cython import Generic

    if cython.compiled:  # Never run. It tells the compiler that ``cython`` below is its own.
        import cython

if not cython.compiled:  # The compiler has its own, in the .pxd.
    from .memory_ring import owned, pop, push, swap

if sys.version_info >= (3, 13):
    from queue import ShutDown
else:

    class ShutDown(Exception):
        """Raised by `MemoryQueue` once it is shut down, as `queue.ShutDown` is from 3.13 on."""


T = TypeVar("T")

SLOTS_MIN = 64
SLOTS_MAX = 65_536
"""What is allocated at first, slots of 8 bytes. Beyond, the ring grows by doubling as it fills. It
does not shrink."""

AT_ONCE = float("-inf")
"""The deadline of those who do not wait."""


class MemoryQueue(Ring, Generic[T]):
    """A first-in, first-out queue that any number of threads may share.

    ``maxsize`` is the bound in items; zero or below means no bound. Here is all that the
    documentation of `queue.Queue` has in Python 3.13, and it does the same. Compiled, it may also
    be used by finalizers and signal handlers, even by one that interrupts a call to this queue.
    """

    _maxsize: int
    _done: int
    """How often `task_done` was called."""
    _getters: list[Any]
    """The locks of those who wait for an item, first come first."""
    _putters: list[Any]
    """Of those who wait for room."""
    _joiners: list[Any]
    """Of those who wait for all tasks to be done."""

    def __init__(self, maxsize: int = 0) -> None:
        bound = _to_bound(maxsize)
        size = SLOTS_MIN if bound == ENDLESS else min(bound, SLOTS_MAX)
        slots = [None] * (1 << (size - 1).bit_length())
        if not cython.compiled:
            self._lock = Lock()
            self._slots = []
            self._maxsize = 0
        self._is_shut = False
        self._head = self._tail = self._done = self._limit = 0
        self._mask = len(slots) - 1
        # A second call begins anew. What it drops is dropped at its end: finalizers may run.
        slots, self._slots = self._slots, slots
        self._getters = []
        self._putters = []
        self._joiners = []
        self.maxsize = maxsize

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.qsize()} of {self.maxsize}>"

    def __reduce__(self) -> Any:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    @property
    def maxsize(self) -> int:
        """The bound in items. It may be changed at any time, and what is there stays there."""
        return self._maxsize

    @maxsize.setter
    def maxsize(self, maxsize: int) -> None:
        bound = _to_bound(maxsize)
        maxsize, self._maxsize = self._maxsize, maxsize
        with cython.critical_section(self._lock):
            self._bound = bound
            if not self._is_shut:
                self._limit = min(self._bound, len(self._slots))
            _wake(self._putters, len(self._putters))

    @property
    def unfinished_tasks(self) -> int:
        """Items that were put and for which `task_done` was not called yet."""
        with cython.critical_section(self._lock):
            return self._tail - self._done

    @property
    def is_shutdown(self) -> bool:
        """Whether `shutdown` was called."""
        with cython.critical_section(self._lock):
            return self._is_shut

    def qsize(self) -> int:
        """Items now in the queue; it may have changed when you look at it."""
        with cython.critical_section(self._lock):
            return self._tail - self._head

    def empty(self) -> bool:
        """Whether there is nothing to get now."""
        with cython.critical_section(self._lock):
            return self._tail == self._head

    def full(self) -> bool:
        """Whether there is no room now."""
        with cython.critical_section(self._lock):
            return self._tail - self._head >= self._bound

    @cython.locals(block=cython.bint)
    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        """Add an item, waiting for room up to ``timeout`` seconds (None: as long as it takes).

        Raises `queue.Full` when the time is up, or at once with ``block=False``; `ShutDown` when
        the queue is shut down; and ValueError for a negative timeout.
        """
        if timeout is None:
            with cython.critical_section(self._lock):
                if self._tail - self._head < self._limit:
                    self._store(item)
                    return
        self._put_slowly(item, block, timeout)

    @cython.locals(block=cython.bint)
    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Remove and return the oldest item, waiting for one up to ``timeout`` seconds.

        Raises `queue.Empty` when the time is up, or at once with ``block=False``; `ShutDown` when
        the queue is shut down and empty; and ValueError for a negative timeout.
        """
        if timeout is None:
            with cython.critical_section(self._lock):
                if self._tail != self._head:
                    return self._take()
        return self._get_slowly(block, timeout)

    def put_nowait(self, item: T) -> None:
        """`put` without waiting."""
        if type(self) is not MemoryQueue:
            return self.put(item, block=False)  # A subclass may have its own.
        with cython.critical_section(self._lock):
            if self._tail - self._head < self._limit:
                self._store(item)
                return None
        return self._put_slowly(item, False, None)

    def get_nowait(self) -> T:
        """`get` without waiting."""
        if type(self) is not MemoryQueue:
            return self.get(block=False)
        with cython.critical_section(self._lock):
            if self._tail != self._head:
                return self._take()
        return self._get_slowly(False, None)

    @cython.locals(batch=list, added=cython.Py_ssize_t)
    def put_batch(self, items: Iterable[T], timeout: float | None = None) -> None:
        """Add items in order, as room allows, waiting up to ``timeout`` seconds in all.

        The items of one call lie in order, though not side by side if the queue filled up in
        between. Raises `queue.Full` when the time is up, and `ShutDown` when the queue is shut
        down; ``args[0]`` is then the number of items that were added.
        """
        deadline = None if timeout is None else _deadline(timeout)
        batch = list(items)  # Ours, so that they can be moved out of it.
        added = 0
        while True:
            added += self._store_batch(batch, added)
            if added == len(batch):
                return
            if self.is_shutdown:
                raise ShutDown(added)
            if not self.grow(len(batch) - added) and not self._wait(self._putters, deadline):
                raise Full(added)

    @cython.locals(batch=list)
    def get_batch(self, max_items: int, timeout: float | None = None) -> list[T]:
        """Remove and return up to ``max_items``, as many as are there.

        Waits up to ``timeout`` seconds for the first one, and not for more; when the time is
        up the list is empty. Raises `ShutDown` when the queue is shut down and empty, and
        ValueError for ``max_items`` below 1 or a negative timeout.
        """
        most = min(index(max_items), ENDLESS)
        if most < 1:
            raise ValueError("'max_items' must be at least 1")
        deadline = None if timeout is None else _deadline(timeout)
        while True:
            batch = self._take_batch(most)
            if batch:
                return batch
            # In this order: nothing comes any more once it is shut down.
            if self.is_shutdown and self.empty():
                raise ShutDown
            if not self._wait(self._getters, deadline):
                return batch

    @cython.locals(left=cython.Py_ssize_t)
    def task_done(self) -> None:
        """Say that the work on one item that was got is done.

        Raises ValueError when called more often than items were put.
        """
        with cython.critical_section(self._lock):
            left = self._tail - self._done - 1
            if left >= 0:
                self._done += 1
            if left == 0:
                _wake(self._joiners, len(self._joiners))
        if left < 0:
            raise ValueError("task_done() called too many times")

    def join(self) -> None:
        """Wait until `task_done` was called for every item that was put."""
        while self.unfinished_tasks:
            self._wait(self._joiners, None)

    @cython.locals(none=list, dropped=list)
    def shutdown(self, immediate: bool = False) -> None:
        """Refuse all further items; with ``immediate``, drop those that are there as well.

        From now on `put` raises `ShutDown`, and `get` does when the queue is empty; so do calls
        that are waiting. Items that are dropped count as done.
        """
        at_once = bool(immediate)
        none: list[Any] = []
        dropped = none
        with cython.critical_section(self._lock):
            self._is_shut = True
            self._limit = 0
            if at_once:
                dropped = self._slots
                self._slots = none
                self._done = min(self._done + self._tail - self._head, self._tail)
                self._head = self._tail
            _wake(self._getters, len(self._getters))
            _wake(self._putters, len(self._putters))
            _wake(self._joiners, len(self._joiners))
        del dropped  # Finalizers may run.

    def _store(self, item: T) -> bool:
        """Add an item, in a section, where there is room."""
        push(self, item)
        if self._getters:
            _wake(self._getters, 1)
        return True

    def _take(self) -> T:
        """Remove and return the oldest item, in a section, where there is one."""
        item: T = pop(self)
        if self._putters:
            _wake(self._putters, 1)
        return owned(item)

    def _store_batch(self, batch: list[T], first: int) -> int:
        """Move as many items out of a list, from ``first`` on, as there is room for. Returns it."""
        with cython.critical_section(self._lock):
            count = min(self._limit - (self._tail - self._head), len(batch) - first)
            if count <= 0:
                return 0
            for i in range(count):
                swap(self, self._tail + i, batch, first + i)
            self._tail += count
            _wake(self._getters, count)
        return count

    def _take_batch(self, most: int) -> list[T]:
        """Remove and return up to so many items."""
        with cython.critical_section(self._lock):
            count = min(self._tail - self._head, most)
        batch: list[Any] = [None] * count  # Anything may happen meanwhile.
        with cython.critical_section(self._lock):
            count = min(self._tail - self._head, count)
            for i in range(count):
                swap(self, self._head + i, batch, i)
            self._head += count
            _wake(self._putters, count)
        if count < len(batch):
            del batch[count:]
        return batch

    def _put_slowly(self, item: T, block: bool, timeout: Any) -> None:
        """`put`, where there is no room now or time matters.

        As `queue.Queue` does, it looks at ``timeout`` even if there is room, but only if there
        is a bound.
        """
        with cython.critical_section(self._lock):
            is_shut = self._is_shut
            bound = self._bound
        if is_shut:
            raise ShutDown
        deadline = None
        if bound != ENDLESS:
            if not block:
                deadline = AT_ONCE
            elif timeout is not None:
                deadline = _deadline(timeout)
        while True:
            with cython.critical_section(self._lock):
                if self._tail - self._head < self._limit:
                    self._store(item)
                    return
                is_shut = self._is_shut
            if is_shut:
                raise ShutDown
            if not self.grow(1) and not self._wait(self._putters, deadline):
                raise Full

    def _get_slowly(self, block: bool, timeout: Any) -> T:
        """`get`, where there is nothing now or time matters."""
        with cython.critical_section(self._lock):
            is_over = self._is_shut and self._tail == self._head
        if is_over:
            raise ShutDown
        deadline = None
        if not block:
            deadline = AT_ONCE
        elif timeout is not None:
            deadline = _deadline(timeout)
        while True:
            with cython.critical_section(self._lock):
                if self._tail != self._head:
                    return self._take()
                is_shut = self._is_shut
            if is_shut:
                raise ShutDown
            if not self._wait(self._getters, deadline):
                raise Empty

    def _wait(self, line: list[Any], deadline: float | None) -> bool:
        """Sleep until there may be what a line waits for. Returns False when the time is up."""
        remaining: float = -1  # For ever, in the words of `Lock.acquire`.
        if deadline is not None:
            remaining = deadline - monotonic()
            if remaining <= 0:
                return False
        lock = Lock()
        lock.acquire()
        awake = False
        try:
            with cython.critical_section(self._lock):
                awake = not self._blocked(line)
                if not awake:
                    line.append(lock)
            if not awake:
                awake = lock.acquire(True, remaining)
        finally:
            if not awake:
                self._give_up(line, lock)
        return True

    def _blocked(self, line: list[Any]) -> bool:
        """Whether there is cause to be in a line. Asked in a section."""
        if line is self._getters:
            return self._tail == self._head and not self._is_shut
        if line is self._putters:
            return self._tail - self._head >= self._bound and not self._is_shut
        return self._tail != self._done

    def _give_up(self, line: list[Any], lock: Any) -> None:
        """Step out of a line. One who is in it no longer was woken, and somebody counts on that."""
        with cython.critical_section(self._lock):
            if lock in line:
                line.remove(lock)
            else:
                _wake(line, 1)


def _wake(line: list[Any], count: int) -> None:
    """Wake so many of a line, in a section. They will have to wait for its end."""
    while count > 0 and line:
        line.pop(0).release()
        count -= 1


def _to_bound(maxsize: Any) -> int:
    """The number of items that ``maxsize``, any number, allows. Raises TypeError for others."""
    if not maxsize > 0:
        return ENDLESS
    return ceil(maxsize) if maxsize < ENDLESS else ENDLESS


def _deadline(timeout: float) -> float:
    """The instant a wait ends."""
    if timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")
    return monotonic() + timeout
