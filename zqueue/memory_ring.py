# cython: binding=False, auto_pickle=False, wraparound=False
"""The ring of slots in which the items of a `MemoryQueue` lie, and how one is moved. See there."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

from . import _cython as cython

if not TYPE_CHECKING and cython.compiled:  # As in `memory_queue`.
    import cython

T = TypeVar("T")

ENDLESS = sys.maxsize
"""The bound of a queue without one, items."""

if not cython.compiled:  # The compiler has its own, in the .pxd.

    def push(ring: Ring, item: Any) -> None:
        """Store an item, in a section, where there is room."""
        ring._slots[ring._tail & ring._mask] = item
        ring._tail += 1

    def pop(ring: Ring) -> Any:
        """Remove the oldest item, in a section, where there is one."""
        slot = ring._head & ring._mask
        item = ring._slots[slot]
        ring._slots[slot] = None
        ring._head += 1
        return item

    def owned(item: T) -> T:
        """What was popped, to be returned."""
        return item

    def swap(ring: Ring, count: int, batch: list[Any], i: int) -> None:
        """Let an element of a list and what is in the slot of a count change places."""
        slot = count & ring._mask
        batch[i], ring._slots[slot] = ring._slots[slot], batch[i]


class Ring:
    """The items."""

    _lock: Any
    _slots: list[Any]
    _mask: int
    _head: int
    _tail: int
    _bound: int
    """``maxsize``, as a number of items."""
    _limit: int
    """As many items may be there for one more to be stored at once: the lesser of the bound and
    the slots, and zero when shut down. So there is one thing to compare."""
    _is_shut: bool

    def grow(self, more: int) -> bool:
        """Make slots for more items, as far as the bound allows. Returns whether it did."""
        with cython.critical_section(self._lock):
            if self._is_shut:
                return False
            size = len(self._slots)
            needed = min(self._tail - self._head + more, self._bound)
        if needed <= size:
            return False
        while size < needed:
            size *= 2
        slots = [None] * size  # Anything may happen meanwhile.
        with cython.critical_section(self._lock):
            if self._is_shut or len(self._slots) >= size:
                return False
            for i in range(self._head, self._tail):
                slots[i & (size - 1)] = self._slots[i & self._mask]
            slots, self._slots = self._slots, slots
            self._mask = size - 1
            self._limit = min(size, self._bound)
        return True
