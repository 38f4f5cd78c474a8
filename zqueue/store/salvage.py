"""A data dir that is damaged: what of it is, and how what is whole is kept.

All records of all segments are read. Where there should be records and are none is a *hole*. To
salvage a segment is to keep a copy of it, and to fill its holes with records that say nothing: all
others stay where they are. Of a segment that is missing one is made that has no entries.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from itertools import pairwise, zip_longest
from typing import NamedTuple

from . import format as f
from .about import about
from .files import Disk, Files
from .segments import HOT, number_of
from .store import StoreError, StoreForeign, StoreLocked
from .survey import NEWEST, Survey, name_of, pack_newest, segment_number, unpack_newest

LOOKS = 5
"""How often a data dir is read that changes meanwhile."""

PASSES_MAX = 6
"""How often a data dir is salvaged until nothing is damaged: see `Inspection.salvage`."""

PAD = 255
"""Kind of a record that fills a hole. No reader knows it, so none minds it."""


class Offline:
    """A data dir that no broker has. Raises `StoreError` and `OSError`.

    ``shared``: it may be in use, and is only looked at.
    """

    def __init__(self, path: str, *, shared: bool = False) -> None:
        self.path = path
        self.disk = Files(path)
        there = about(self.disk, path) if os.path.isdir(path) else None
        if there is None:
            raise StoreForeign(f"there is no data dir at {path}")
        self.id, self.segment_bytes = there
        self.is_in_use = not self.disk.lock()
        if self.is_in_use and not shared:
            self.disk.close()
            raise StoreLocked(f"{path} is in use: stop the broker first")

    def survey(self) -> Survey:
        """What is in it. While a broker writes to it, what is read may not fit together: then it is
        read again. Raises `StoreDamaged`."""
        for _ in range(LOOKS if self.is_in_use else 0):
            try:
                return Survey(self.disk, self.segment_bytes, is_live=True)
            except (StoreError, OSError):
                continue
        return Survey(self.disk, self.segment_bytes, is_live=True)


class Hole(NamedTuple):
    """Bytes of a file that should be records, and are not."""

    name: str
    at: int
    nbytes: int


class Seen(NamedTuple):
    """What a segment has that is whole."""

    number: int
    stamp: int
    spans: list[tuple[int, int]]
    """From where to where there are records."""
    commits: list[f.Commit]
    entries: array[int]
    """Their numbers."""

    @property
    def before(self) -> tuple[int, int]:
        """The segment before it, and where that one's records end."""
        return self.commits[0].previous, self.commits[0].end

    @property
    def next_entry(self) -> int:
        """The highest number that it knows of, and one."""
        return max(max(c.next_entry for c in self.commits), max(self.entries, default=0) + 1)


class Damage(NamedTuple):
    """What is wrong with a segment."""

    name: str
    is_missing: bool
    holes: list[Hole]
    lost: list[tuple[int, int]]
    """Entries that were in it and are not, from number to number. Some of them may be over."""
    known: bool
    """Whether ``lost`` is all of them."""


