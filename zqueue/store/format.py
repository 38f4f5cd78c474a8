"""Records of a segment file, to bytes and back.

Every record has a head of 36 bytes, which says how long it is, then the name of a queue, ``meta``
and ``body``. One CRC covers the head, name and meta, another the body, so that an entry can be
found again without reading its body. The *stamp* in each head is the segment's number and a random
one: what is in the file from an earlier life has another stamp, and nobody who sends a body can
forge a record in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from ..core.records import Fact, Run

VERSION = 1

SEGMENT, COMMIT, OVER, AGAIN, FACT, FACTS, STATE, FOOTER, FLAGS, ROWS = range(201, 211)
"""Kinds of records beside those of entries, which are below 128."""

_CRC = Struct("<I")
_REST = Struct("<IIIQQBBH")
"""CRC of the body, its length, tasks, stamp, number, kind, lengths of name and meta."""
_CRC_BYTES = _CRC.size
HEAD_BYTES = _CRC.size + _REST.size
_MAGIC = b"zqueue segment\n" + bytes([VERSION])
_COMMIT = Struct("<QIQQIB")
_RUN = Struct("<IIH")
OVER_RUN = Struct("<QII")
"""Of the body of OVER: an entry, its first task that is over, and how many are."""
_HEAD = Struct("<IIIIQQBBH")
"""Both."""
_pack_crc, _pack_rest, _unpack_head = _CRC.pack, _REST.pack, _HEAD.unpack_from
_LENGTH = Struct("<I")
_AGAIN = Struct("<I")
ROW = Struct("<IIIII")
"""Of the table of a segment: where an entry's record is, its bytes, those of its body, its tasks,
and its class (queue and kind)."""
_FOOTER = Struct("<II")
_CLASS = Struct("<BBIQQ")


class Parsed(NamedTuple):
    """A record, and where its parts are."""

    kind: int
    number: int
    tasks: int
    name: bytes
    meta: bytes
    body_at: int
    body_bytes: int
    body_crc: int

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return self.body_at + self.body_bytes


_make_parsed = Parsed._make


def pack(
    stamp: int, kind: int, number: int = 0, tasks: int = 0, name: bytes = b"",
    meta: bytes = b"", body: bytes = b"",
) -> bytes:  # fmt: skip
    """A record but for its body, which comes right behind."""
    rest = _pack_rest(crc32(body), len(body), tasks, stamp, number, kind, len(name), len(meta))
    rest += name + meta
    return _pack_crc(crc32(rest)) + rest


def parse(data: bytes, at: int, stamp: int) -> Parsed | None:
    """The record that begins there, its body aside. None if there is none of that segment."""
    meta_at = at + HEAD_BYTES
    if meta_at > len(data):
        return None
    fields = _unpack_head(data, at)
    crc, body_crc, nbytes, tasks, its_stamp, number, kind, name_bytes, meta_bytes = fields
    if its_stamp != stamp:
        return None
    name_end = meta_at + name_bytes
    body_at = name_end + meta_bytes
    if body_at > len(data) or crc32(data[at + _CRC_BYTES : body_at]) != crc:
        return None
    name, meta = data[meta_at:name_end], data[name_end:body_at]
    return _make_parsed((kind, number, tasks, name, meta, body_at, nbytes, body_crc))


def body_of(data: bytes, record: Parsed) -> bytes | None:
    """The body of a record; None if it is not what was written."""
    body = data[record.body_at : record.end]
    whole = len(body) == record.body_bytes and crc32(body) == record.body_crc
    return body if whole else None


def records_in(data: bytes, at: int, stamp: int) -> Iterator[tuple[int, Parsed, bytes]]:
    """The records from there on, each with its offset and body, up to the first that is not one."""
    while (record := parse(data, at, stamp)) is not None:
        _, _, _, _, _, body_at, body_bytes, body_crc = record
        end = body_at + body_bytes
        body = data[body_at:end]
        if len(body) != body_bytes or crc32(body) != body_crc:
            return
        yield at, record, body
        at = end


def last_of(data: bytes, at: int, stamp: int, kind: int) -> Parsed | None:
    """The last record of a kind, of those that `records_in` finds. It makes nothing of the others,
    and so takes a third of the time."""
    last = -1
    while at + HEAD_BYTES <= len(data):
        crc, body_crc, nbytes, _, its_stamp, _, its_kind, name_bytes, meta_bytes = _unpack_head(
            data, at
        )
        if its_stamp != stamp:
            break
        body_at = at + HEAD_BYTES + name_bytes + meta_bytes
        end = body_at + nbytes
        if end > len(data) or crc32(data[at + _CRC_BYTES : body_at]) != crc:
            break
        if crc32(data[body_at:end]) != body_crc:
            break
        if its_kind == kind:
            last = at
        at = end
    return None if last < 0 else parse(data, last, stamp)


_PAGE = 1 << 16
_ZEROES = bytes(_PAGE)


def candidates(data: bytes, at: int, stamp: int) -> Iterator[int]:
    """Where, from there on, a record of that segment may begin."""
    needle = stamp.to_bytes(8, "little")
    lead = _CRC.size + 12
    used = _used(data)
    found = data.find(needle, at + lead, used)
    while found >= 0:
        yield found - lead
        found = data.find(needle, found + 1, used)


def _used(data: bytes) -> int:
    """From there on a file is nothing but zeroes.

    Most of a segment is so until it is full, and to look for anything in it takes ten times as
    long as to see that. A stamp that ends in zeroes reaches no further than a page.
    """
    used = len(data)
    while used >= _PAGE and data[used - _PAGE : used] == _ZEROES:
        used -= _PAGE
    return min(len(data), used + _PAGE)


def synced_beyond(data: bytes, at: int, stamp: int, places: Iterable[int]) -> bool:
    """Whether a commit at any of these places says that all before an offset was synced."""
    for place in places:
        record = parse(data, place, stamp)
        is_commit = record is not None and record.kind == COMMIT
        if record is not None and is_commit and Commit.unpack(record).synced > at:
            return True
    return False


def restamp(data: bytes, old: int, new: int) -> bytes | None:
    """A record as it is in another segment; None if it is not what was written."""
    record = parse(data, 0, old)
    body = None if record is None else body_of(data, record)
    if record is None or body is None:
        return None
    head = pack(new, record.kind, record.number, tasks=record.tasks, name=record.name,
                meta=record.meta, body=body)  # fmt: skip
    return head + body


def pack_segment(stamp: int) -> bytes:
    """The first record of a segment."""
    return pack(stamp, SEGMENT, meta=_MAGIC)


FIRST = HEAD_BYTES + len(_MAGIC)
"""Where the first commit of a segment begins."""


def stamp_of(data: bytes) -> int | None:
    """The stamp of a file; None if it is no segment."""
    if len(data) < FIRST:
        return None
    stamp: int = _REST.unpack_from(data, _CRC.size)[3]
    record = parse(data, 0, stamp)
    return stamp if record is not None and record.meta == _MAGIC else None


class Commit(NamedTuple):
    """The first record of every commit. Its number is that of the next entry."""

    next_entry: int
    ticket: int
    synced: int
    """All before this offset was synced when it was written."""
    oldest: int
    """The oldest segment of this stream that is needed."""
    previous: int
    """The segment of this stream before this one; 0: this is the first."""
    end: int
    """Where the records of that one end, and its footer begins, if it has one."""
    stream: int

    def pack(self, stamp: int) -> bytes:
        """As a record."""
        return pack(stamp, COMMIT, self.next_entry, meta=_COMMIT.pack(*self[1:]))

    @classmethod
    def unpack(cls, record: Parsed) -> Commit:
        """From a record."""
        return cls(record.number, *_COMMIT.unpack(record.meta))


COMMIT_BYTES = HEAD_BYTES + _COMMIT.size


def pack_again(stamp: int, entry: int, run: Run) -> bytes:
    """A record of what has changed about some tasks."""
    return pack(stamp, AGAIN, entry, tasks=run.tasks, meta=_AGAIN.pack(run.first) + run.meta)


def unpack_again(record: Parsed) -> Run:
    """The tasks, and their state."""
    (first,) = _AGAIN.unpack_from(record.meta)
    return Run(first, record.tasks, record.meta[_AGAIN.size :])


def pack_state(stamp: int, entry: int, runs: list[Run]) -> bytes:
    """A record of all that is open of an entry."""
    body = b"".join([_RUN.pack(run.first, run.tasks, len(run.meta)) + run.meta for run in runs])
    return pack(stamp, STATE, entry, tasks=len(runs), body=body) + body


def unpack_state(body: bytes) -> list[Run]:
    """What is open of an entry."""
    runs, at = [], 0
    while at < len(body):
        first, tasks, nbytes = _RUN.unpack_from(body, at)
        at += _RUN.size
        runs.append(Run(first, tasks, body[at : at + nbytes]))
        at += nbytes
    return runs


def pack_facts(facts: Iterable[Fact]) -> bytes:
    """The body of FACTS: all facts in force."""
    return b"".join([_LENGTH.pack(len(fact.meta)) + fact.meta for fact in facts])


def unpack_facts(body: bytes) -> list[Fact]:
    """All facts in force."""
    facts, at = [], 0
    while at < len(body):
        (nbytes,) = _LENGTH.unpack_from(body, at)
        at += _LENGTH.size
        facts.append(Fact(body[at : at + nbytes]))
        at += nbytes
    return facts


class Class(NamedTuple):
    """What entries of one queue and kind have put in a segment, and how much of it."""

    queue: bytes
    kind: int
    entries: int
    tasks: int
    nbytes: int


class Footer(NamedTuple):
    """What a segment that is full says of its entries."""

    entries: int
    rows_at: int
    """Where their table is."""
    classes: list[Class]

    def pack(self, stamp: int) -> bytes:
        """As a record."""
        body = b"".join([_CLASS.pack(len(c.queue), c.kind, *c[2:]) + c.queue for c in self.classes])
        return pack(stamp, FOOTER, meta=_FOOTER.pack(*self[:2]), body=body) + body

    @classmethod
    def unpack(cls, record: Parsed, body: bytes) -> Footer:
        """From a record."""
        classes, at = [], 0
        while at < len(body):
            name_bytes, kind, entries, tasks, nbytes = _CLASS.unpack_from(body, at)
            at += _CLASS.size
            classes.append(Class(body[at : at + name_bytes], kind, entries, tasks, nbytes))
            at += name_bytes
        entries, rows_at = _FOOTER.unpack(record.meta)
        return cls(entries, rows_at, classes)
