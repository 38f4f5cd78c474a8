"""Which entries are in which segments, and which segments can go.

Two *streams* of segments: entries come into the hot one, in order of their numbers, so that a
number says where it is. From its oldest segment, those that stay longest are moved to the cold one.
What is said of an entry is written in its own stream. A segment goes when all before it in its
stream have gone, and no entry in it is open: so nothing that was said of an entry goes before the
entry does.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import compress
from operator import add

from ..core.records import Held, Over, Run
from .format import FIRST, ROW, Class, Footer

HOT, COLD = 0, 1

OVER, OPEN, MOVED = 0, 1, 2
"""What a row is about: an entry that is over, one that is open, one that is elsewhere."""

SLACK_SEGMENTS = 3
"""So many segments more than twice what is open there may be, before entries are moved: two are
being written, and with less, few entries would be moved round and round. While they are moved one
more is begun, and one waits for a sync to go."""

MOVES_LEAST = 16
MOVE_BYTES = 1 << 20
"""With one commit so many entries are moved, while they are no more bytes than that ..."""

MOVE_PACE = 2
"""... or as many times as many as it brings. Half of a file is to be moved at most before it goes,
in the mean, and what is moved takes room, too: with less, many that come together go ahead."""

_pack_row = ROW.pack
_ROW_BYTES = ROW.size

NUMBER_BITS = 32
"""The low bits of a stamp are the segment's number, the high ones are random."""


def number_of(stamp: int) -> int:
    """The number of the segment that has a stamp."""
    return stamp & ((1 << NUMBER_BITS) - 1)


