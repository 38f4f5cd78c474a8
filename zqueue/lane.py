"""A lane: the packed bodies that gather in a producer for one queue and task.

Theory of operation. `Lane.add` runs for every task and takes no lock: it packs the body, appends it
(which is atomic), and only when the lane is idle or a batch is full calls the producer, which holds
its lock. A confirm marks the lane idle *before* it looks for gathered bodies, and `add` appends
*before* it looks whether the lane is idle, so whichever comes second sees the other: no body is
left behind.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from typing import Any, Protocol

from .protocol.codec import (
    FRAME_BYTES_MAX,
    PLAIN,
    array_header,
    pack_body,
    pack_plain,
    too_large,
)

BATCH_TASKS = 2048
"""Tasks in a full batch. Four times 512 takes the broker's share of a small task from 350 to
120 ns (docs/benchmarks.md); frames much larger fit no cache, and must be cut for slow workers."""

BATCH_BYTES = 64 << 10
"""A batch is also full at this size: larger frames do not travel cheaper per byte."""

BIG_BODY = BATCH_BYTES // BATCH_TASKS
"""Bytes. So many bodies of at most this size are no larger than a full batch: they need only be
counted."""


class Sender(Protocol):
    """What a lane needs of its producer."""

    def make_room(self, lane: Lane, timeout: float | None) -> None:
        """Return when another body may gather."""

    def service(self, lane: Lane | None = None) -> None:
        """Send what should go, and take what came."""


class Lane:
    """What gathers for one queue and task, with or without results."""

    __slots__ = ("_big_bytes", "_producer", "futures", "idle", "in_flight", "limit",
                 "parts", "queue", "task")  # fmt: skip

    def __init__(self, producer: Sender, queue: str, task: str) -> None:
        self._producer = producer
        self._big_bytes = 0
        self.queue = queue
        self.task = task
        self.parts: list[bytes] = []
        """The same list for ever: whoever adds needs no lock."""
        self.futures: deque[Future[Any]] | None = None
        self.limit = 0
        """Gathered bodies at which `add` must ask for room: 0 until there was a broker."""
        self.idle = True
        self.in_flight = 0

    def add(self, body: object, timeout: float | None = None) -> None:
        """Send a body: see `Producer.send`."""
        parts = self.parts
        if len(parts) >= self.limit:
            self._producer.make_room(self, timeout)
        try:
            data = pack_plain(body, None, PLAIN)
        except Exception:
            data = pack_body(body)
        if len(data) > BIG_BODY:
            self.grew(data)
        parts.append(data)
        if self.idle or len(parts) >= BATCH_TASKS or self.limit == 0:
            self._producer.service(self)

    @property
    def is_full(self) -> bool:
        """Whether what gathered is a full batch, by number or by size."""
        if self._big_bytes > BATCH_BYTES and self.parts:
            return True
        return len(self.parts) >= BATCH_TASKS

    def grew(self, data: bytes) -> None:
        """A big body is about to gather. (Small ones are bounded by their number.)"""
        if len(data) > FRAME_BYTES_MAX - 8:
            raise too_large(len(data))
        self._big_bytes += len(data)
        if self._big_bytes > BATCH_BYTES:
            self.limit = 0  # The next one must ask for room.

    def cut(self) -> tuple[bytes, int]:
        """Remove up to one batch of gathered bodies, packed as a frame. Needs the lock."""
        parts = self.parts[:BATCH_TASKS]
        if self._big_bytes:
            nbytes = 0
            for i, part in enumerate(parts):
                nbytes += len(part)
                if nbytes > BATCH_BYTES and i:
                    del parts[i:]
                    break
        del self.parts[: len(parts)]
        if self._big_bytes:
            self._big_bytes = sum(len(part) for part in self.parts if len(part) > BIG_BODY)
        return array_header(len(parts)) + b"".join(parts), len(parts)
