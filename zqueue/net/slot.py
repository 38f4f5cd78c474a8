"""A slot: a few numbers that a worker process shows to its supervisor without saying anything.

A page of memory that both have mapped. The worker writes it (tens of nanoseconds, no system
call), the supervisor looks when it likes, also after the worker's death.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from typing import NamedTuple

_LAYOUT = struct.Struct("=QQQd")
_URL_AT = 64
_URL_BYTES_MAX = 1024

STARTING = 0
READY = 1


class Running(NamedTuple):
    """What a worker shows."""

    state: int
    lease: int
    position: int
    deadline: float
    """When the task must be over, seconds of the system's monotonic clock; 0: no such task."""


class Slot:
    """One worker's page."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._page = mmap.mmap(fd, mmap.PAGESIZE)
        self._state = STARTING

    @classmethod
    def create(cls) -> Slot:
        """A new page, for a supervisor; its `fd` is for the child to inherit."""
        with tempfile.TemporaryFile() as file:
            file.truncate(mmap.PAGESIZE)
            return cls(os.dup(file.fileno()))

    def read(self) -> Running:
        """What it shows now."""
        return Running(*_LAYOUT.unpack_from(self._page))

    def ready(self, url: str) -> None:
        """The worker has loaded its app, and works for the broker at ``url``."""
        data = url.encode()[:_URL_BYTES_MAX]
        self._page[_URL_AT : _URL_AT + len(data)] = data
        self._state = READY
        self.clear()

    def url(self) -> str:
        """What `ready` was told."""
        data = self._page[_URL_AT : _URL_AT + _URL_BYTES_MAX]
        return data.rstrip(b"\0").decode()

    def begin(self, lease: int, position: int, deadline: float) -> None:
        """A task begins that must be over by a deadline."""
        _LAYOUT.pack_into(self._page, 0, self._state, lease, position, deadline)

    def clear(self) -> None:
        """No task is running that has a deadline."""
        _LAYOUT.pack_into(self._page, 0, self._state, 0, 0, 0.0)

    def close(self) -> None:
        """Unmap it."""
        self._page.close()
        os.close(self.fd)
