"""What is in a data dir: its segments in order, and what their records leave open.

Nothing is changed here. Of a segment that was full its footer is read, and its records only if that
is damaged; of the last of each stream all records. What cannot be read where a later commit says
that it was synced is damage; else it is the torn end of a commit that nobody was told of.
"""

from __future__ import annotations

import re
import zlib
from array import array
from collections.abc import Iterable
from itertools import pairwise
from struct import Struct
from typing import NamedTuple

from ..core.records import Fact, Over
from . import format as f
from .files import Disk
from .segments import COLD, HOT, Ledger, Segment, number_of
from .store import StoreDamaged

HINT = "'zqueue store check' lists what is damaged, 'zqueue store salvage' keeps what is whole"

NEWEST = "newest"
"""The file that tells which segments are the newest, so that they are missed."""

_END = Struct("<QI")
_NAME = re.compile(r"([0-9a-f]{16})\.seg")
_PART_BYTES = 1 << 20
_ZEROES = bytes(_PART_BYTES)
_FLAGS_MAX = 1 << 24
"""Rows of a segment of 64 MiB are fewer than two million."""


def name_of(number: int) -> str:
    """The file of a segment."""
    return f"{number:016x}.seg"


def segment_number(name: str) -> int | None:
    """The number of a segment by its file; None: it is another file."""
    match = _NAME.fullmatch(name)
    return int(match[1], 16) if match else None


class Begun(NamedTuple):
    """A segment that has records, and its first commit."""

    stamp: int
    commit: f.Commit

    @property
    def name(self) -> str:
        """Its file."""
        return name_of(number_of(self.stamp))


class Torn(NamedTuple):
    """What is behind the last record of a segment, and must not be read again."""

    name: str
    places: list[int]
    """Where it has heads of records."""


