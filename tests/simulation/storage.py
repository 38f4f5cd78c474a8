"""The disk of a run, and the real store on it.

Files, and what a crash leaves of them, are the `MemoryDisk` of the store's own tests: what was not
synced is lost in pieces of 512 bytes, in any order. The store's writer is the real one, but for its
thread: each turn of that is an event here, which comes as late as a disk is slow, and may be the
last, between any two calls that change a file.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.store.disk import Crash, MemoryDisk
from zqueue.core.records import Facts, Record, Recovered
from zqueue.store.about import ABOUT
from zqueue.store.segment_store import SegmentStore
from zqueue.store.writer import Make, Write, Writer

from .world import INFINITY

if TYPE_CHECKING:
    from .brokers import BrokerHost
    from .world import World

SEGMENT_BYTES = 32 << 10
SERVE_S = 0.0001
"""What lies between two turns of the writer while it has work."""


class SimulatedDisk(MemoryDisk):
    """Files that outlive the broker's process; and how they fail."""

    def __init__(self, world: World, files: dict[str, bytes] | None = None, site: int = 0) -> None:
        super().__init__(files)
        self._world = world
        self.fails_after = 1 << 60
        """After so many calls that change something, the next one fails, once."""
        if files is None:
            about = {
                "format": 1,
                "id": f"73696d756c6174{0x65 + site:02x}",
                "segment_bytes": SEGMENT_BYTES,
            }
            self.now[ABOUT] = bytearray(json.dumps(about).encode())
            self.synced[ABOUT] = bytes(self.now[ABOUT])

        self.slowest_s = 0.0
        """The longest time that it took to write or sync."""
        self.is_flipping = False
        """The next time that anything proven is read, one bit of it is another."""
        self.proven: dict[str, int] = {}
        """How much of each file is followed by a commit that was begun after it was synced: no
        power loss explains damage there."""

    def read(self, name: str, at: int, nbytes: int) -> bytes:
        data = super().read(name, at, nbytes)
        proven = min(len(data), self.proven.get(name, 0) - at)
        if self.is_flipping and proven > 0:
            self.is_flipping = False
            flipped = bytearray(data)
            flipped[self._world.random.randrange(proven)] ^= 1 << self._world.random.randrange(8)
            return bytes(flipped)
        return data

    def write(self, name: str, at: int, parts: list[bytes]) -> None:
        if name.endswith(".seg") and not self._unsynced.get(name):
            self.proven[name] = at
        super().write(name, at, parts)

    def rename(self, old: str, name: str) -> None:
        super().rename(old, name)
        self.proven.pop(old, None)
        self.proven.pop(name, None)

    def _step(self) -> None:
        super()._step()
        self.fails_after -= 1
        if self.fails_after < 0:
            self.fails_after = 1 << 60
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def remove(self, name: str) -> None:
        self._step()
        del self.now[name]
        if self._world.random.random() < 0.5:  # Nobody synced the directory.
            self.synced.pop(name, None)
            self._unsynced.pop(name, None)

    def heal(self) -> None:
        """There is room, and nothing fails any more."""
        self.room = self.calls_left = self.fails_after = 1 << 60
        self.is_flipping = False

    def next(self, *, power_lost: bool) -> SimulatedDisk:
        """What the next process finds."""
        left = self.crashed(self._world.random) if power_lost else self.killed()
        disk = SimulatedDisk(self._world, {name: bytes(data) for name, data in left.now.items()})
        disk.room = self.room
        disk.slowest_s = self.slowest_s
        disk.proven = {name: at for name, at in self.proven.items() if name in disk.now}
        return disk


class Bell:
    """What wakes the writer's thread and tells its owner, in place of a `Pen`."""

    bell = -1
    ended = error = 0

    def __init__(self, call: Callable[[], None], ring: Callable[[], None]) -> None:
        self.call = call
        self.ring = ring

    def hush(self) -> None:
        """Nothing is readable here."""

    def close(self) -> None:
        """Nothing is open here."""


class SimulatedWriter(Writer):
    """The writer, with a turn of its thread as an event."""

    def __init__(self, disk: SimulatedDisk, *, sync: bool, host: BrokerHost) -> None:
        self._host = host
        self._world = host.world
        self._disk = disk  # type: ignore[assignment]
        self._sync = sync
        self.made = set()
        self.full = False
        self._error = None
        self.syncs = self._ended = self._synced = 0
        self._job: list[Write] = []
        self._name = ""
        self._dirty = set()
        self._sync_at = self._retry_at = 0.0
        self._makes: deque[Make] = deque()
        self._making = None
        self._stopping = False
        self._lock = threading.Lock()
        self._pen = Bell(self._called, host.wake)  # type: ignore[assignment]
        self._is_called = False
        self._turn_at = INFINITY
        self.is_opening = True
        """What is made before the store is open, it waits for."""

    def begin(self, writes: list[Write]) -> None:
        self._job = writes
        self._called()

    def _called(self) -> None:
        if self.is_opening:
            self._turn()
        elif not self._is_called:
            self._is_called = True
            self._turn_in(self._host.sync_s())

    def _turn_in(self, seconds: float) -> None:
        """At the latest: a call comes before what it waits for."""
        at = self._world.now + seconds
        if at < self._turn_at:
            self._turn_at = at
            self._world.after(seconds, self._turn_if_next, at)

    def _turn_if_next(self, at: float) -> None:
        if at == self._turn_at:
            self._turn()

    def _turn(self) -> None:
        """What the thread does when it was called, or waited long enough."""
        self._is_called = False
        self._turn_at = INFINITY
        if not self._host.is_alive or self.error is not None:
            return
        self._world.running = self._host
        try:
            if self._job:
                self._do()
            if self._dirty and self._host.clock() >= self._sync_at:
                self._sync_all()
            self._make_some()
        except Crash:
            if self.is_opening:
                raise
            self._host.crashed_at_disk()
            return
        except Exception as error:
            self._error = error
            self._pen.ring()
            return
        wait_ms = self._wait_ms()
        if wait_ms >= 0:
            self._again(SERVE_S + wait_ms / 1000)

    def _again(self, seconds: float) -> None:
        if self.is_opening and seconds <= SERVE_S:
            self._turn()
        else:
            self._turn_in(seconds)

    def stop(self) -> None:
        raise AssertionError("a broker of a run is killed")


class WatchedStore(SegmentStore):
    """As it is; its host may die before and after each call, and hears what is stored."""

    def __init__(self, host: BrokerHost, disk: SimulatedDisk, *, sync: bool) -> None:
        super().__init__(
            "the data dir",
            sync=sync,
            segment_bytes=SEGMENT_BYTES,
            disk=disk,
            writer=functools.partial(SimulatedWriter, host=host),
            chance=lambda: host.world.random.getrandbits(24),
        )
        self._host = host
        self._told = 0
        self._records: list[Record] = []

    def open(self) -> Recovered:
        found = super().open()
        self._writer.is_opening = False  # type: ignore[attr-defined]
        return found

    def begin(self, ticket: int, records: list[Record], facts: Facts) -> None:
        self._host.point()
        self._records = records
        super().begin(ticket, records, facts)

    def end(self) -> int:
        stored = super().end()
        if stored > self._told:
            self._host.point()
            self._told = stored
            self._host.is_stored(self._records)
        return stored
