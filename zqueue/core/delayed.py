"""Delayed tasks: those that wait for their time, in memory, and cost next to nothing until then.

Theory of operation. What is due within a second stands in a heap. All else lies in *buckets*, by
time: of a second each for the next minute, of a minute for the next hour, of an hour for what comes
after. A bucket has a packed record for each run of tasks, and no object of ours but the frame. When
its time comes a bucket is opened, once: what it holds goes to finer buckets, or to the heap. So a
task is moved three times at most, whenever it is due, and while nothing is due nobody looks at it.
"""

from __future__ import annotations

import heapq
import struct
from collections.abc import Callable, Iterator
from itertools import chain, islice

from .batch import Batch, Published
from .lease import runs_of

NEAR_S = 1.0
WIDTHS_S = ((64.0, 1), (4096.0, 64))
"""Up to how far from now buckets are how wide, seconds."""
WIDEST_S = 4096

COUNT_MAX = 0xFFFF
"""Counters of a task that go further stay there."""

LOOK_MAX = 4096
"""Runs that are looked at for the first few: that takes some milliseconds."""

_ITEM = struct.Struct("<dIIIIHHH")
"""Due, first, count, bytes, attempt, crashes, failures, timeouts."""


class _Bucket:
    """Runs of tasks that are due within the same span."""

    __slots__ = ("due", "frames", "items")

    def __init__(self, due: float) -> None:
        self.due = due
        """Of the first of them."""
        self.frames: list[Published] = []
        self.items = bytearray()


class Delayed:
    """Runs of tasks, each with the time from which on it may be handed out."""

    __slots__ = ("_buckets", "_near", "_serial", "_starts", "bytes", "tasks")

    def __init__(self) -> None:
        self.tasks = 0
        self.bytes = 0
        """As `Batch.nbytes` counts them."""
        self._near: list[tuple[float, int, Batch]] = []
        self._serial = 0
        """Keeps the order of those that are due at the same time."""
        self._buckets: dict[tuple[int, int], _Bucket] = {}
        """By start and width, seconds."""
        self._starts: list[tuple[int, int]] = []
        """A heap of their keys."""

    def __repr__(self) -> str:
        return f"<Delayed: {self.tasks} tasks in {len(self._buckets)} buckets>"

    def put(self, batch: Batch, due: float, now: float) -> None:
        """Tasks are to wait until ``due``."""
        self.tasks += batch.count
        self.bytes += batch.nbytes
        if due < now + NEAR_S:
            self._put_near(batch, due)
            return
        item = _ITEM.pack(
            due, batch.first, batch.count, batch.nbytes, batch.attempt,
            min(batch.crashes, COUNT_MAX), min(batch.failures, COUNT_MAX),
            min(batch.timeouts, COUNT_MAX),
        )  # fmt: skip
        self._put_far(batch.frame, item, due, now)

    def next_due(self) -> float | None:
        """When the first of them is due."""
        due = [bucket.due for bucket in self._buckets.values()]
        if self._near:
            due.append(self._near[0][0])
        return min(due, default=None)

    def next_look(self) -> float | None:
        """When `take` is to be called: something is due, or comes near."""
        due = [self._near[0][0]] if self._near else []
        if self._starts:
            due.append(float(self._starts[0][0]))
        return min(due, default=None)

    def take(self, now: float) -> list[tuple[float, Batch]]:
        """Remove those that are due, and give them with the time at which they were."""
        self._open(now)
        taken: list[tuple[float, Batch]] = []
        near = self._near
        while near and near[0][0] <= now:
            due, _, batch = heapq.heappop(near)
            self._discount(batch)
            taken.append((due, batch))
        return taken

    def take_out(self, choose: Callable[[Batch], int], now: float) -> list[Batch]:
        """Remove some, whenever they are due. ``choose`` says which of a batch, a bit each."""
        taken: list[Batch] = []
        kept: list[tuple[float, Batch]] = []
        for due, batch in self:
            everything = (1 << batch.count) - 1
            bits = choose(batch) & everything
            taken += [batch.part(*run) for run in runs_of(bits)]
            kept += [(due, batch.part(*run)) for run in runs_of(~bits & everything)]
        if taken:
            self.tasks = self.bytes = 0
            self._near, self._buckets, self._starts = [], {}, []
            for due, batch in kept:
                self.put(batch, due, now)
        return taken

    def first(self, most: int, task: str = "") -> list[tuple[float, Batch]]:
        """The runs that are due first, of any task or of one; of `LOOK_MAX` that are looked at."""
        buckets = sorted(self._buckets.values(), key=lambda bucket: bucket.due)
        left, found = LOOK_MAX, list[tuple[float, Batch]]()
        near = ((due, batch) for due, _, batch in self._near)
        starts = [self._near[0][0] if self._near else 0.0, *(bucket.due for bucket in buckets)]
        for start, runs in zip(starts, chain([near], map(_runs_of, buckets)), strict=True):
            if not left or (len(found) == most and found[-1][0] <= start):
                break
            looked = list(islice(runs, left))
            left -= len(looked)
            found += (run for run in looked if not task or run[1].frame.task == task)
            found = sorted(found, key=lambda run: run[0])[:most]
        return found

    def __iter__(self) -> Iterator[tuple[float, Batch]]:
        """All of them, with their times, in no order."""
        for due, _, batch in self._near:
            yield due, batch
        for bucket in self._buckets.values():
            yield from _runs_of(bucket)

    def _put_near(self, batch: Batch, due: float) -> None:
        self._serial += 1
        heapq.heappush(self._near, (due, self._serial, batch))

    def _put_far(self, frame: Published, item: bytes, due: float, now: float) -> None:
        width = WIDEST_S
        for span_s, narrower in WIDTHS_S:
            if due < now + span_s:
                width = narrower
                break
        start = int(due // width) * width
        bucket = self._buckets.get((start, width))
        if bucket is None:
            bucket = self._buckets[start, width] = _Bucket(due)
            heapq.heappush(self._starts, (start, width))
        elif due < bucket.due:
            bucket.due = due
        bucket.frames.append(frame)
        bucket.items += item

    def _open(self, now: float) -> None:
        """Open the buckets whose time has come."""
        while self._starts and self._starts[0][0] <= now:
            key = heapq.heappop(self._starts)
            start, width = key
            bucket = self._buckets.pop(key)
            for at, (frame, item) in enumerate(
                zip(bucket.frames, _ITEM.iter_unpack(bucket.items), strict=True)
            ):
                due = item[0]
                if width == 1 or due < now + NEAR_S:
                    self._put_near(_batch_of(frame, item), due)
                else:
                    packed = bytes(bucket.items[at * _ITEM.size : (at + 1) * _ITEM.size])
                    self._put_far(frame, packed, due, max(now, float(start)))

    def _discount(self, batch: Batch) -> None:
        self.tasks -= batch.count
        self.bytes -= batch.nbytes


def _runs_of(bucket: _Bucket) -> Iterator[tuple[float, Batch]]:
    for frame, item in zip(bucket.frames, _ITEM.iter_unpack(bucket.items), strict=True):
        yield item[0], _batch_of(frame, item)


def _batch_of(frame: Published, item: tuple[float, int, int, int, int, int, int, int]) -> Batch:
    _, first, count, nbytes, attempt, crashes, failures, timeouts = item
    batch = Batch(
        frame, first, count, attempt=attempt, crashes=crashes, failures=failures,
        timeouts=timeouts, fresh=attempt == 1,
    )  # fmt: skip
    batch.nbytes = nbytes
    return batch
