"""The files of a data dir: the only place where the store touches the file system.

A test, or a simulation, puts a disk of its own in the place of `Files`. All calls raise `OSError`.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from typing import Protocol

from .pen import write_all

CHUNK_BYTES = 1 << 20
"""A file is made in pieces of this many bytes: between two of them a commit may be written."""

MADE = "made"
"""A file that is not a segment yet, or not any more."""

LOCK = "lock"


class Disk(Protocol):
    """What the store does with files, each by its name."""

    def lock(self) -> bool:
        """Take the directory, made if it is not there; False if another process has it."""

    def names(self) -> list[str]:
        """All files there, but the lock."""

    def read(self, name: str, at: int, nbytes: int) -> bytes:
        """Bytes of a file; fewer where it ends."""

    def write(self, name: str, at: int, parts: list[bytes]) -> None:
        """Write all parts, one behind the other."""

    def sync(self, name: str) -> None:
        """All that was written to a file survives, whatever happens."""

    def forget(self, name: str) -> None:
        """What was read of a synced file is read from the disk itself, the next time."""

    def create(self, name: str, head: bytes, nbytes: int) -> Iterator[None]:
        """Make a file of that length, which begins with ``head``, in steps. Once it has its name,
        it survives as it is."""

    def recycle(self, old: str, name: str, head: bytes) -> Iterator[None]:
        """As `create`, out of a file that is not needed; behind ``head`` is what was there."""

    def rename(self, old: str, name: str) -> None:
        """Give a file another name, which survives."""

    def remove(self, name: str) -> None:
        """Remove a file."""

    def done(self, name: str) -> None:
        """A file is not written any more."""

    def close(self) -> None:
        """Let go of the directory."""


class Files(Disk):
    """A directory."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = -1
        self._open: dict[str, int] = {}
        """Files that are written."""

    def lock(self) -> bool:
        parent = os.path.dirname(os.path.abspath(self.path))
        if not os.path.isdir(self.path):
            os.makedirs(self.path, 0o700)
            _sync_directory(parent)
        self._lock = os.open(self._path(LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def names(self) -> list[str]:
        return sorted(name for name in os.listdir(self.path) if name != LOCK)

    def read(self, name: str, at: int, nbytes: int) -> bytes:
        # Another thread may close the descriptor by which the file is written.
        fd = os.open(self._path(name), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(fd, nbytes, at)
        finally:
            os.close(fd)

    def fd(self, name: str) -> int:
        """The descriptor of a file that is written, until it is renamed or removed."""
        fd = self._open.get(name, -1)
        if fd < 0:
            fd = self._open[name] = os.open(self._path(name), os.O_RDWR | os.O_CLOEXEC)
        return fd

    def write(self, name: str, at: int, parts: list[bytes]) -> None:
        write_all(self.fd(name), at, parts)

    def sync(self, name: str) -> None:
        os.fdatasync(self.fd(name))

    def forget(self, name: str) -> None:
        os.posix_fadvise(self.fd(name), 0, 0, os.POSIX_FADV_DONTNEED)

    def done(self, name: str) -> None:
        fd = self._open.pop(name, -1)
        if fd >= 0:
            os.close(fd)

    def create(self, name: str, head: bytes, nbytes: int) -> Iterator[None]:
        fd = os.open(self._path(MADE), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            disk = os.fstatvfs(fd)
            if disk.f_bavail * disk.f_frsize < nbytes:  # Take nothing of the little that is left.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            zeros = bytes(CHUNK_BYTES)
            write_all(fd, 0, [head])
            for at in range(len(head), nbytes, CHUNK_BYTES):
                write_all(fd, at, [zeros[: nbytes - at]])
                os.fdatasync(fd)  # A piece at a time: one sync of all would take long.
                yield
            os.fsync(fd)
        finally:
            os.close(fd)
        self.rename(MADE, name)

    def recycle(self, old: str, name: str, head: bytes) -> Iterator[None]:
        self.done(old)
        # Never under the wrong name with the head of another.
        self.rename(old, MADE)
        yield
        self.write(MADE, 0, [head])
        self.sync(MADE)
        self.done(MADE)
        self.rename(MADE, name)

    def rename(self, old: str, name: str) -> None:
        self.done(old)
        os.rename(self._path(old), self._path(name))
        _sync_directory(self.path)

    def remove(self, name: str) -> None:
        self.done(name)
        os.unlink(self._path(name))

    def close(self) -> None:
        for name in list(self._open):
            self.done(name)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _path(self, name: str) -> str:
        return os.path.join(self.path, name)


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
