"""The same calls on two engines that others made, to hold the segments against."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import msgpack

from zqueue.core.records import (
    Again,
    Entry,
    Fact,
    Facts,
    Found,
    Held,
    Over,
    Record,
    Recovered,
    Run,
)
from zqueue.store.store import Status, Store


class OtherStore(Store):
    """Stores while it is told, and has all tickets at once."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._bell = os.eventfd(0, os.EFD_NONBLOCK)
        self._ticket = 0

    busy = full = is_due = False  # type: ignore[assignment]

    def _found(self) -> Iterator[Found]:
        raise NotImplementedError

    def _recovered(self, identity: bytes, number: int, facts: list[Fact]) -> Recovered:
        found = list(self._found())
        held: dict[tuple[int, str], list[int]] = {}
        for entry in found:
            sums = held.setdefault((entry.kind, entry.queue), [0, 0, 0])
            more = 1, sum(run.tasks for run in entry.runs), entry.nbytes
            sums[:] = [a + b for a, b in zip(sums, more, strict=True)]
        summary = [Held(*key, *sums) for key, sums in held.items()]
        return Recovered(identity, number, summary, facts, iter(found), 0)

    def _ring(self, ticket: int) -> None:
        self._ticket = ticket
        os.eventfd_write(self._bell, 1)

    def end(self) -> int:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._bell)
        return self._ticket

    def fileno(self) -> int:
        return self._bell

    def status(self) -> Status:
        return Status(1, 0, 0, 0, 0, 0)

    def close(self) -> None:
        os.close(self._bell)


def runs_of(state: list[bytes | None]) -> list[Run]:
    """What is open of an entry; each task has a state: None if it is over, else its ``meta``."""
    runs, at = [], 0
    for what, group in groupby(state):
        count = len(list(group))
        if what is not None:
            runs.append(Run(at, count, what))
        at += count
    return runs


def change(state: list[bytes | None], record: Over | Again) -> None:
    """What is said of some tasks of an entry."""
    for task in range(record.first, min(record.first + record.tasks, len(state))):
        if isinstance(record, Over):
            state[task] = None
        elif state[task] is not None:
            state[task] = record.meta


KEY = struct.Struct(">Q")
HEAD = struct.Struct("<BIHH")
ABOUT = KEY.pack(0)


class LmdbStore(OtherStore):
    """LMDB, which must be installed: the engine that the segments have to beat.

    An entry is a value; another, once it was said, is what of each of its tasks is open.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._next = self._facts = 0

    def open(self) -> Recovered:
        import lmdb

        os.makedirs(self._path, exist_ok=True)
        self._env: Any = lmdb.open(self._path, map_size=16 << 30, max_dbs=3)
        self._entries, self._states, self._others = (
            self._env.open_db(name) for name in (b"entries", b"states", b"others")
        )
        with self._env.begin(write=True) as t:
            identity = t.get(ABOUT, db=self._others) or os.urandom(8)
            t.put(ABOUT, identity, db=self._others)
            after = t.get(b"next", db=self._others)
            self._next = KEY.unpack(after)[0] if after else 1
            facts = [Fact(v) for k, v in t.cursor(self._others) if k[:1] == b"f"]
            self._facts = len(facts)
        return self._recovered(identity, self._next, facts)

    def _found(self) -> Iterator[Found]:
        with self._env.begin() as t:
            for key, value in t.cursor(self._entries):
                kind, tasks, name_bytes, meta_bytes = HEAD.unpack_from(value)
                queue, meta, body = _split(value, name_bytes, meta_bytes)
                state = t.get(key, db=self._states)
                runs = runs_of(msgpack.unpackb(state) if state else [b""] * tasks)
                number = KEY.unpack(key)[0]
                yield Found(number, kind, queue.decode(), tasks, meta, len(body), runs)

    def begin(self, ticket: int, records: list[Record], facts: Facts) -> None:
        with self._env.begin(write=True) as t:
            for record in records:
                self._apply(t, record)
            t.put(b"next", KEY.pack(self._next), db=self._others)
        self._ring(ticket)

    def _apply(self, t: Any, record: Record) -> None:
        if isinstance(record, Entry):
            number, kind, queue, tasks, meta, body = record
            name = queue.encode()
            value = b"".join([HEAD.pack(kind, tasks, len(name), len(meta)), name, meta, body])
            t.put(KEY.pack(number), value, db=self._entries)
            self._next = number + 1
        elif isinstance(record, Fact):
            self._facts += 1
            t.put(b"f" + KEY.pack(self._facts), record.meta, db=self._others)
        else:
            self._say(t, KEY.pack(record.entry), record)

    def _say(self, t: Any, key: bytes, record: Any) -> None:
        value = t.get(key, db=self._entries)
        if value is None:
            return
        tasks = HEAD.unpack_from(value)[1]
        state = t.get(key, db=self._states)
        left = msgpack.unpackb(state) if state else [b""] * tasks
        change(left, record)
        if any(what is not None for what in left):
            t.put(key, msgpack.packb(left), db=self._states)
        else:
            t.delete(key, db=self._entries)
            if state is not None:
                t.delete(key, db=self._states)

    def read(self, entry: int) -> bytes:
        with self._env.begin() as t:
            value = t.get(KEY.pack(entry), db=self._entries)
        _, _, name_bytes, meta_bytes = HEAD.unpack_from(value)
        return _split(value, name_bytes, meta_bytes)[2]

    def close(self) -> None:
        self._env.close()
        super().close()


def _split(value: bytes, name_bytes: int, meta_bytes: int) -> tuple[bytes, bytes, bytes]:
    at = HEAD.size
    stop = at + name_bytes
    return value[at:stop], value[stop : stop + meta_bytes], value[stop + meta_bytes :]


SCHEMA = """
create table if not exists entry (
    number integer primary key, kind, queue, tasks, meta, body, state);
