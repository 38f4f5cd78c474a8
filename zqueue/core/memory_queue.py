"""`MemoryQueue`: a bounded queue between threads, a drop-in for `queue.Queue` with batches.

Theory of operation. Items lie in a deque under one lock; two conditions on that lock say
"something came" and "something left". A batch moves under one acquisition of the lock, which
is where its speed comes from. Waiters are counted by the conditions, so a put with nobody
waiting notifies nobody.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from queue import Empty, Full
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")


class MemoryQueue(Generic[T]):
    """A first-in, first-out queue that any number of threads may share.

    ``maxsize`` is the bound in items; zero or below means no bound, as in `queue.Queue`. Full
    and empty are answered as there: by waiting, or with `queue.Full` and `queue.Empty`.
    """

    def __init__(self, maxsize: int = 0) -> None:
        self.maxsize = maxsize
        self._items: deque[T] = deque()
        self._lock = threading.Lock()
        self._came = threading.Condition(self._lock)
        self._left = threading.Condition(self._lock)

    def __repr__(self) -> str:
        return f"<MemoryQueue {len(self._items)} of {self.maxsize}>"

    def qsize(self) -> int:
        """Items now in the queue; it may have changed when you look at it."""
        return len(self._items)

    def empty(self) -> bool:
        """Whether there is nothing to get now."""
        return not self._items

    def full(self) -> bool:
        """Whether there is no room now."""
        return 0 < self.maxsize <= len(self._items)

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        """Add an item, waiting for room up to ``timeout`` seconds (None: as long as it takes).

        Raises `queue.Full` when the time is up, or at once with ``block=False``, and
        ValueError for a negative timeout.
        """
        deadline = _deadline(block, timeout)
        with self._lock:
            if self.full():
                self._wait(self._left, self.full, deadline, Full)
            self._items.append(item)
            self._came.notify()

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Remove and return the oldest item, waiting for one up to ``timeout`` seconds.

        Raises `queue.Empty` when the time is up, or at once with ``block=False``, and
        ValueError for a negative timeout.
        """
        deadline = _deadline(block, timeout)
        with self._lock:
            if not self._items:
                self._wait(self._came, self.empty, deadline, Empty)
            item = self._items.popleft()
            self._left.notify()
            return item

    def put_nowait(self, item: T) -> None:
        """`put` without waiting."""
        self.put(item, block=False)

    def get_nowait(self) -> T:
        """`get` without waiting."""
        return self.get(block=False)

    def put_batch(self, items: Iterable[T], timeout: float | None = None) -> None:
        """Add items in order, as room allows, waiting up to ``timeout`` seconds in all.

        The items of one call lie in order, though not side by side if the queue filled up in
        between. Raises `queue.Full` when the time is up; ``args[0]`` is then the number of items
        that were added.
        """
        deadline = _deadline(True, timeout)
        left = deque(items)
        added = 0
        with self._lock:
            while left:
                if self.full():
                    try:
                        self._wait(self._left, self.full, deadline, Full)
                    except Full:
                        raise Full(added) from None
                room = self.maxsize - len(self._items) if self.maxsize > 0 else len(left)
                count = min(room, len(left))
                self._items.extend(left.popleft() for _ in range(count))
                added += count
                self._came.notify(count)

    def get_batch(self, max_items: int, timeout: float | None = None) -> list[T]:
        """Remove and return up to ``max_items``, as many as are there.

        Waits up to ``timeout`` seconds for the first one, and not for more; when the time is
        up the list is empty. Raises ValueError for ``max_items`` below 1 or a negative timeout.
        """
        if max_items < 1:
            raise ValueError("'max_items' must be at least 1")
        deadline = _deadline(True, timeout)
        with self._lock:
            if not self._items:
                try:
                    self._wait(self._came, self.empty, deadline, Empty)
                except Empty:
                    return []
            items = self._items
            if len(items) <= max_items:
                batch = list(items)
                items.clear()
            else:
                batch = list(islice(items, max_items))
                for _ in batch:
                    items.popleft()
            self._left.notify(len(batch))
            return batch

    def _wait(
        self,
        changed: threading.Condition,
        blocked: Callable[[], bool],
        deadline: float | None,
        error: type[Exception],
    ) -> None:
        while blocked():
            remaining = None if deadline is None else deadline - monotonic()
            if remaining is not None and remaining <= 0:
                raise error
            changed.wait(remaining)


def _deadline(block: bool, timeout: float | None) -> float | None:
    """The instant a wait ends; None for never."""
    if not block:
        return float("-inf")
    if timeout is None:
        return None
    if timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")
    return monotonic() + timeout
