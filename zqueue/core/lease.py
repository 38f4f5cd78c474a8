"""Leases: which worker holds which tasks, and which of them are still open.

Theory of operation. One delivery is one lease: a list of batches that one worker holds. The
worker settles tasks in runs ``(batch, first, count)``, in any order, each once. Open tasks are
the bits of one integer a batch, so a run is checked and closed with two operations, and what
is still open when the worker is lost falls out as runs again.

A lease has no deadline of its own. It lives as long as its worker does, and the worker lives as
long as it, or the supervisor that answers for it, is heard from (see `liveness`). Numbers are
never reused, and a broker starts at a random number, so what a worker says about a lease that
was taken from it, or that another broker gave, is recognised as stale.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .batch import Batch


def runs_of(bits: int) -> Iterator[tuple[int, int]]:
    """The runs ``(first, count)`` of bits that are set, in order."""
    position = 0
    while bits:
        gap = (bits & -bits).bit_length() - 1
        bits >>= gap
        position += gap
        length = (~bits & (bits + 1)).bit_length() - 1
        yield position, length
        bits >>= length
        position += length


class Lease:
    """The tasks one worker holds by one delivery."""

    __slots__ = ("_open", "batches", "holder", "number", "stopping", "tasks")

    def __init__(self, number: int, holder: Any, batches: list[Batch]) -> None:
        self.number = number
        self.holder = holder
        self.batches = batches
        self.tasks = 0
        self.stopping: dict[int, int] = {}
        """By batch: a bit for each task that the holder was asked to end."""
        self._open: list[int] = []
        for batch in batches:
            self.tasks += batch.count
            self._open.append((1 << batch.count) - 1)

    def __repr__(self) -> str:
        return f"<Lease {self.number}: {self.tasks} open in {len(self.batches)} batches>"

    def close(self, batch: int, first: int, count: int) -> bool:
        """Close a run of open tasks. False, and nothing changed, if any of them was not open."""
        if not (0 <= batch < len(self.batches) and first >= 0 and count > 0):
            return False
        if first + count > self.batches[batch].count:
            return False
        run = ((1 << count) - 1) << first
        if self._open[batch] & run != run:
            return False
        self._open[batch] ^= run
        self.tasks -= count
        return True

    def stop(self, batch: int, tasks: int) -> int:
        """The holder is to end these tasks, a bit each. Returns those that it was not asked to
        end before."""
        before = self.stopping.get(batch, 0)
        new = tasks & self._open[batch] & ~before
        if new:
            self.stopping[batch] = before | new
        return new

    def open_tasks(self, batch: int) -> int:
        """A bit for each task of a batch that is open."""
        return self._open[batch]

    def is_closed(self, batch: int) -> bool:
        """Whether nothing of a batch is open any more."""
        return not self._open[batch]

    def open_runs(self, batch: int) -> Iterator[tuple[int, int]]:
        """The runs ``(first, count)`` of a batch that are still open, in order."""
        return runs_of(self._open[batch])


class LeaseTable:
    """All leases, by number."""

    __slots__ = ("_leases", "_next")

    def __init__(self, first_number: int = 1) -> None:
        self._next = first_number
        self._leases: dict[int, Lease] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def __repr__(self) -> str:
        return f"<LeaseTable {len(self)} leases>"

    def open(self, holder: Any, batches: list[Batch]) -> Lease:
        """Make a lease on these batches."""
        lease = Lease(self._next, holder, batches)
        self._next += 1
        self._leases[lease.number] = lease
        return lease

    def find(self, number: int, holder: Any) -> Lease | None:
        """The lease of that number if this holder has it; None if it is stale."""
        lease = self._leases.get(number)
        return lease if lease is not None and lease.holder is holder else None

    def all(self) -> list[Lease]:
        """All of them, the oldest first."""
        return list(self._leases.values())

    def end(self, lease: Lease) -> None:
        """Forget a lease. What is open in it is the caller's to take back."""
        del self._leases[lease.number]