create table if not exists fact (position integer primary key, meta);
create table if not exists about (name primary key, value);
"""


class SqliteStore(OtherStore):
    """SQLite: the boring way, to hold the other against."""

    def open(self) -> Recovered:
        os.makedirs(self._path, exist_ok=True)
        self._db = sqlite3.connect(f"{self._path}/entries.db", isolation_level=None)
        self._db.executescript("pragma journal_mode=wal; pragma synchronous=full;" + SCHEMA)
        self._db.execute("insert or ignore into about values ('id', ?)", [os.urandom(8)])
        self._db.execute("insert or ignore into about values ('next', 1)")
        about = dict(self._db.execute("select name, value from about"))
        facts = [
            Fact(meta) for (meta,) in self._db.execute("select meta from fact order by position")
        ]
        return self._recovered(about["id"], about["next"], facts)

    def _found(self) -> Iterator[Found]:
        query = "select number, kind, queue, tasks, meta, length(body), state from entry order by 1"
        for *fields, state in self._db.execute(query):
            yield Found(*fields, runs_of(msgpack.unpackb(state)))

    def begin(self, ticket: int, records: list[Record], facts: Facts) -> None:
        self._db.execute("begin immediate")
        for record in records:
            self._apply(record)
        self._db.execute("commit")
        self._ring(ticket)

    def _apply(self, record: Record) -> None:
        db = self._db
        if isinstance(record, Entry):
            state = msgpack.packb([b""] * record.tasks)
            db.execute("insert into entry values (?, ?, ?, ?, ?, ?, ?)", [*record, state])
            db.execute("update about set value = ? where name = 'next'", [record.number + 1])
        elif isinstance(record, Fact):
            db.execute("insert into fact (meta) values (?)", [record.meta])
        else:
            row = db.execute("select state from entry where number = ?", [record.entry]).fetchone()
            if row is None:
                return
            state = msgpack.unpackb(row[0])
            change(state, record)
            if any(meta is not None for meta in state):
                state = msgpack.packb(state)
                db.execute("update entry set state = ? where number = ?", [state, record.entry])
            else:
                db.execute("delete from entry where number = ?", [record.entry])

    def read(self, entry: int) -> bytes:
        row = self._db.execute("select body from entry where number = ?", [entry]).fetchone()
        body: bytes = row[0]
        return body

    def close(self) -> None:
        self._db.close()
        super().close()
