"""A lane: the packed bodies that gather in a producer for one queue and task.

Theory of operation. `Lane.add` runs for every task. It packs the body into the batch that is
gathering, and only when the lane is idle or a batch is full calls the producer, which holds its
lock. A confirm marks the lane idle *before* it looks for gathered bodies, and `add` packs
*before* it looks whether the lane is idle, so whichever comes second sees the other: no body is
left behind.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from .handlers import call_body
from .protocol.codec import Packer, array_length
from .replies import TaskFuture

if TYPE_CHECKING:
    from . import _cython as cython
else:
    try:
        import cython
    except ImportError:
        from . import _cython as cython

BATCH_TASKS = 2048
"""Tasks in a full batch. Four times 512 takes the broker's share of a small task from 350 to
120 ns (docs/benchmarks.md); frames much larger fit no cache, and must be cut for slow workers."""

BATCH_BYTES = 128 << 10
"""A batch is also full at this size. Bodies of a few KiB then still travel by the dozen: with half
as much, a word count of 2 KiB pieces took producer and broker a quarter longer."""


class Sender(Protocol):
    """What a lane needs of its producer."""

    def make_room(self, lane: Lane, timeout: float | None) -> None:
        """Return when another body may gather."""

    def service(self, lane: Lane | None = None) -> None:
        """Send what should go, and take what came."""


class Lane:
    """What gathers for one queue and task, with or without results."""

    def __init__(self, producer: Sender, queue: str, task: str, *, reply: bool = False) -> None:
        self._producer = producer
        self._lock = threading.RLock()
        self._packer = Packer(BATCH_TASKS, BATCH_BYTES)
        self.queue = queue
        self.task = task
        self.futures: deque[TaskFuture[Any]] = deque()
        """Of the bodies that gather, if results are wanted."""
        self.reply = reply
        self.blocked = True
        """Whether `add` must ask for room first: there was no broker yet, or it is closed."""
        self.idle = True
        self.in_flight = 0
        self.since = 0.0
        """When the oldest of the bodies came that gather now."""
        self._is_empty = True

    def add(self, body: object, timeout: float | None = None) -> None:
        """Send a body: see `Producer.send`."""
        if self.blocked or self._packer.is_full:
            self._producer.make_room(self, timeout)
        self.put(body)
        if self.idle or self._packer.is_full:
            self._producer.service(self)

    def put(self, body: object, future: TaskFuture[Any] | None = None) -> None:
        """Pack a body, and leave it to the caller to ask for room and service.

        Its future comes with it in the same step: whoever sends or is interrupted in between
        would give all that follow the results of others.
        """
        if cython.compiled:
            self._packer.add(body)
            if future is not None:
                self.futures.append(future)
        else:
            with self._lock:
                before = len(self._packer)
                try:
                    self._packer.add(body)
                finally:
                    if future is not None and len(self._packer) > before:
                        self.futures.append(future)
        if self._is_empty:
            self._is_empty = False
            self.since = monotonic()

    @property
    def is_full(self) -> bool:
        """Whether what gathered is a full batch, by number or by size."""
        return self._packer.is_full

    @property
    def gathered(self) -> int:
        """Bodies that were added and not cut."""
        with self._lock:
            return len(self._packer)

    def forked(self) -> None:
        """In a child process: whoever held the lock is not here, and nothing may gather."""
        self._lock = threading.RLock()
        self.blocked = True

    def cut(self) -> tuple[bytes, int]:
        """Remove the oldest batch, full or not: its frame, and how many bodies it has.

        Needs the producer's lock; without any body, gives ``(b"", 0)``.
        """
        self._is_empty = True  # Of what is packed now, the next batch's age begins a little late.
        if cython.compiled:
            frame = self._packer.take()
        else:
            with self._lock:
                frame = self._packer.take()
        return frame, array_length(frame) if frame else 0


class Entrance:
    """Where the calls of one task become bodies of a lane. Calling it sends its arguments.

    ``find`` finds what takes the bodies, as `Lane.add` does; a lane is found only once.
    ``wait`` is how many seconds to wait for room (None: as the producer does).
    """

    def __init__(self, find: Callable[[], Any], wait: float | None) -> None:
        self._find = find
        self._wait = wait
        self._lane: Lane | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        self.add(args if not kwargs else call_body(args, kwargs))

    def add(self, body: object) -> None:
        """Send a body: see `Producer.send`."""
        lane = self._lane
        if lane is None:
            found = self._find()
            if type(found) is not Lane:
                found.add(body, self._wait)
                return
            lane = self._lane = found
        lane.add(body, self._wait)

    def forget(self) -> None:
        """The lane is no more the one to be used."""
        self._lane = None