class Inspection:
    """Reads all of a data dir. Raises `OSError`."""

    def __init__(self, disk: Disk, segment_bytes: int) -> None:
        self._disk = disk
        self._segment_bytes = segment_bytes
        self._seen: dict[int, Seen] = {}
        self.names = [n for n in disk.names() if segment_number(n) is not None]
        """The files to look at."""
        self.records = 0

    def __repr__(self) -> str:
        return f"<Inspection of {len(self.names)} files>"

    def look(self) -> Iterator[str]:
        """Read one file after the other, and tell its name when that is done."""
        for name in self.names:
            number = segment_number(name) or 0
            data = self._disk.read(name, 0, self._segment_bytes)
            stamp = _stamp_in(data, number)
            if stamp is not None:
                self._seen[number] = self._read(number, stamp, data)
            yield name

    def _read(self, number: int, stamp: int, data: bytes) -> Seen:
        seen = Seen(number, stamp, [], [], array("Q"))
        end = -1
        for at, record in _whole(data, stamp):
            self.records += 1
            if at != end:
                seen.spans.append((at, at))
            end = record.end
            seen.spans[-1] = (seen.spans[-1][0], end)
            if record.kind == f.COMMIT:
                seen.commits.append(f.Commit.unpack(record))
            elif record.kind < f.SEGMENT:
                seen.entries.append(record.number)
        return seen

    # --- what is wrong ---

    def damages(self) -> list[Damage]:
        """What is wrong, once all has been read."""
        ends = self._ends()
        found = []
        for stream in (0, 1):
            chain = self._chain(stream)
            for seen, after in zip_longest(chain, chain[1:]):
                holes = self._holes(seen, after, ends.get(seen.number, 0))
                if holes:
                    first = self._first(seen) if stream == HOT else None
                    lost = [] if first is None else self._lost(first, seen, after)
                    name = name_of(seen.number)
                    # Of the newest nobody knows what came where it has no records any more.
                    is_all = after is not None or holes[-1].at < seen.spans[-1][1]
                    found.append(Damage(name, False, holes, lost, first is not None and is_all))
                if after is not None and after.before[0] != seen.number:
                    last = min(commit.next_entry for commit in after.commits) - 1
                    lost = [(seen.next_entry, last)] if stream == HOT else []
                    name = name_of(after.before[0])
                    found.append(Damage(name, True, [], lost, stream == HOT))
            oldest = chain[-1].commits[-1].oldest if chain else 0
            if chain and chain[0].number != oldest:
                missing = max(oldest, chain[0].before[0])
                found.append(Damage(name_of(missing), True, [], [], False))
        there = {seen.number for stream in (0, 1) for seen in self._chain(stream)}
        told = {damage.name for damage in found}
        for number in sorted(set(ends) - there):
            if name_of(number) not in told:
                found.append(Damage(name_of(number), True, [], [], False))
        told = {damage.name for damage in found}
        return found + [damage for damage in self._strange(there) if damage.name not in told]

    def _ends(self) -> dict[int, int]:
        names = self._disk.names()
        return unpack_newest(self._disk.read(NEWEST, 0, 4096) if NEWEST in names else b"")

    def _chain(self, stream: int) -> list[Seen]:
        """The segments of a stream that are needed, oldest first."""
        chain = [s for s in self._seen.values() if s.commits and s.commits[0].stream == stream]
        chain.sort(key=lambda seen: seen.number)
        oldest = chain[-1].commits[-1].oldest if chain else 0
        return [seen for seen in chain if seen.number >= oldest]

    def _strange(self, there: set[int]) -> Iterator[Damage]:
        """Files whose heads are damaged, though nothing needs them."""
        for name in self.names:
            number = segment_number(name) or 0
            seen = self._seen.get(number)
            whole = seen is not None and seen.spans[:1] and seen.spans[0][0] == 0
            size = len(self._disk.read(name, self._segment_bytes - 1, 1))
            if number not in there and not (whole and size):
                yield Damage(name, False, [Hole(name, 0, f.FIRST)], [], True)

    def _holes(self, seen: Seen, after: Seen | None, end: int) -> list[Hole]:
        """Where there are no records, up to where there must be."""
        if after is not None and after.before[0] == seen.number:
            end = max(end, after.before[1])
        end = max(end, *(commit.synced for commit in seen.commits))
        name, at = name_of(seen.number), 0
        holes = []
        for start, stop in seen.spans:
            if at < start and at < end:
                holes.append(Hole(name, at, min(start, end) - at))
            at = max(at, stop)
        if at < end:
            holes.append(Hole(name, at, end - at))
        if not holes and not self._disk.read(name, self._segment_bytes - 1, 1):
            holes.append(Hole(name, at, self._segment_bytes - at))
        return holes

    def _first(self, seen: Seen) -> int | None:
        """The number of the first entry that was in a hot segment; None: nobody knows."""
        before = self._seen.get(seen.before[0])
        if before is not None and before.commits:
            return before.next_entry
        is_whole = any(start <= f.FIRST < stop for start, stop in seen.spans)
        return seen.commits[0].next_entry if is_whole else None

    def _lost(self, expected: int, seen: Seen, after: Seen | None) -> list[tuple[int, int]]:
        """The numbers of hot entries that are not in their segment any more."""
        stop = seen.next_entry
        if after is not None and after.before[0] == seen.number:
            stop = max(stop, min(commit.next_entry for commit in after.commits))
        lost = []
        for number in [*sorted(seen.entries), stop]:
            if number > expected:
                lost.append((expected, number - 1))
            expected = number + 1
        return lost

    # --- what is kept ---

    def salvage(self, damages: list[Damage]) -> None:
        """Keep what is whole of all segments that are damaged.

        Then look again: without its newest segment, a data dir may miss older ones that had gone.
        """
        for damage in damages:
            self._salvage(damage)
        for damage in damages:
            self._drop_footers(segment_number(damage.name) or 0)
        self._forget()

    def _drop_footers(self, number: int) -> None:
        """Those of later segments tell of a segment as it was: their records are read instead."""
        for stream in (0, 1):
            for seen, after in pairwise(self._chain(stream)):
                if seen.number > number and after.before[0] == seen.number:
                    name = name_of(seen.number)
                    self._disk.write(name, after.before[1], [bytes(f.HEAD_BYTES)])
                    self._disk.sync(name)
                    self._disk.done(name)

    def _salvage(self, damage: Damage) -> None:
        """Keep what is whole of a segment; a copy of it as it is gets a name that ends in bad."""
        number = segment_number(damage.name) or 0
        names = self._disk.names()
        data = b""
        if damage.name in names:
            data = self._disk.read(damage.name, 0, self._segment_bytes)
            count = sum(name.startswith(damage.name + ".") for name in names)
            self._create(f"{damage.name}.{count + 1}.bad", data, len(data))
        seen = self._seen.get(number)
        if seen is not None and seen.commits:
            self._create(damage.name, self._mended(seen, damage.holes, data), self._segment_bytes)
            return
        for after in self._seen.values():
            if after.commits and after.before[0] == number:
                self._create(damage.name, self._empty(number, after), self._segment_bytes)
                return
        if damage.name in names:
            self._disk.remove(damage.name)  # It is the newest, or nothing needs it.

    def _forget(self) -> None:
        """What is missing now is not missed."""
        ends = self._ends()
        if not ends:
            return
        left = {number: f.FIRST for number in ends if name_of(number) in self._disk.names()}
        self._disk.write(NEWEST, 0, [pack_newest(left)])
        self._disk.sync(NEWEST)

    def _create(self, name: str, data: bytes, nbytes: int) -> None:
        for _ in self._disk.create(name, data, nbytes):
            pass

    def _mended(self, seen: Seen, holes: list[Hole], data: bytes) -> bytes:
        """A segment whose holes are filled, and which has no footer: that tells of what is lost."""
        mended = bytearray(data.ljust(self._segment_bytes, b"\0"))
        for _, at, nbytes in holes:
            filling = b""
            if at == 0:
                filling = f.pack_segment(seen.stamp)
            if at <= f.FIRST < at + nbytes:
                first = min([c.next_entry for c in seen.commits] + list(seen.entries[:1]))
                if seen.commits[0].stream == HOT:
                    first = self._first(seen) or first
                commit = seen.commits[0]._replace(next_entry=first, synced=0)
                filling += commit.pack(seen.stamp)
            mended[at : at + nbytes] = filling + _pad(seen.stamp, nbytes - len(filling))
        for at, record in _whole(bytes(mended), seen.stamp):
            if record.kind == f.FOOTER:
                mended[at : at + f.HEAD_BYTES] = bytes(f.HEAD_BYTES)
        return bytes(mended)

    def _empty(self, number: int, after: Seen) -> bytes:
        """A segment in the place of one that is missing."""
        commit = after.commits[-1]
        earlier = [s for s in self._chain(commit.stream) if s.number < number]
        before = (min(commit.oldest, number - 1), f.FIRST + f.COMMIT_BYTES)
        if earlier:
            before = earlier[-1].number, max(stop for _, stop in earlier[-1].spans)
        stamp = (after.stamp ^ after.number) | number
        data = f.pack_segment(stamp)
        first = min(c.next_entry for c in after.commits)
        oldest = min(commit.oldest, number)
        data += f.Commit(first, 0, 0, oldest, *before, commit.stream).pack(stamp)
        return data + _pad(stamp, after.before[1] - len(data))