class Segment:
    """A file, and a row for each of its entries: where it is, and whether it is open."""

    def __init__(self, stamp: int, stream: int, first: int, before: tuple[int, int] = (0, 0)
                 ) -> None:  # fmt: skip
        self.stamp = stamp
        self.number = number_of(stamp)
        self.stream = stream
        self.first = first
        """Number of the entry of the first row, if it is a hot one."""
        self.before = before
        """Number of the segment before it in its stream, and where that one's records end."""
        self.end = FIRST
        """Where the next record comes."""
        self.open = bytearray()
        """A byte for each row: `OPEN`, `OVER` or `MOVED`."""
        self.live = 0
        self.live_bytes = 0
        """Entries that are open here, and bytes of their records."""
        self.highest = 0
        """The highest number that came: in a cold segment not always the last."""
        self.classes: dict[tuple[bytes, int], int] = {}
        """Which queues and kinds there are, and their places in `totals`."""
        self.totals: list[list[int]] = []
        """By class: entries, tasks and bytes of bodies, of all rows."""
        self.touched: set[int] = set()
        """Segments, by number, of which a record in this one has closed entries."""
        self.stated: set[int] = set()
        """Entries of which a record in this one says what of them is open."""
        self.reserve = 4096
        """Bytes that its footer will take, roughly."""
        self.load: Callable[[Segment], None] | None = None
        """Reads the table, while that is on disk only."""
        self._rows = bytearray()
        self._numbers: array[int] = array("Q")

    def __repr__(self) -> str:
        name = "cold" if self.stream else "hot"
        return f"<Segment {self.number}, {name}: {self.live} of {len(self.open)} entries open>"

    @property
    def rows(self) -> bytearray:
        """The table, as bytes."""
        if self.load is not None:
            load, self.load = self.load, None
            load(self)
        return self._rows

    @property
    def numbers(self) -> array[int]:
        """Of a cold one: the entry of each row."""
        _ = self.rows
        return self._numbers

    def put_table(self, rows: bytes, numbers: bytes) -> None:
        """The table, as it was read."""
        self._rows = bytearray(rows)
        self._numbers = array("Q", numbers)

    def number_at(self, row: int) -> int:
        """The entry of a row."""
        return self.numbers[row] if self.stream else self.first + row

    def add(self, number: int, at: int, size: int, key: tuple[bytes, int], tasks: int, body: int
            ) -> None:  # fmt: skip
        """A row for an open entry, whose record is at an offset and so long; ``key`` is its queue
        and kind, ``body`` the length of its body."""
        index = self.classes.get(key)
        if index is None:
            index = self.classes[key] = len(self.totals)
            self.totals.append([0, 0, 0])
            self.reserve += 64 + len(key[0])
        totals = self.totals[index]
        totals[0] += 1
        totals[1] += tasks
        totals[2] += body
        if self.stream:
            self._numbers.append(number)
            self.reserve += 8
        self._rows += _pack_row(at, size, body, tasks, index)
        self.open.append(OPEN)
        self.live += 1
        self.live_bytes += size
        self.highest = max(self.highest, number)
        self.reserve += _ROW_BYTES + 1

    def skip_to(self, number: int) -> None:
        """Rows of a hot segment for entries that are lost, up to a number."""
        for lost in range(self.first + len(self.open), number):
            self.add(lost, 0, 0, (b"", 0), 0, 0)
            self.close(len(self.open) - 1, 0)

    def row(self, row: int) -> tuple[int, int, int, int, int]:
        """As `format.ROW`."""
        fields: tuple[int, int, int, int, int] = ROW.unpack_from(self.rows, row * _ROW_BYTES)
        return fields

    def put_footer(self, footer: Footer) -> None:
        """What it said of itself when it was full; its table is for `load`."""
        self.open = bytearray([OPEN]) * footer.entries
        self.live = footer.entries
        self.live_bytes = self.end - FIRST
        self.classes = {(c.queue, c.kind): i for i, c in enumerate(footer.classes)}
        self.totals = [list(c[2:]) for c in footer.classes]

    def close(self, row: int, size: int, how: int = OVER) -> None:
        """The entry of a row is over, or elsewhere."""
        self.open[row] = how
        self.live -= 1
        self.live_bytes -= size

    def flags(self) -> bytes:
        """Which rows are open. What was moved still is here: it is for the other stream to say."""
        return bytes(self.open).replace(bytes([MOVED]), bytes([OPEN]))

    def put_flags(self, flags: bytes | bytearray) -> None:
        """Which rows are open, as it was said later."""
        was, self.open = self.live, bytearray(flags)
        self.live = flags.count(OPEN)
        # Roughly: reading the table of each segment would take longer than a start may.
        self.live_bytes = self.live_bytes * self.live // was if was else 0

    def open_rows(self, start: int = 0) -> Iterator[int]:
        """The rows that are open, as they are when each is asked for."""
        row = self.open.find(OPEN, start)
        while row >= 0:
            yield row
            row = self.open.find(OPEN, row + 1)

    def held(self) -> Iterator[Class]:
        """What is open, by class."""
        totals = self.totals
        if self.live < len(self.open):
            totals = [[0, 0, 0] for _ in totals]
            is_open = self.open.replace(bytes([MOVED]), bytes([OVER]))
            for _, _, body, tasks, index in compress(ROW.iter_unpack(self.rows), is_open):
                total = totals[index]
                total[0] += 1
                total[1] += tasks
                total[2] += body
        for (queue, kind), total in zip(self.classes, totals, strict=True):
            yield Class(queue, kind, *total)


