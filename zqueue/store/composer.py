"""Composing: records become bytes, and a commit a list of writes.

A commit is written at the end of the hot stream and, where it is about entries that were moved, of
the cold one: after the other, so that no entry is over for the sake of one that is not there. Facts
and what is over come last in it.
"""

from __future__ import annotations

import zlib

from ..core.records import Again, Entry, Fact, Facts, Over, Record, Run
from . import format as f
from .format import pack
from .segments import COLD, HOT, Ledger, Segment
from .spares import Spares
from .survey import name_of
from .writer import Move, Write

OVERS_MAX = 4096
"""Of one record."""

_HEAD_BYTES = f.HEAD_BYTES
_BEHIND_BYTES = f.COMMIT_BYTES + f.ROW.size + 128
"""What may come behind a record, beside the footer."""


class Tail:
    """The end of a stream, and what is about to be written there."""

    def __init__(self, stream: int) -> None:
        self.stream = stream
        self.segment: Segment | None = None
        self.start = 0
        self.parts: list[bytes] = []
        self.moves: list[Move] = []
        self.writes: list[Write] = []
        self.has_begun = False
        """The commit that is being made has its first record here."""

    def __repr__(self) -> str:
        return f"<Tail in {self.segment!r}: {len(self.parts)} parts to write>"

    def append(self, head: bytes, body: bytes = b"") -> None:
        """A record, behind those before it."""
        assert self.segment is not None
        self.parts.append(head)
        self.segment.end += len(head) + len(body)
        if body:
            self.parts.append(body)

    def flush(self, *, sync: bool, last: bool = False) -> None:
        """All that was appended is one write."""
        if self.segment is not None and (self.parts or self.moves):
            moves = tuple(self.moves)
            name = name_of(self.segment.number)
            self.writes.append(Write(name, self.start, self.parts, sync, moves, last))
            self.start = self.segment.end
            self.parts, self.moves = [], []

    def take(self) -> list[Write]:
        """What was flushed."""
        writes, self.writes = self.writes, []
        self.has_begun = False
        return writes


