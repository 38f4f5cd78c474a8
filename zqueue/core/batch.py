"""A batch: a run of tasks that lie packed, side by side, in one frame.

Theory of operation. A producer packs N bodies as one msgpack array; that frame is never
decoded on its way. A `Batch` is a window ``first .. first + count`` onto such a frame. Taking
part of it makes another window onto the same bytes. To cut between bodies one must know where each
begins: that index is computed at the first cut, by a function the caller passes in (the core knows
no codec), and shared by all windows onto the frame.

A window keeps all of its frame in memory, and counts its share only. So one of half a frame or less
gets bytes of its own (`Batch.own`): they would be copied when it is sent, anyway, and what is left
of a frame that is cut again and again is copied at each halving, together less than the frame once.
Hence what is alive is at most twice what is counted, and 8 bytes of index for each task in a frame
that was cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ProtocolError

if TYPE_CHECKING:
    from .. import _cython as cython
else:
    try:
        import cython
    except ImportError:
        from .. import _cython as cython

Indexer = Callable[[bytes], Sequence[int]]
"""Gives the N + 1 offsets of the N bodies in a frame (the last one is the frame's length)."""

OVERHEAD_BYTES = 320
"""What a batch costs beside its frame: the objects that hold it. A queue of single tasks with
bodies of 33 bytes makes a broker grow by 327 bytes a task (``perf/memory.py``). Counted in, so
that a bound in bytes holds for small batches too."""


SPARE_MAX = 1024
"""Dropped batches whose memory is kept for the next ones, where this module is compiled."""

_spare = _reused = _made = 0


def reuse() -> dict[str, int]:
    """How many batches were made of a dropped one, and how many anew, in this process."""
    return {"hits": _reused, "misses": _made}


@cython.no_gc
@cython.freelist(1024)  # SPARE_MAX; the compiler wants a number
@cython.cclass
class Published:
    """One published frame, as it came, and what its parts have in common.

    ``origin`` is whoever published it (opaque here; None for the plain lane) and ``sequence``
    the number the publisher gave it: results are addressed by these two and the task's position.
    ``at`` is the instant it came, and ``age_us`` how long it had waited by then. Of one that was
    copied out of another, ``base`` is the position of its first task there. ``entry`` is its number
    in the journal, if there is one. ``options`` is what was asked for its tasks, None: nothing. All
    that is known of it here is that ``apart()`` gives the time that was asked for, as one number of
    64 bits, and the rest, whose ``timed(time)`` is the whole again.
    """

    __slots__ = (
        "age_us",
        "at",
        "base",
        "body",
        "count",
        "damage",
        "entry",
        "offsets",
        "options",
        "origin",
        "queue",
        "reply",
        "sequence",
        "task",
    )

    def __init__(
        self,
        queue: str,
        task: str,
        body: bytes,
        count: int,
        *,
        at: float = 0.0,
        age_us: int = 0,
        origin: object = None,
        sequence: int = 0,
        reply: bool = False,
        options: Any = None,
    ) -> None:
        self.queue = queue
        self.task = task
        self.body = body
        self.count = count
        self.at = at
        self.age_us = age_us
        self.origin = origin
        self.sequence = sequence
        self.reply = reply
        self.options = options
        self.base = 0
        self.entry = 0
        self.offsets: Sequence[int] | None = None
        self.damage = ""
        """Why it cannot be cut, once that was found."""

    def copy(self, body: bytes, first: int, count: int) -> Published:
        """Some of its tasks, as if just these had been published: ``body`` is their array."""
        copy = Published(
            self.queue, self.task, body, count, at=self.at, age_us=self.age_us,
            origin=self.origin, sequence=self.sequence, reply=self.reply, options=self.options,
        )  # fmt: skip
        copy.base = first
        copy.entry = self.entry
        return copy


@cython.no_gc
@cython.freelist(1024)  # SPARE_MAX; the compiler wants a number
@cython.cclass
class Batch:
    """A run of tasks of one frame that travel, wait and are leased together.

    ``attempt`` counts deliveries, from 1; ``crashes`` counts those that ended with the death of the
    worker, ``timeouts`` those that ran too long, ``failures`` those that failed otherwise. It is
    ``fresh`` until it was handed out.
    """

    __slots__ = ("attempt", "count", "crashes", "failures", "first", "frame", "fresh", "nbytes",
                 "timeouts")  # fmt: skip

    def __init__(
        self,
        frame: Published,
        first: int,
        count: int,
        *,
        attempt: int = 1,
        crashes: int = 0,
        failures: int = 0,
        timeouts: int = 0,
        fresh: bool = True,
    ) -> None:
        self.frame = frame
        self.first = first
        self.count = count
        self.attempt = attempt
        self.crashes = crashes
        self.failures = failures
        self.timeouts = timeouts
        self.fresh = fresh
        # The frame's bytes are shared out by count: exact sizes would need the index, and
        # the sum over all parts is what a bound needs.
        self.nbytes = len(frame.body) * count // frame.count + OVERHEAD_BYTES
        if cython.compiled:
            # Keeps the count of @cython.freelist, which does not say it itself.
            global _spare, _reused, _made
            if _spare:
                _spare -= 1
                _reused += 1
            else:
                _made += 1

    def __dealloc__(self) -> None:
        """Compiled: the batch is dropped, and kept for the next one. Else it is never called."""
        global _spare
        if _spare < SPARE_MAX:
            _spare += 1

    @classmethod
    def whole(cls, frame: Published) -> Batch:
        """The batch of all tasks of a frame."""
        return cls(frame, 0, frame.count)

    def __repr__(self) -> str:
        f = self.frame
        stop = self.first + self.count
        return f"<Batch {f.queue}/{f.task} #{f.sequence}[{self.first}:{stop}] try {self.attempt}>"

    def part(self, start: int, count: int) -> Batch:
        """The tasks ``start .. start + count`` of this batch, as a batch of their own."""
        assert 0 <= start < start + count <= self.count
        return Batch(
            self.frame,
            self.first + start,
            count,
            attempt=self.attempt,
            crashes=self.crashes,
            failures=self.failures,
            timeouts=self.timeouts,
            fresh=self.fresh,
        )

    def own(
        self, index: Indexer, array_header: Callable[[int], bytes], *, always: bool = False
    ) -> None:
        """Leave a frame of which this is half or less, with a copy of what is in it of this;
        ``always``: one of which this is not all.

        A frame that cannot be cut stays, and all of it is counted. Call it before it is counted.
        """
        frame = self.frame
        if self.count == frame.count or (2 * self.count > frame.count and not always):
            return
        try:
            body = self.body(index, array_header)
        except ProtocolError:
            self.nbytes = len(frame.body) + OVERHEAD_BYTES
        else:
            self.frame = frame.copy(body, self.first, self.count)
            self.nbytes = len(body) + OVERHEAD_BYTES

    def body(self, index: Indexer, array_header: Callable[[int], bytes]) -> bytes:
        """The msgpack array of just these tasks; the frame itself where nothing was cut.

        Errors of ``index`` (a frame that is not what its first bytes say) pass through.
        """
        frame = self.frame
        if self.count == frame.count:
            return frame.body
        offsets = frame.offsets
        if offsets is None:
            if frame.damage:  # Looking again would cost as much, and find the same.
                raise ProtocolError("malformed", frame.damage)
            try:
                offsets = frame.offsets = index(frame.body)
            except ProtocolError as error:
                frame.damage = str(error)
                raise
        start = self.first - frame.base
        stop = start + self.count
        return array_header(self.count) + frame.body[offsets[start] : offsets[stop]]
