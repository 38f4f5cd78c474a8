"""A slot: a few numbers that a worker process shows to its supervisor without saying anything.

Some memory that both have mapped. The worker writes it (tens of nanoseconds, no system
call), the supervisor looks when it likes, also after the worker's death.

Of several tasks with a deadline the supervisor sees the one that is due first. Who reads while the
other writes never sees the deadline of one task beside the place of another:
the deadline is cleared alone, and written last, and the reader reads it last. (Each number is one
store of eight bytes; `struct.pack_into` would write zeros first.)
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import NamedTuple

from ..config import THREADS_MAX

_STATE, _TASKS, _STOP_BY, _PLACES, _LEAVING = range(5)
"""Where numbers of the worker are, in units of eight bytes."""

_URL_AT = 64
_URL_BYTES_MAX = 3072

PLACES_MAX = THREADS_MAX + 1
"""Tasks with a deadline that may run at a time: one in the main thread, and one in each thread."""

_DEADLINES = (_URL_AT + _URL_BYTES_MAX) // 8
_LEASES = _DEADLINES + PLACES_MAX
_POSITIONS = _LEASES + PLACES_MAX
"""Where numbers of these are, in the same units."""

_BYTES = (8 * (_POSITIONS + PLACES_MAX) + mmap.PAGESIZE - 1) // mmap.PAGESIZE * mmap.PAGESIZE

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
    """When that task must be over, seconds of the system's monotonic clock; 0: no such task."""
    stop_by: float = 0.0
    """When tasks that were cancelled must have ended, as above; 0: none runs."""
    leaving: int = 0
    """Brokers that it is about to leave."""


class Slot:
    """One worker's numbers."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._page = mmap.mmap(fd, _BYTES)
        self._numbers = memoryview(self._page).cast("Q")
        self._times = memoryview(self._page).cast("d")

    @classmethod
    def create(cls) -> Slot:
        """A new one, for a supervisor; its `fd` is for the child to inherit."""
        with tempfile.TemporaryFile() as file:
            file.truncate(_BYTES)
            fd = os.dup(file.fileno())
        try:
            return cls(fd)
        except OSError:
            os.close(fd)
            raise

    def read(self) -> Shown:
        """What it shows now."""
        numbers, times = self._numbers, self._times
        state, tasks = numbers[_STATE], numbers[_TASKS]
        first, first_due = 0, 0.0
        for place in range(min(1 + numbers[_PLACES], PLACES_MAX)):
            due = times[_DEADLINES + place]
            if due and (due < first_due or not first_due):
                first, first_due = place, due
        lease, position = numbers[_LEASES + first], numbers[_POSITIONS + first]
        due, stop_by = times[_DEADLINES + first], times[_STOP_BY]
        return Shown(state, tasks, lease, position, due, stop_by, numbers[_LEAVING])

    def ready(self, url: str, threads: int = 0) -> None:
        """The worker has loaded its app, and works for the broker at ``url``."""
        data = url.encode()[:_URL_BYTES_MAX]
        self._page[_URL_AT : _URL_AT + len(data)] = data
        self._numbers[_PLACES] = threads
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

    def leaving(self, brokers: int) -> None:
        """So many brokers are about to be left."""
        self._numbers[_LEAVING] = brokers

    def begin(self, lease: int, position: int, deadline: float, place: int = 0) -> None:
        """A task begins that must be over by a deadline: in the main thread, or in a thread."""
        self._numbers[_LEASES + place] = lease
        self._numbers[_POSITIONS + place] = position
        self._times[_DEADLINES + place] = deadline

    def clear(self, place: int = 0) -> None:
        """No task is running there that has a deadline."""
        self._times[_DEADLINES + place] = 0.0

    def stop_by(self, deadline: float) -> None:
        """A task that was cancelled must have ended by a deadline; 0: none runs any more."""
        self._times[_STOP_BY] = deadline

    def close(self) -> None:
        """Unmap it."""
        self._numbers.release()
        self._times.release()
        self._page.close()
        os.close(self.fd)