class Composer:
    """Where the next commit comes, and what is moved by the last.

    ``sync``: a commit begins only after the sync of the one before.
    """

    def __init__(self, ledger: Ledger, spares: Spares, segment_bytes: int, *, sync: bool) -> None:
        self.tails = (Tail(HOT), Tail(COLD))
        self.begun = 0
        """How many commits were composed."""
        self.opened = 0
        """The last commit that has begun a segment."""
        self.moved = 0
        """Entries that were moved."""
        self._ledger = ledger
        self._spares = spares
        self._segment_bytes = segment_bytes
        self._sync = sync
        self._moving: list[tuple[Segment, int, Segment, int]] = []
        self._move_begun = 0
        self._ticket = self._synced = 0
        self._up_to: float = 0
        self._needs_facts = False
        self._put_bytes = 0
        """Of the entries of this commit."""
        for tail, segments in zip(self.tails, ledger.streams, strict=True):
            if segments:
                tail.segment = segments[-1]
                tail.start = tail.segment.end

    def __repr__(self) -> str:
        return f"<Composer of {self.begun} commits, {self.tails}>"

    def compose(
        self, ticket: int, records: list[Record], facts: Facts, synced: int, up_to: float
    ) -> list[Write]:
        """A commit. ``synced`` commits are synced; entries of the hot stream may be moved up to a
        number. `settle` it once it is written."""
        self._ticket, self._synced, self._up_to = ticket, synced, up_to
        hot = self.tails[HOT]
        overs: tuple[list[tuple[Segment, int, Over]], ...] = ([], [])
        first, self._put_bytes = self._ledger.next_entry, 0
        for record in records:
            if isinstance(record, Entry):
                self._put(hot, record)
            elif isinstance(record, Over):
                if (there := self._ledger.find(record.entry)) is not None:
                    overs[there[0].stream].append((*there, record))
            elif isinstance(record, Again):
                self._again(record)
            else:
                segment = self._room(hot, f.HEAD_BYTES + len(record.meta))
                hot.append(pack(segment.stamp, f.FACT, body=record.meta), record.meta)
        for tail in self.tails:
            self._overs(tail, overs[tail.stream])
        for tail in self.tails:
            if self._may_drop(tail.stream):
                self._room(tail, 0)
        self._move(self._ledger.next_entry - first)
        if self._needs_facts:
            self._all_facts(hot, facts())
        if not any(tail.has_begun or tail.writes for tail in self.tails):
            self._room(hot, 0)
        return self._writes(sync=self._sync)

    def mark(self, synced: int) -> list[Write]:
        """A last commit, which proves that all before it was synced."""
        self._synced = synced
        for tail in self.tails:
            if tail.segment is not None:
                self._room(tail, 0)
        return self._writes(sync=True)

    def settle(self) -> None:
        """The commit that was composed last is written."""
        for move in self._moving:
            self._ledger.moved(*move)
        self.moved += len(self._moving)
        self._moving = []

    def is_due(self, synced: int, up_to: float) -> bool:
        """Whether there is something to drop or to move; as `compose`."""
        self._synced = synced
        if self._moving:
            return False
        if self._may_drop(HOT) or self._may_drop(COLD):
            return True
        return bool(self._ledger.to_move(up_to))

    def _put(self, tail: Tail, entry: Entry) -> None:
        number, kind, queue, tasks, meta, body = entry
        ledger = self._ledger
        if number != ledger.next_entry:
            raise ValueError(f"entry {number} came where {ledger.next_entry} is the next")
        name = queue.encode()
        size = _HEAD_BYTES + len(name) + len(meta) + len(body)
        segment = self._room(tail, size)
        head = pack(segment.stamp, kind, number, tasks, name, meta, body)
        self._put_bytes += size
        ledger.put(segment, segment.end, size, (name, kind), tasks, len(body))
        tail.append(head, body)

    def _again(self, record: Again) -> None:
        there = self._ledger.find(record.entry)
        if there is None:
            return
        tail = self.tails[there[0].stream]
        run = Run(*record[1:])
        said = self._room(tail, f.HEAD_BYTES + 8 + len(run.meta))
        tail.append(f.pack_again(said.stamp, record.entry, run))
        self._ledger.again(*there, run, said)

    def _overs(self, tail: Tail, overs: list[tuple[Segment, int, Over]]) -> None:
        for start in range(0, len(overs), OVERS_MAX):
            some = overs[start : start + OVERS_MAX]
            body = b"".join([f.OVER_RUN.pack(*over) for _, _, over in some])
            said = self._room(tail, f.HEAD_BYTES + len(body))
            tail.append(pack(said.stamp, f.OVER, tasks=len(some), body=body), body)
            for segment, row, over in some:
                self._ledger.over(segment, row, over, said)

    def _all_facts(self, tail: Tail, facts: list[Fact]) -> None:
        self._needs_facts = False
        body = f.pack_facts(facts)
        segment = self._room(tail, f.HEAD_BYTES + len(body))
        tail.append(pack(segment.stamp, f.FACTS, tasks=len(facts), body=body), body)
        self._needs_facts = False  # Should they have opened a segment, they are at its head.

    def _move(self, put: int) -> None:
        """Move some entries of the oldest segments, if those take too much room; so many more were
        ``put``."""
        chosen = self._ledger.to_move(self._up_to, put, self._put_bytes)
        tail = self.tails[COLD]
        states, records = [], []
        for source, row in chosen:
            number = source.number_at(row)
            if (runs := self._ledger.runs.get(number)) is not None:
                states.append((number, runs))
            records.append((number, source, row, source.row(row)))
        size = sum(len(f.pack_state(0, *state)) for state in states)
        size += sum(fields[1] for *_, fields in records)
        if not chosen or not self._has_room(tail, size):
            return
        target = self._room(tail, size)
        self._move_begun = self.begun + 1
        for state in states:
            tail.append(f.pack_state(target.stamp, *state))
            self._ledger.state(*state, target)
        for number, source, row, (at, nbytes, body, tasks, index) in records:
            name = name_of(source.number)
            tail.moves.append(Move(name, at, nbytes, source.stamp, target.stamp))
            key = list(source.classes)[index]
            target.add(number, target.end, nbytes, key, tasks, body)
            target.end += nbytes
            self._moving.append((source, row, target, len(target.open) - 1))

    def _has_room(self, tail: Tail, size: int) -> bool:
        """Whether something can be written without a file that must be made first."""
        if tail.segment is not None and not self._is_over(tail.segment, size):
            return True
        hot = self.tails[HOT].segment
        kept = hot is None or 2 * hot.end > self._segment_bytes
        return self._spares.ready() > kept

    def _is_over(self, segment: Segment, size: int) -> bool:
        return segment.end + size + segment.reserve + _BEHIND_BYTES > self._segment_bytes

    def _room(self, tail: Tail, size: int) -> Segment:
        """The segment where so many bytes can be appended, behind the commit's first record."""
        segment = tail.segment
        if segment is None or self._is_over(segment, size):
            segment = self._next_segment(tail)
        if not tail.has_begun:
            tail.has_begun = True
            stream, ledger = tail.stream, self._ledger
            if self._may_drop(stream):
                self._spares.doom(self.begun + 1, ledger.drop(stream, self._lowest()))
            is_synced = self._sync or self._synced == self.begun
            synced = segment.end if is_synced else 0
            oldest = ledger.streams[stream][0].number
            tail.append(
                f.Commit(
                    ledger.next_entry, self._ticket, synced, oldest, *segment.before, stream
                ).pack(segment.stamp)
            )
        return segment

    def _next_segment(self, tail: Tail) -> Segment:
        """Go on in another file; what is about to be written to the last one is its last."""
        before = (0, 0)
        if tail.segment is not None:
            before = (tail.segment.number, tail.segment.end)
            self._footer(tail, tail.segment)
            tail.flush(sync=True, last=True)
        segment = Segment(self._spares.take(), tail.stream, self._ledger.next_entry, before)
        self._ledger.begin(segment)
        tail.segment, tail.start = segment, segment.end
        tail.has_begun = False
        self._needs_facts |= tail.stream == HOT
        self.opened = self.begun + 1
        return segment

    def _footer(self, tail: Tail, full: Segment) -> None:
        """What a full segment says of its entries, and of those that it has closed; it says nothing
        if there is no room for that."""
        stamp, ledger = full.stamp, self._ledger
        classes = [
            f.Class(*key, *total) for key, total in zip(full.classes, full.totals, strict=True)
        ]
        table = bytes(full.rows) + bytes(full.numbers)
        said = []
        for segment in ledger.streams[tail.stream]:
            if segment is full or segment.number in full.touched:
                body = zlib.compress(segment.flags(), 1)
                said.append(pack(stamp, f.FLAGS, segment.number, body=body) + body)
        said += [f.pack_state(stamp, n, ledger.runs[n]) for n in full.stated if n in ledger.runs]
        head = f.Footer(len(full.open), 0, classes).pack(stamp)
        rows_at = full.end + len(head) + sum(map(len, said))
        said.append(pack(stamp, f.ROWS, body=table) + table)
        footer = b"".join([f.Footer(len(full.open), rows_at, classes).pack(stamp), *said])
        if full.end + len(footer) <= self._segment_bytes:
            tail.parts.append(footer)

    def _writes(self, *, sync: bool) -> list[Write]:
        writes = []
        for tail in self.tails:
            tail.flush(sync=sync)
            writes += tail.take()
        self.begun += 1
        return writes

    def _may_drop(self, stream: int) -> bool:
        """Whether a segment can go, and what was moved out of it is safe where it is."""
        is_safe = self._synced >= self._move_begun
        return is_safe and self._ledger.is_spent(stream, self._lowest())

    def _lowest(self) -> int:
        return self._spares.lowest(self._ledger.lowest())