class Ledger:
    """All segments, and the entries in them."""

    def __init__(self, segment_bytes: int) -> None:
        self.streams: tuple[list[Segment], list[Segment]] = ([], [])
        """Oldest first; the last of each is the one that is written."""
        self.runs: dict[int, list[Run]] = {}
        """By entry: what of it is open, unless that is all of it, as it was put."""
        self.next_entry = 1
        self.live_bytes = 0
        """Of records of entries that are open."""
        self._segment_bytes = segment_bytes
        self._firsts: list[int] = []
        """Of the hot segments."""
        self._cold: dict[int, tuple[Segment, int]] = {}
        """By entry: its last row in the cold stream."""

    def __repr__(self) -> str:
        return f"<Ledger of {self.streams[HOT]} and {self.streams[COLD]}>"

    def begin(self, segment: Segment) -> None:
        """A segment is written from now on."""
        self.streams[segment.stream].append(segment)
        if segment.stream == HOT:
            self._firsts.append(segment.first)

    def find(self, number: int) -> tuple[Segment, int] | None:
        """The segment and row of an entry that is open."""
        if self._cold and (there := self.find_cold(number)) is not None:
            return there
        index = bisect_right(self._firsts, number) - 1
        if index < 0:
            return None
        segment = self.streams[HOT][index]
        row = number - segment.first
        open_here = row < len(segment.open) and segment.open[row] == OPEN
        return (segment, row) if open_here else None

    def find_cold(self, number: int) -> tuple[Segment, int] | None:
        """As `find`, in the cold stream alone."""
        there = self._cold.get(number)
        return there if there is not None and there[0].open[there[1]] == OPEN else None

    def put(self, segment: Segment, at: int, size: int, key: tuple[bytes, int], tasks: int,
            body: int) -> None:  # fmt: skip
        """A new entry, in a hot segment; the arguments are those of `Segment.add`."""
        segment.add(self.next_entry, at, size, key, tasks, body)
        self.next_entry += 1
        self.live_bytes += size

    def over(self, segment: Segment, row: int, over: Over, said: Segment) -> None:
        """Tasks of an entry are over, as a record in a segment says."""
        if segment.open[row] != OPEN:
            return
        number, first, tasks = over
        _, size, _, all_tasks, _ = segment.row(row)
        runs = self.runs.get(number)
        if runs is not None or first or tasks < all_tasks:
            left = without(runs or [Run(0, all_tasks, b"")], first, tasks)
            if left:
                self.state(number, left, said)
                return
        if segment.number not in said.touched:
            said.touched.add(segment.number)
            said.reserve += len(segment.open) + 64
        segment.close(row, size)
        self.live_bytes -= size
        if runs is not None:
            del self.runs[number]
        if segment.stream:
            del self._cold[number]

    def again(self, segment: Segment, row: int, run: Run, said: Segment) -> None:
        """The state of tasks of an entry, as a record in a segment says."""
        number = segment.number_at(row)
        runs = self.runs.get(number) or [Run(0, segment.row(row)[3], b"")]
        self.state(number, restated(runs, run), said)

    def state(self, number: int, runs: list[Run], said: Segment) -> None:
        """What of an entry is open, as a record in a segment says."""
        self.runs[number] = runs
        if number not in said.stated:
            said.stated.add(number)
            said.reserve += 256

    # --- what goes ---

    def is_wasteful(self) -> bool:
        """Whether files are more than twice what is open in them, and a few more."""
        files = len(self.streams[HOT]) + len(self.streams[COLD]) - SLACK_SEGMENTS
        return files * self._segment_bytes > 2 * self.live_bytes

    def to_move(self, up_to: float, put: int = 0, put_bytes: int = 0) -> list[tuple[Segment, int]]:
        """Entries of the segment that is emptied with least work, in their order; of the hot
        stream only those up to a number. None if no file has to go. ``put``: so many come with the
        same commit."""
        chosen: list[tuple[Segment, int]] = []
        if not self.is_wasteful():
            return chosen
        heads = [stream[0] for stream in self.streams if len(stream) > 1 and stream[0].live]
        if not heads:
            return chosen
        most = max(MOVES_LEAST, MOVE_PACE * put)
        bytes_max = min(max(MOVE_BYTES, MOVE_PACE * put_bytes), self._segment_bytes // 4)
        segment = min(heads, key=lambda head: head.live_bytes)
        nbytes = 0
        for row in segment.open_rows():
            nbytes += segment.row(row)[1]
            if segment.stream == HOT and segment.first + row > up_to:
                break
            if len(chosen) == most or (chosen and nbytes > bytes_max):
                break
            chosen.append((segment, row))
        return chosen

    def moved(self, source: Segment, source_row: int, target: Segment, row: int) -> None:
        """An entry is in another segment now, and is not read where it was any more."""
        source.close(source_row, source.row(source_row)[1], MOVED)
        self._cold[target.numbers[row]] = (target, row)

    def is_spent(self, stream: int, lowest: int) -> bool:
        """Whether the oldest segment of a stream can go. ``lowest`` is the lowest number of which
        there may be an entry in a hot file."""
        segments = self.streams[stream]
        if len(segments) < 2 or segments[0].live:
            return False
        # While there is a copy of an entry in the hot stream, the cold one says that it is over.
        return stream == HOT or segments[0].highest < lowest

    def drop(self, stream: int, lowest: int) -> list[Segment]:
        """Forget the segments of a stream that can go, and return them."""
        gone = []
        while self.is_spent(stream, lowest):
            gone.append(self.streams[stream].pop(0))
            if stream == HOT:
                self._firsts.pop(0)
        return gone

    def lowest(self) -> int:
        """The lowest number of which there may be an entry in the hot stream."""
        return self._firsts[0] if self._firsts else self.next_entry

    # --- what is found at start ---

    def index_cold(self, segment: Segment, start: int = 0) -> None:
        """Rows of a cold segment, from one on, were read: each replaces what was before it."""
        for row in range(start, len(segment.open)):
            number = segment.numbers[row]
            if (before := self.find_cold(number)) is not None:
                before[0].close(before[1], before[0].row(before[1])[1], MOVED)
            self._cold[number] = (segment, row)
            segment.highest = max(segment.highest, number)

    def settle(self) -> None:
        """All has been read: of an entry in both streams the cold row counts."""
        cold, self._cold = self._cold, {}
        lowest = self.lowest()
        for segment in self.streams[COLD]:
            for number in segment.numbers if segment.highest >= lowest else ():
                if (there := self.find(number)) is not None:
                    there[0].close(there[1], there[0].row(there[1])[1], MOVED)
        self._cold = {n: there for n, there in cold.items() if there[0].open[there[1]] == OPEN}
        self.runs = {n: runs for n, runs in self.runs.items() if self.find(n) is not None}
        self.live_bytes = sum(s.live_bytes for stream in self.streams for s in stream)

    def held(self) -> list[Held]:
        """What is open, by kind and queue."""
        sums: dict[tuple[bytes, int], list[int]] = {}
        for segment in (*self.streams[HOT], *self.streams[COLD]):
            for queue, kind, *totals in segment.held():
                held = sums.setdefault((queue, kind), [0, 0, 0])
                held[:] = map(add, held, totals)
        for number, runs in self.runs.items():
            if (there := self.find(number)) is not None:
                _, _, _, tasks, index = there[0].row(there[1])
                key = list(there[0].classes)[index]
                sums[key][1] -= tasks - sum(run.tasks for run in runs)
        return [
            Held(kind, queue.decode(), *totals)
            for (queue, kind), totals in sorted(sums.items())
            if totals[0]
        ]

    def cold_numbers(self) -> list[int]:
        """The entries that are open in the cold stream, in order."""
        return sorted(self._cold)


def without(runs: list[Run], first: int, tasks: int) -> list[Run]:
    """What is open once these tasks are over, too."""
    stop = first + tasks
    left = []
    for run in runs:
        end = run.first + run.tasks
        if end <= first or run.first >= stop:
            left.append(run)
            continue
        if run.first < first:
            left.append(Run(run.first, first - run.first, run.meta))
        if end > stop:
            left.append(Run(stop, end - stop, run.meta))
    return left


def restated(runs: list[Run], state: Run) -> list[Run]:
    """What is open, where these tasks have a new state. Neighbours in the same state are one."""
    stop = state.first + state.tasks
    changed = [
        Run(low, high - low, state.meta)
        for run in runs
        if (low := max(run.first, state.first)) < (high := min(run.first + run.tasks, stop))
    ]
    together: list[Run] = []
    for run in sorted([*without(runs, state.first, state.tasks), *changed]):
        last = together[-1] if together else None
        if last and last.first + last.tasks == run.first and last.meta == run.meta:
            together[-1] = Run(last.first, last.tasks + run.tasks, run.meta)
        else:
            together.append(run)
    return together
