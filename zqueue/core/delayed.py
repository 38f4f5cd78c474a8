"""Delayed tasks: those that wait for their time, in memory, and cost next to nothing until then.

Theory of operation. What is due within a second stands in a heap. All else lies in *buckets*, by
time: of a second each for the next minute, of a minute for the next hour, of an hour for what comes
after. There a run of tasks is a packed record, and no object: its body lies in it, or, if it has a
number in the journal, in the store only. A bucket is opened a little before its time comes, a few
records at a time: what it holds goes to narrower buckets, and at last to the heap. So a task is
moved three times at most, whenever it is due, and while nothing is due nobody looks at it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from math import inf
from struct import Struct
from typing import Any

from .batch import OVERHEAD_BYTES, Batch, Published
from .lease import runs_of

NEAR_S = 1.0
"""What is due sooner is in the heap."""

WIDTHS_S = ((64.0, 1), (4096.0, 64))
"""Up to how far from now buckets are how wide, seconds."""
WIDEST_S = 4096

NARROWER_S = {WIDEST_S: 64, 64: 1}

AHEAD_S = {1: 1.0, 64: 8.0, WIDEST_S: 64.0}
"""How long before its time a bucket is opened, by its width, seconds."""

OPEN_MAX = 512
"""Records that are moved in one turn of the broker, and everybody waits for it: some 3 ms."""

PIECE_BYTES = 1 << 16
"""Of a bucket: it is freed when all of it has been moved."""

COUNT_MAX = 0xFFFF
"""Counters of a task that go further stay there."""

LOOK_MAX = 4096
"""Runs that are looked at for the first few: that takes some milliseconds."""

_HEAD = Struct("<IddQQqIHH")
"""Index of what it has in common with others, and `Fields`."""

Fields = tuple[float, float, int, int, int, int, int, int]
"""Due and sent; number of the batch and of its entry; the time that was asked for; bytes that
count; first task, tasks."""

Common = tuple[str, object, bool, Any, int, int, int, int, int, int]
"""Task, origin, whether results are wanted, options without their time, attempt, crashes, failures
and timeouts; first task of the frame and tasks in it, or 0, 0: those of the run."""

Record = tuple[Fields, Common, bytes]
"""With the body, unless that is in the store."""

Run = tuple[float, Batch]
"""When it is due, and what."""


class _Bucket:
    """Records that are due within the same span, in the order in which they came."""

    __slots__ = ("_at", "_common", "_indexes", "_pieces", "due", "opens", "width")

    def __init__(self, width: int, opens: float) -> None:
        self.width = width
        self.opens = opens
        """When it is opened."""
        self.due = inf
        """Of the first of them."""
        self._common: list[Common] = []
        self._indexes: dict[Common, int] = {}
        self._pieces: deque[bytearray | bytes] = deque()
        self._at = 0
        """Where the first one begins in the first piece."""

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def __iter__(self) -> Iterator[Record]:
        at = self._at
        for piece in self._pieces:
            while at < len(piece):
                record, at = self._read(piece, at)
                yield record
            at = 0

    def add(self, record: Record) -> None:
        """One more."""
        fields, common, body = record
        index = self._indexes.get(common)
        if index is None:
            index = self._indexes[common] = len(self._common)
            self._common.append(common)
        self.due = min(self.due, fields[0])
        pieces = self._pieces
        if not pieces or len(pieces[-1]) >= PIECE_BYTES:
            if pieces:
                pieces[-1] = bytes(pieces[-1])  # Without the room that it had to grow.
            pieces.append(bytearray())
        pieces[-1] += _HEAD.pack(index, *fields) + body

    def take(self, most: int) -> list[Record]:
        """The first of them, which are not here any more."""
        taken: list[Record] = []
        while self._pieces and len(taken) < most:
            piece = self._pieces[0]
            record, self._at = self._read(piece, self._at)
            taken.append(record)
            if self._at == len(piece):
                self._pieces.popleft()
                self._at = 0
        return taken

    def become(self, other: _Bucket) -> None:
        """Hold what another one has, and nothing else."""
        self.due, self._at = other.due, other._at
        self._common, self._indexes, self._pieces = other._common, other._indexes, other._pieces

    def _read(self, piece: bytearray | bytes, at: int) -> tuple[Record, int]:
        """A record, and where the next one begins."""
        (index, due, sent, sequence, entry, asked, nbytes, first, count
         ) = _HEAD.unpack_from(piece, at)  # fmt: skip
        at += _HEAD.size
        body = b"" if entry else bytes(piece[at : at + nbytes])
        fields = due, sent, sequence, entry, asked, nbytes, first, count
        return (fields, self._common[index], body), at + len(body)


def _record_of(due: float, batch: Batch) -> Record:
    """What has a number in the journal is kept without its body."""
    frame = batch.frame
    asked, options = (0, None) if frame.options is None else frame.options.apart()
    is_whole = batch.count == frame.count
    fields = (
        due, frame.at - frame.age_us / 1e6, frame.sequence, frame.entry, asked,
        batch.nbytes - OVERHEAD_BYTES, batch.first, batch.count,
    )  # fmt: skip
    common = (
        frame.task, frame.origin, frame.reply, options, batch.attempt,
        min(batch.crashes, COUNT_MAX), min(batch.failures, COUNT_MAX),
        min(batch.timeouts, COUNT_MAX), *((0, 0) if is_whole else (frame.base, frame.count)),
    )  # fmt: skip
    return fields, common, b"" if frame.entry else frame.body


def _batch_of(queue: str, record: Record) -> Batch:
    (_, sent, sequence, entry, asked, nbytes, first, count), common, body = record
    task, origin, reply, options, attempt, crashes, failures, timeouts, base, total = common
    frame = Published(
        queue, task, body, total or count, at=sent, origin=origin, sequence=sequence, reply=reply,
        options=None if options is None else options.timed(asked),
    )  # fmt: skip
    frame.entry, frame.base = entry, base if total else first
    batch = Batch(
        frame, first, count, attempt=attempt, crashes=crashes, failures=failures,
        timeouts=timeouts, fresh=attempt == 1,
    )  # fmt: skip
    batch.nbytes = nbytes + OVERHEAD_BYTES
    return batch


class Delayed:
    """Runs of tasks of a queue, each with the time from which on it may be handed out.

    ``own`` gives a batch a frame of its own, if it has not all of one. What comes out without a
    body is in the store.
    """

    __slots__ = ("_buckets", "_near", "_opening", "_own", "_queue", "_serial", "_starts", "bytes",
                 "memory_bytes", "tasks")  # fmt: skip

    def __init__(self, queue: str, own: Callable[[Batch], None]) -> None:
        self.tasks = 0
        self.bytes = 0
        """As `Batch.nbytes` counts them; of those that are in the store only, the bodies."""
        self.memory_bytes = 0
        """As `Batch.nbytes` counts them; of those that are in the store only, what is here."""
        self._queue = queue
        self._own = own
        self._near: list[tuple[float, int, Batch]] = []
        self._serial = 0
        """Keeps the order of those that are due at the same time."""
        self._buckets: dict[tuple[int, int], _Bucket] = {}
        """By start and width, seconds."""
        self._starts: list[tuple[float, tuple[int, int]]] = []
        """A heap of when they are opened, and their keys."""
        self._opening: _Bucket | None = None

    def __repr__(self) -> str:
        return f"<Delayed: {self.tasks} tasks in {len(self._buckets)} buckets>"

    def put(self, batch: Batch, due: float, now: float) -> None:
        """Tasks are to wait until ``due``."""
        if batch.frame.body:
            self._own(batch)
        self.tasks += batch.count
        if due < now + NEAR_S:
            self._put_near(due, batch)
            return
        width = WIDEST_S
        for span_s, narrower in WIDTHS_S:
            if due < now + span_s:
                width = narrower
                break
        self._weigh(batch, 1, packed=True)
        self._put_far(_record_of(due, batch), width)

    def next_due(self) -> float | None:
        """When the first of them is due."""
        due = [bucket.due for bucket in self._all_buckets()]
        if self._near:
            due.append(self._near[0][0])
        return min(due, default=None)

    def next_look(self) -> float | None:
        """When `take` is to be called: something is due, or comes near."""
        if self._opening is not None:
            return self._opening.opens
        due = [self._near[0][0]] if self._near else []
        if self._starts:
            due.append(self._starts[0][0])
        return min(due, default=None)

    def take(self, now: float) -> list[Run]:
        """Remove those that are due, and give them with the time at which they were."""
        self._open(now)
        taken: list[Run] = []
        near = self._near
        while near and near[0][0] <= now:
            due, _, batch = heapq.heappop(near)
            self.tasks -= batch.count
            self._weigh(batch, -1)
            taken.append((due, batch))
        return taken

    def take_out(self, choose: Callable[[Batch], int]) -> list[Batch]:
        """Remove some, whenever they are due. ``choose`` says which of a batch, a bit each."""
        taken: list[Batch] = []

        def left_of(batch: Batch) -> list[Batch]:
            everything = (1 << batch.count) - 1
            bits = choose(batch) & everything
            taken.extend(_part(batch, *run) for run in runs_of(bits))
            left = [_part(batch, *run) for run in runs_of(~bits & everything)]
            for part in left if batch.frame.body else ():
                self._own(part)
            return left

        if any(choose(batch) for _, _, batch in self._near):
            near, self._near = sorted(self._near), []
            for due, _, batch in near:
                self._weigh(batch, -1)
                for part in left_of(batch):
                    self._put_near(due, part)
        for bucket in self._all_buckets():
            if any(choose(batch) for _, batch in self._runs(bucket)):
                self._sift(bucket, left_of)
        self._drop_empty()
        self.tasks -= sum(batch.count for batch in taken)
        return taken

    def first(self, most: int, task: str = "") -> list[Run]:
        """The runs that are due first, of any task or of one; of `LOOK_MAX` that are looked at."""
        buckets = sorted(self._all_buckets(), key=lambda bucket: bucket.due)
        left, found = LOOK_MAX, list[Run]()
        near = ((due, batch) for due, _, batch in self._near)
        starts = [self._near[0][0] if self._near else 0.0, *(bucket.due for bucket in buckets)]
        for start, runs in zip(starts, [near, *map(self._runs, buckets)], strict=True):
            if not left or (len(found) == most and found[-1][0] <= start):
                break
            looked = list(islice(runs, left))
            left -= len(looked)
            found += (run for run in looked if not task or run[1].frame.task == task)
            found = sorted(found, key=lambda run: run[0])[:most]
        return found

    def __iter__(self) -> Iterator[Run]:
        """All of them, with their times, in no order."""
        for due, _, batch in self._near:
            yield due, batch
        for bucket in self._all_buckets():
            yield from self._runs(bucket)

    def _runs(self, bucket: _Bucket) -> Iterator[Run]:
        for record in bucket:
            yield record[0][0], _batch_of(self._queue, record)

    def _all_buckets(self) -> list[_Bucket]:
        opening = [] if self._opening is None else [self._opening]
        return [*opening, *self._buckets.values()]

    def _put_near(self, due: float, batch: Batch) -> None:
        self._serial += 1
        self._weigh(batch, 1)
        heapq.heappush(self._near, (due, self._serial, batch))

    def _put_far(self, record: Record, width: int) -> None:
        start = int(record[0][0] // width) * width
        bucket = self._buckets.get((start, width))
        if bucket is None:
            bucket = self._buckets[start, width] = _Bucket(width, start - AHEAD_S[width])
            heapq.heappush(self._starts, (bucket.opens, (start, width)))
        bucket.add(record)

    def _open(self, now: float) -> None:
        """Move some of what is in buckets whose time comes."""
        left = OPEN_MAX
        while left:
            if self._opening is None:
                if not self._starts or self._starts[0][0] > now:
                    return
                self._opening = self._buckets.pop(heapq.heappop(self._starts)[1])
            bucket = self._opening
            records = bucket.take(left)
            left -= len(records)
            for record in records:
                due = record[0][0]
                if bucket.width == 1 or due < now + NEAR_S:
                    batch = _batch_of(self._queue, record)
                    self._weigh(batch, -1, packed=True)
                    self._put_near(due, batch)
                else:
                    self._put_far(record, NARROWER_S[bucket.width])
            if not bucket:
                self._opening = None

    def _sift(self, bucket: _Bucket, left_of: Callable[[Batch], list[Batch]]) -> None:
        rest = _Bucket(bucket.width, bucket.opens)
        for due, batch in self._runs(bucket):
            self._weigh(batch, -1, packed=True)
            for part in left_of(batch):
                rest.add(_record_of(due, part))
                self._weigh(part, 1, packed=True)
        bucket.become(rest)

    def _drop_empty(self) -> None:
        self._buckets = {key: bucket for key, bucket in self._buckets.items() if bucket}
        self._starts = [(bucket.opens, key) for key, bucket in self._buckets.items()]
        heapq.heapify(self._starts)
        if not self._opening:
            self._opening = None

    def _weigh(self, batch: Batch, sign: int, *, packed: bool = False) -> None:
        """Count a batch that comes, or goes (-1)."""
        all_bytes = memory_bytes = batch.nbytes
        if not batch.frame.body or (packed and batch.frame.entry):
            all_bytes -= OVERHEAD_BYTES
            memory_bytes = _HEAD.size if packed else OVERHEAD_BYTES
        self.bytes += sign * all_bytes
        self.memory_bytes += sign * memory_bytes


def _part(batch: Batch, first: int, count: int) -> Batch:
    part = batch.part(first, count)
    if not batch.frame.body:
        share = (batch.nbytes - OVERHEAD_BYTES) * count // batch.count
        part.nbytes = share + OVERHEAD_BYTES
    return part
