"""A disk that forgets what was not synced, and a writer that does everything at once."""

from __future__ import annotations

import contextlib
import errno
import os
import random
from collections.abc import Iterator

from zqueue.store.files import MADE, Disk
from zqueue.store.format import restamp
from zqueue.store.writer import Damaged, Make, Write

SECTOR_BYTES = 512


class Crash(BaseException):
    """The machine stops here."""


class MemoryDisk(Disk):
    """Files in memory. ``calls_left``: after so many calls that change something, it crashes."""

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.now = {name: bytearray(data) for name, data in (files or {}).items()}
        """As the processes of the machine see them."""
        self.synced = {name: bytes(data) for name, data in self.now.items()}
        self.calls_left = 1 << 60
        self.room = 1 << 60
        """Bytes of files that may be made."""
        self._unsynced: dict[str, list[tuple[int, bytes]]] = {}

    def _step(self) -> None:
        self.calls_left -= 1
        if self.calls_left < 0:
            raise Crash

    def killed(self) -> MemoryDisk:
        """As the next process finds it."""
        return MemoryDisk({name: bytes(data) for name, data in self.now.items()})

    def crashed(self, chance: random.Random) -> MemoryDisk:
        """As the next process finds it after the power was lost: of what was not synced any sectors
        are there, or all up to some point."""
        files = {}
        for name, data in self.synced.items():
            left = bytearray(data)
            writes = self._unsynced.get(name, [])
            ordered = chance.random() < 0.5
            budget = chance.randrange(sum(len(d) for _, d in writes) + 1) if writes else 0
            for at, new in writes:
                start = 0
                while start < len(new):
                    stop = min(len(new), start + SECTOR_BYTES - (at + start) % SECTOR_BYTES)
                    if ordered:
                        stop = min(stop, start + budget)
                        budget -= stop - start
                    if stop == start:
                        break
                    if ordered or chance.random() < 0.5:
                        end = at + stop
                        left.extend(bytes(max(0, end - len(left))))
                        left[at + start : end] = new[start:stop]
                    start = stop
            files[name] = bytes(left)
        return MemoryDisk(files)

    def lock(self) -> bool:
        return True

    def names(self) -> list[str]:
        return sorted(self.now)

    def read(self, name: str, at: int, nbytes: int) -> bytes:
        return bytes(self.now[name][at : at + nbytes])

    def write(self, name: str, at: int, parts: list[bytes]) -> None:
        self._step()
        data = b"".join(parts)
        self.now[name].extend(bytes(max(0, at + len(data) - len(self.now[name]))))
        self.now[name][at : at + len(data)] = data
        self._unsynced.setdefault(name, []).append((at, data))

    def sync(self, name: str) -> None:
        self._step()
        self.synced[name] = bytes(self.now[name])
        self._unsynced.pop(name, None)

    def forget(self, name: str) -> None:
        pass

    def done(self, name: str) -> None:
        pass

    def create(self, name: str, head: bytes, nbytes: int) -> Iterator[None]:
        if sum(map(len, self.now.values())) + nbytes > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.now[MADE] = bytearray(nbytes)
        self.write(MADE, 0, [head])
        yield
        self.sync(MADE)
        self.rename(MADE, name)

    def recycle(self, old: str, name: str, head: bytes) -> Iterator[None]:
        self.rename(old, MADE)
        yield
        self.write(MADE, 0, [head])
        self.sync(MADE)
        self.rename(MADE, name)

    def rename(self, old: str, name: str) -> None:
        self._step()
        for files in (self.now, self.synced, self._unsynced):
            if old in files:
                files[name] = files.pop(old)  # type: ignore[attr-defined]

    def remove(self, name: str) -> None:
        self._step()
        del self.now[name]
        if random.random() < 0.5:  # Nobody synced the directory.
            self.synced.pop(name, None)
            self._unsynced.pop(name, None)

    def close(self) -> None:
        pass


class Inline:
    """A writer without a thread: what is begun has ended when that returns. What is not synced at
    once is synced with every fifth commit."""

    def __init__(self, disk: Disk, *, sync: bool) -> None:
        self._disk = disk
        self._sync = sync
        self.made: set[str] = set()
        self.full = False
        self.error: Exception | None = None
        self.syncs = self.ended = self.synced = 0
        self._bell = os.eventfd(1)
        self._dirty: set[str] = set()
        self._makes: list[Make] = []

    def fileno(self) -> int:
        return self._bell

    def hush(self) -> None:
        pass

    def begin(self, writes: list[Write]) -> None:
        try:
            for write in writes:
                if write.name not in self.made:
                    self._make_all(must=True)
                moved = [self._moved(*move) for move in write.moves]
                self._disk.write(write.name, write.at, write.parts + moved)
                self._dirty.add(write.name)
                if write.sync:
                    self._sync_some({write.name})
            self.ended += 1
            if not self._dirty or self.ended % 5 == 0:
                self._sync_some(set(self._dirty))
                self.synced = self.ended
        except (OSError, Damaged) as error:
            self.error = error

    def _moved(self, name: str, at: int, nbytes: int, old: int, new: int) -> bytes:
        record = restamp(self._disk.read(name, at, nbytes), old, new)
        if record is None:
            raise Damaged(name)
        return record

    def _sync_some(self, names: set[str]) -> None:
        for name in names:
            self._disk.sync(name)
        self._dirty -= names

    def make(self, make: Make) -> None:
        if not make.nbytes and not make.old:
            self._disk.write(make.name, 0, [make.head])
            self._disk.sync(make.name)
            return
        self._makes.append(make)
        self._make_all(must=False)

    def _make_all(self, *, must: bool) -> None:
        old = [make.old for make in self._makes if make.old]
        self._makes = [make._replace(old="") for make in self._makes if make.name]
        while self._makes:
            name, head, nbytes, _ = self._makes[0]
            try:
                reused = old.pop(0) if old else ""
                steps = self._disk.recycle(reused, name, head) if reused else self._disk.create(
                    name, head, nbytes)  # fmt: skip
                for _ in steps:
                    pass
            except OSError:
                self.full = True
                if must:
                    raise
                return
            self.full = False
            self.made.add(name)
            self._makes.pop(0)
        for name in old:
            self._disk.remove(name)

    def stop(self, last: Make, within_s: float) -> bool:
        self._sync_some(set(self._dirty))
        os.close(self._bell)
        if self.error is None:
            with contextlib.suppress(OSError):
                self.make(last)
        return True
