"""What a store does for its driver, and how it says that it cannot.

The driver's loop: wait for `Store.fileno`; call `end`, and tell the machine what is stored; unless
the store is busy, `begin` with what the machine has; tell the machine if `full` has changed.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ..core.records import Facts, Record, Recovered
from ..errors import ConfigError, ZQueueError


class Store(Protocol):
    """Keeps records. All calls are made by one thread; only `open` and `read` wait for the disk."""

    def open(self) -> Recovered:
        """Take the data dir, made if it is not there, and find what is in it. Called once, first.

        Raises `StoreLocked`, `StoreDamaged`, `StoreForeign`, `StoreNewer`, `StoreReadOnly`, or
        `StoreFailed`: then nothing in it was changed.
        """

    def begin(self, ticket: int, records: list[Record], facts: Facts) -> None:
        """Begin to store records, in their order; it must not be `busy`.

        The ticket is higher than the one before. No records are fine: it then goes on with work of
        its own, if it `is_due`. `facts` is called before this returns, or not at all.
        Raises `StoreFailed`.
        """

    def end(self) -> int:
        """The last ticket of which all is stored, as the level has it. To be called whenever
        `fileno` is readable, and at any other time. Raises `StoreFailed`: it is *fenced*. No ticket
        after the last one that was given is known to be stored, and nothing ever will be."""

    def fileno(self) -> int:
        """Readable when `end`, `full` or `is_due` may have something new."""

    @property
    def busy(self) -> bool:
        """Whether what was begun has not ended."""

    @property
    def full(self) -> bool:
        """Whether the disk is full: no entries may be handed over but those taken already, at most
        half a segment of them. All other records may: they have room that is kept for them."""

    @property
    def is_due(self) -> bool:
        """Whether it has work of its own, and no records need to come for `begin`."""

    def read(self, entry: int) -> bytes:
        """The body of an open entry that is stored.

        Raises `StoreDamaged` if it is not what was written, `StoreFailed` if it cannot be read.
        """

    def status(self) -> Status:
        """Figures for people."""

    def close(self) -> None:
        """Finish what was begun, and let go of the data dir. Never raises."""


class Status(NamedTuple):
    """Figures of a store. Bytes are of files, or of records in them."""

    segments: int
    """Files with entries or what was said of them."""
    spares: int
    """Files that are ready to be written."""
    disk_bytes: int
    """Of all files."""
    live_bytes: int
    """Of records of entries that are open."""
    moved: int
    """Entries that were moved, since it was opened."""
    syncs: int
    """Since it was opened."""


class StoreError(ZQueueError):
    """A data dir cannot be used as it is. The sentence says what to do."""


class StoreFailed(StoreError):
    """The system could not write, sync or read. The store is fenced: end the process."""


class StoreDamaged(StoreError):
    """What was stored is not there as it was written. Exit code 4."""


class StoreLocked(StoreError):
    """Another process has the data dir. Exit code 4."""


class StoreUnusable(StoreError, ConfigError):
    """The data dir was named by mistake, or may not be written. Exit code 2."""


class StoreForeign(StoreUnusable):
    """The directory holds something else than a store."""


class StoreNewer(StoreUnusable):
    """The data dir was written by a newer version."""


class StoreReadOnly(StoreUnusable):
    """The directory cannot be made or written."""