def _pad(stamp: int, nbytes: int) -> bytes:
    """A record of that length which says nothing."""
    if nbytes < f.HEAD_BYTES:
        return bytes(max(0, nbytes))
    body = bytes(nbytes - f.HEAD_BYTES)
    return f.pack(stamp, PAD, body=body) + body


def _whole(data: bytes, stamp: int) -> Iterator[tuple[int, f.Parsed]]:
    """All records of a segment that are whole, whatever lies between them."""
    at = 0
    while True:
        for start, record, _ in f.records_in(data, at, stamp):
            yield start, record
            at = record.end
        for place in f.candidates(data, at, stamp):
            record_there = f.parse(data, place, stamp)
            if record_there is not None and f.body_of(data, record_there) is not None:
                at = place
                break
        else:
            return


def _stamp_in(data: bytes, number: int) -> int | None:
    """The stamp of a segment, be its head whole or not; None if it has no whole record."""
    stamp = f.stamp_of(data)
    if stamp is not None and number_of(stamp) == number:
        return stamp
    needle = number.to_bytes(4, "little")
    at = data.find(needle, 16)
    while at >= 0:
        guess = int.from_bytes(data[at : at + 8], "little")
        if f.parse(data, at - 16, guess) is not None:
            return guess
        at = data.find(needle, at + 1)
    return None
