"""A slot: a few numbers that a worker process shows to its supervisor without saying anything.

A page of memory that both have mapped. The worker writes it (tens of nanoseconds, no system
call), the supervisor looks when it likes, also after the worker's death.

Who reads while the other writes never sees the deadline of one task beside the place of another:
the deadline is cleared alone, and written last, and the reader reads it last. (Each number is one
store of eight bytes; `struct.pack_into` would write zeros first.)
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from typing import NamedTuple

_SHOWN = struct.Struct("@QQQQdd")
_STATE, _TASKS, _LEASE, _POSITION, _DEADLINE, _STOP_BY = range(6)
"""Places of what is shown, each of eight bytes."""

_URL_AT = 64
_URL_BYTES_MAX = 1024

STARTING = 0
READY = 1
LEFT = 2
"""It has settled all it was given, said goodbye, and will end."""


class Shown(NamedTuple):
    """What a worker shows."""

    state: int
    tasks: int
    """Tasks that it has run."""
    lease: int
    position: int
    deadline: float
    """When the task must be over, seconds of the system's monotonic clock; 0: no such task."""
    stop_by: float = 0.0
    """When tasks that were cancelled must have ended, as above; 0: none runs."""


class Slot:
    """One worker's page."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._page = mmap.mmap(fd, mmap.PAGESIZE)
        self._numbers = memoryview(self._page).cast("Q")
        self._times = memoryview(self._page).cast("d")

    @classmethod
    def create(cls) -> Slot:
        """A new page, for a supervisor; its `fd` is for the child to inherit."""
        with tempfile.TemporaryFile() as file:
            file.truncate(mmap.PAGESIZE)
            fd = os.dup(file.fileno())
        try:
            return cls(fd)
        except OSError:
            os.close(fd)
            raise

    def read(self) -> Shown:
        """What it shows now."""
        return Shown(*_SHOWN.unpack_from(self._page))

    def ready(self, url: str) -> None:
        """The worker has loaded its app, and works for the broker at ``url``."""
        data = url.encode()[:_URL_BYTES_MAX]
        self._page[_URL_AT : _URL_AT + len(data)] = data
        self._numbers[_STATE] = READY

    def left(self) -> None:
        """The worker is done: its end is no crash."""
        self._numbers[_STATE] = LEFT

    def url(self) -> str:
        """What `ready` was given."""
        data = self._page[_URL_AT : _URL_AT + _URL_BYTES_MAX]
        return data.rstrip(b"\0").decode()

    def count(self, tasks: int) -> None:
        """So many tasks have run."""
        self._numbers[_TASKS] = tasks

    def begin(self, lease: int, position: int, deadline: float) -> None:
        """A task begins that must be over by a deadline."""
        self._numbers[_LEASE] = lease
        self._numbers[_POSITION] = position
        self._times[_DEADLINE] = deadline

    def clear(self) -> None:
        """No task is running that has a deadline."""
        self._times[_DEADLINE] = 0.0

    def stop_by(self, deadline: float) -> None:
        """A task that was cancelled must have ended by a deadline; 0: none runs any more."""
        self._times[_STOP_BY] = deadline

    def close(self) -> None:
        """Unmap it."""
        self._numbers.release()
        self._times.release()
        self._page.close()
        os.close(self.fd)