class Survey:
    """Reads a data dir. Raises `StoreDamaged`, and `OSError`.

    ``is_live``: another process may write to it, and nothing will be told on the ground of this.
    """

    def __init__(self, disk: Disk, segment_bytes: int, *, is_live: bool = False) -> None:
        self.ledger = Ledger(segment_bytes)
        self.facts: list[Fact] = []
        self.torn: list[Torn] = []
        self.torn_bytes = 0
        self.spares: list[int] = []
        """Stamps of segments that were never written."""
        self.spent: list[str] = []
        """Files of segments that are not needed any more."""
        self.highest = 0
        """Number of the last segment."""
        self._disk = disk
        self._segment_bytes = segment_bytes
        self._has_all_facts = False
        self._is_live = is_live
        self.ends = unpack_newest(disk.read(NEWEST, 0, 4096) if NEWEST in disk.names() else b"")
        """Segments that must be there, and how far they go, as `NEWEST` tells."""
        streams = self._streams()
        for stream in streams:
            self._read(stream)
        self._earlier_facts(streams[HOT])
        self.ledger.settle()
        if streams[HOT]:
            self.ledger.streams[HOT][-1].skip_to(self.ledger.next_entry)

    def __repr__(self) -> str:
        return f"<Survey of {self.ledger!r}>"

    # --- which segments there are ---

    def _streams(self) -> tuple[list[Begun], list[Begun]]:
        streams: tuple[list[Begun], list[Begun]] = ([], [])
        for name in self._disk.names():
            number = segment_number(name)
            if number is None:
                continue
            self.highest = max(self.highest, number)
            head = self._disk.read(name, 0, f.FIRST + f.COMMIT_BYTES)
            stamp = f.stamp_of(head)
            size = len(self._disk.read(name, self._segment_bytes - 1, 1))
            if stamp is None or number_of(stamp) != number or not size:
                raise StoreDamaged(
                    f"{name} is cut short, or no segment, or one of another name: {HINT}"
                )
            record = f.parse(head, f.FIRST, stamp)
            if record is None or record.kind != f.COMMIT:
                self._unwritten(name, stamp)
            else:
                begun = Begun(stamp, f.Commit.unpack(record))
                streams[begun.commit.stream].append(begun)
        for stream in streams:
            stream.sort(key=lambda begun: number_of(begun.stamp))
        there = {number_of(begun.stamp) for stream in streams for begun in stream}
        for number in set(self.ends) - there:
            raise StoreDamaged(f"{name_of(number)} is missing, or damaged at its head: {HINT}")
        return streams

    def _unwritten(self, name: str, stamp: int) -> None:
        """A segment without a first commit: it has none, or it is torn.

        What is in memory is enough to tell: there is nothing on disk that is not there, and what is
        there alone makes it torn, as it would be on disk.
        """
        data = self._all_but_zeroes(name)
        places = list(f.candidates(data, f.FIRST, stamp))
        if f.synced_beyond(data, f.FIRST, stamp, places):
            raise StoreDamaged(f"{name} is damaged at its first commit: {HINT}")
        if not places:
            self.spares.append(stamp)
        else:
            self.torn_bytes += f.COMMIT_BYTES
            self.spent.append(name)

    def _unsynced(self, name: str) -> bytes:
        """A file that the last process may have written without a sync: not what a sync that
        failed has left in memory, but what is on disk."""
        if not self._is_live:
            self._disk.sync(name)
            self._disk.forget(name)
            self._disk.done(name)
        return self._all(name)

    def _all(self, name: str) -> bytes:
        return self._disk.read(name, 0, self._segment_bytes)

    def _all_but_zeroes(self, name: str) -> bytes:
        """A file up to where nothing but zeroes comes. Mostly that is nearly nothing: to get memory
        for all of it would take several times as long as to see that."""
        parts: list[bytes] = []
        for at in range(0, self._segment_bytes, _PART_BYTES):
            part = self._disk.read(name, at, min(_PART_BYTES, self._segment_bytes - at))
            parts.append(_ZEROES if part == _ZEROES else part)
        while parts[-2:] == [_ZEROES, _ZEROES]:  # One may be the end of a head.
            parts.pop()
        return b"".join(parts)

    # --- what is in them ---

    def _read(self, stream: list[Begun]) -> None:
        """All segments of a stream that are needed."""
        if not stream:
            return
        newest = stream[-1]
        data = self._unsynced(newest.name)
        # Read twice: all of them at once would take several times the memory of the segment.
        last = f.last_of(data, f.FIRST, newest.stamp, f.COMMIT)
        oldest = (newest.commit if last is None else f.Commit.unpack(last)).oldest
        needed = [begun for begun in stream if number_of(begun.stamp) >= oldest]
        self.spent += [begun.name for begun in stream if begun not in needed]
        before = None
        for begun in needed:
            number = begun.commit.previous if before is not None else oldest
            if number != number_of((before or begun).stamp):
                raise StoreDamaged(f"{name_of(number)} is missing: {HINT}")
            before = begun
        for begun, after in pairwise(needed):
            segment = self._begin(begun)
            end = after.commit.end
            if self._read_footer(segment, begun.name, end):
                continue
            full = f.records_in(self._all(begun.name)[:end], f.FIRST, segment.stamp)
            if self._read_records(segment, full) != end:
                raise StoreDamaged(f"{begun.name} is damaged at byte {segment.end}: {HINT}")
        segment = self._begin(newest)
        self._read_records(segment, f.records_in(data, f.FIRST, newest.stamp))
        self._look_behind(segment, newest.name, data)

    def _begin(self, begun: Begun) -> Segment:
        commit = begun.commit
        self.ledger.next_entry = max(self.ledger.next_entry, commit.next_entry)
        segment = Segment(
            begun.stamp, commit.stream, commit.next_entry, (commit.previous, commit.end)
        )
        self.ledger.begin(segment)
        return segment

    def _look_behind(self, segment: Segment, name: str, data: bytes) -> None:
        """Where a segment ends that is not full is for its records to say: see what is there."""
        end = segment.end
        places = list(f.candidates(data, end, segment.stamp))
        is_short = end < self.ends.get(segment.number, 0)
        if is_short or f.synced_beyond(data, end, segment.stamp, places):
            raise StoreDamaged(f"{name} is damaged at byte {end}: {HINT}")
        if places:
            self.torn.append(Torn(name, places))
            self.torn_bytes += places[-1] + f.HEAD_BYTES - end

    def _read_records(
        self, segment: Segment, records: Iterable[tuple[int, f.Parsed, bytes]]
    ) -> int:  # fmt: skip
        """Read records of a segment. Returns where they end."""
        for at, record, body in records:
            self._replay(segment, at, record, body)
            segment.end = record.end
        return segment.end

    def _replay(self, segment: Segment, at: int, record: f.Parsed, body: bytes) -> None:
        ledger, kind = self.ledger, record.kind
        if kind < f.SEGMENT:
            key = (record.name, kind)
            size = record.end - at
            if segment.stream == COLD:
                segment.add(record.number, at, size, key, record.tasks, record.body_bytes)
                ledger.index_cold(segment, len(segment.open) - 1)
                return
            if record.number > ledger.next_entry:  # Some were lost, and what is whole was kept.
                segment.skip_to(record.number)
                ledger.next_entry = record.number
            ledger.put(segment, at, size, key, record.tasks, record.body_bytes)
        elif kind == f.OVER:
            for over in map(Over._make, f.OVER_RUN.iter_unpack(body)):
                if (there := self._find(segment, over.entry)) is not None:
                    ledger.over(*there, over, segment)
        elif kind == f.AGAIN:
            if (there := self._find(segment, record.number)) is not None:
                ledger.again(*there, f.unpack_again(record), segment)
        elif kind == f.STATE:
            ledger.state(record.number, f.unpack_state(body), segment)
        else:
            self._replay_fact(kind, body)

    def _find(self, said: Segment, number: int) -> tuple[Segment, int] | None:
        """An entry that is open, in the stream of a segment that says something about it."""
        return (self.ledger.find_cold if said.stream == COLD else self.ledger.find)(number)

    def _replay_fact(self, kind: int, body: bytes) -> None:
        if kind == f.FACT:
            self.facts.append(Fact(body))
        elif kind == f.FACTS:
            self.facts = f.unpack_facts(body)
            self._has_all_facts = True

    def _read_footer(self, segment: Segment, name: str, at: int) -> bool:
        """Read what a full segment says of itself. False if it does not, or that is damaged."""
        head = self._disk.read(name, at, 1 << 16)
        record = f.parse(head, 0, segment.stamp)
        if record is None or record.kind != f.FOOTER:
            return False
        if record.end > len(head):
            head = self._disk.read(name, at, record.end)
        body = f.body_of(head, record)
        if body is None:
            return False
        footer = f.Footer.unpack(record, body)
        data = self._disk.read(name, at, footer.rows_at - at)
        said = [(r, b) for _, r, b in f.records_in(data, record.end, segment.stamp)]
        if (said[-1][0].end if said else record.end) != len(data):
            return False
        try:
            flags = {r.number: _inflate(b) for r, b in said if r.kind == f.FLAGS}
        except zlib.error:
            return False
        segment.end = at
        segment.put_footer(footer)
        segment.load = lambda segment: self._load(segment, name, footer.rows_at)
        for other in self.ledger.streams[segment.stream]:
            if len(rows := flags.get(other.number, other.open)) != len(other.open):
                raise StoreDamaged(f"{name} has a footer that cannot be: {HINT}")
            other.put_flags(rows)
        for r, b in said:
            if r.kind == f.STATE:
                self.ledger.state(r.number, f.unpack_state(b), segment)
        if segment.stream == COLD:
            self.ledger.index_cold(segment)
        return True

    def _load(self, segment: Segment, name: str, at: int) -> None:
        """The table of a segment: only what is asked for is read."""
        row = f.ROW.size + (8 if segment.stream == COLD else 0)
        data = self._disk.read(name, at, f.HEAD_BYTES + row * len(segment.open))
        record = f.parse(data, 0, segment.stamp)
        table = None if record is None or record.kind != f.ROWS else f.body_of(data, record)
        if table is None or len(table) != row * len(segment.open):
            table = self._table(segment, self._all(name)[: segment.end])
        rows = f.ROW.size * len(segment.open)
        segment.put_table(table[:rows], table[rows:])

    def _table(self, segment: Segment, data: bytes) -> bytes:
        """The table of a segment out of its records, because that in its footer is damaged."""
        rows, numbers = bytearray(), array("Q")
        end = f.FIRST
        for at, record, _ in f.records_in(data, end, segment.stamp):
            end = record.end
            if record.kind < f.SEGMENT:
                index = segment.classes[record.name, record.kind]
                rows += f.ROW.pack(at, end - at, record.body_bytes, record.tasks, index)
                numbers.append(record.number)
        if end != segment.end or len(numbers) != len(segment.open):
            raise StoreDamaged(f"{name_of(segment.number)} is damaged at byte {end}: {HINT}")
        return bytes(rows + numbers.tobytes() if segment.stream == COLD else rows)

    def _earlier_facts(self, hot: list[Begun]) -> None:
        """Facts of segments that were full before all facts were told again."""
        for begun in reversed(hot[:-1]):
            if self._has_all_facts:
                return
            later, self.facts = self.facts, []
            for _, record, body in f.records_in(self._all(begun.name), f.FIRST, begun.stamp):
                self._replay_fact(record.kind, body)
            self.facts += later


def pack_newest(ends: dict[int, int]) -> bytes:
    """The newest segments by number, and how far their records go, at least."""
    body = b"".join([_END.pack(*end) for end in ends.items()])
    return f.pack(0, f.COMMIT, tasks=len(ends), body=body) + body.ljust(2 * _END.size, b"\0")


def unpack_newest(data: bytes) -> dict[int, int]:
    """As it was packed. What is damaged says nothing: it only proves that something was there."""
    record = f.parse(data, 0, 0)
    body = None if record is None else f.body_of(data, record)
    return dict(_END.iter_unpack(body or b""))


def _inflate(data: bytes) -> bytes:
    return zlib.decompressobj().decompress(data, _FLAGS_MAX)
