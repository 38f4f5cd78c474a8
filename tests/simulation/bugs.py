"""Planted bugs: does the simulation find them?

Each is a small change to production code, or to the store, for as long as its context lasts. A
simulation that does not find one of them proves nothing about the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from zqueue.broker import book, machine
from zqueue.broker.book import Book
from zqueue.broker.cancelling import Wanted
from zqueue.broker.journal import Journal
from zqueue.broker.keys import Keys
from zqueue.broker.recovery import Recovery
from zqueue.client import moves
from zqueue.client.connection import Connection
from zqueue.client.gone import Gone
from zqueue.client.sent import Sent
from zqueue.core.batch import Batch
from zqueue.core.records import Found
from zqueue.store import format as store_format
from zqueue.store import survey, writer
from zqueue.store.reader import Reader
from zqueue.store.segments import Ledger
from zqueue.wire.headers import decode, encode
from zqueue.wire.link import Connected, LinkEvent
from zqueue.wire.messages import DONE, Publish
from zqueue.worker import pool
from zqueue.worker.desk import Desk
from zqueue.worker.links import Links
from zqueue.worker.pool import STOPPED, Child, Departure
from zqueue.worker.work import CallRow

from .storage import SimulatedDisk

Context = contextlib.AbstractContextManager[Any]
Bug = Callable[[], Context]


def confirm_before_sync() -> Context:
    """A confirm waits for no store."""
    return mock.patch.object(Journal, "is_behind", return_value=False)


def settle_before_run() -> Context:
    """A worker says that tasks are done when it begins with them."""
    begin, settle = Desk.begin, Desk._settle

    def eager(desk: Desk, row: CallRow, now: float) -> int:
        if row.calls.position:
            return begin(desk, row, now)
        settle(desk, row.work, [(row.calls.position, row.calls.left, DONE, b"")])
        return begin(desk, row, now)

    def later(desk: Desk, row: CallRow, *, running: bool) -> int:
        return int(row.calls.take_outcomes(running=running)[1])

    return mock.patch.multiple(Desk, begin=eager, _settle_row=later)


def forgotten_number() -> Context:
    """A broker that recovers knows only numbers of batches that are not over as used up."""
    return mock.patch.object(Recovery, "_taken", return_value=None)


def segment_dropped_too_early() -> Context:
    """The oldest segment goes as soon as there is another, whatever is in it."""

    class Hasty(Ledger):
        def is_spent(self, stream: int, lowest: int) -> bool:
            return len(self.streams[stream]) > 1

    return mock.patch.object(survey, "Ledger", Hasty)


def sync_left_out() -> Context:
    """Nothing is ever synced."""
    return mock.patch.object(SimulatedDisk, "sync", return_value=None)


def given_back_twice() -> Context:
    """What comes back from a worker is ready again, twice."""
    again = Book.again

    def twice(book: Book, queue: Any, parts: list[Any]) -> None:
        again(book, queue, parts)
        if parts and queue.ready.leased_tasks >= sum(part.count for part in parts):
            again(book, queue, [part.part(0, part.count) for part in parts])

    return mock.patch.object(Book, "again", twice)


def batch_not_sent_again() -> Context:
    """A producer whose connection broke does not send again what was not confirmed."""
    on_link = Connection._on_link

    def lazy(connection: Connection, event: LinkEvent) -> None:
        before = len(connection.link.out)
        on_link(connection, event)
        if isinstance(event, Connected):
            del connection.link.out[before:]

    return mock.patch.object(Connection, "_on_link", lazy)


def crash_without_blame() -> Context:
    """A supervisor takes every crash for an end that was asked for: nothing is ever given up."""

    def verdict(child: Child, code: int) -> Departure:
        return Departure(child.pid, STOPPED)

    return mock.patch.object(pool, "_verdict", verdict)


def order_lost_at_recovery() -> Context:
    """The store finds its entries in another order."""
    found = Reader.found

    def backwards(reader: Reader) -> Iterator[Found]:
        return reversed(list(found(reader)))

    return mock.patch.object(Reader, "found", backwards)


def synced_too_late() -> Context:
    """At level *os* the loss window is five seconds."""
    return mock.patch.object(writer, "SYNC_EVERY_S", 5.0)


def bodies_not_checked() -> Context:
    """The store gives back what it read, whatever that is."""

    def body_of(data: bytes, record: store_format.Parsed) -> bytes:
        return data[record.body_at : record.end]

    return mock.patch.object(store_format, "body_of", body_of)


def neighbours_cancelled() -> Context:
    """With one task of a batch all of it is cancelled."""
    among = Wanted.among

    def greedy(wanted: Wanted, batch: Batch) -> int:
        return (1 << batch.count) - 1 if among(wanted, batch) else 0

    return mock.patch.object(Wanted, "among", greedy)


def key_forgotten() -> Context:
    """No broker finds the first task of a key."""
    return mock.patch.object(Keys, "find", return_value=None)


def expiry_ignored() -> Context:
    """What is too old is handed out."""
    return mock.patch.object(Book, "is_expired", return_value=False)


def due_too_early() -> Context:
    """Tasks are due 0.1 s before their time."""
    due_of = book._due_of

    def early(frame: Any, wall_s: float) -> float:
        return due_of(frame, wall_s) - 0.1

    return mock.patch.object(book, "_due_of", early)


def egress_twice() -> Context:
    """What leaves by the plain lane stays in its queue, too."""
    put = Book.put

    def twice(book: Book, queue: Any, batch: Batch) -> None:
        put(book, queue, batch)
        if queue.egress and book.journal is None:
            put(book, queue, Batch(batch.frame, batch.first, batch.count))

    return mock.patch.object(Book, "put", twice)


def stopped_too_soon() -> Context:
    """A broker with a store that is told to stop does not wait for what workers have."""
    return mock.patch.object(Book, "leased", return_value=0)


def over_not_pressed() -> Context:
    """What is over waits for the next confirm, however long that takes."""
    return mock.patch.object(machine, "OVER_WAITS_S", 1000.0)


def withdraw_forgotten() -> Context:
    """A broker that is back is not told what went elsewhere."""
    return mock.patch.object(Gone, "tell", return_value=None)


def moved_twice() -> Context:
    """What one broker has no room for, or does not confirm, goes to another one twice."""
    move = moves._move

    def twice(sent: Sent, connection: Connection, other: Connection, now: float) -> None:
        move(sent, connection, other, now)
        header, *frames = sent.to_send(now)
        again = decode(header)
        assert isinstance(again, Publish)
        again = again._replace(sequence=again.sequence + (1 << 39))
        other.link.out.append([encode(again), *frames])

    return mock.patch.object(moves, "_move", twice)


def dropped_when_named_no_more() -> Context:
    """A broker that is taken from the list is left at once, whatever it has of ours."""
    return mock.patch.object(Connection, "is_done", return_value=True)


def leases_dropped_when_named_no_more() -> Context:
    """A worker leaves such a broker while it runs tasks of it, and settles nothing."""
    leave = Links.leave

    def at_once(links: Links, protocol: Any, leaves: bool = True) -> None:
        leave(links, protocol, leaves)
        if leaves:
            protocol._leases.clear()
            links._holders.clear()

    return mock.patch.object(Links, "leave", at_once)


BUGS: dict[str, Bug] = {
    bug.__name__.replace("_", "-"): bug
    for bug in (
        confirm_before_sync, forgotten_number, segment_dropped_too_early, sync_left_out,
        order_lost_at_recovery, settle_before_run, given_back_twice, batch_not_sent_again,
        crash_without_blame, synced_too_late, bodies_not_checked, neighbours_cancelled,
        key_forgotten, expiry_ignored, due_too_early, egress_twice, stopped_too_soon,
        over_not_pressed,
    )
}  # fmt: skip

SEVERAL: dict[str, Bug] = {
    bug.__name__.replace("_", "-"): bug
    for bug in (
        withdraw_forgotten, moved_twice, dropped_when_named_no_more,
        leases_dropped_when_named_no_more,
    )
}  # fmt: skip
"""Those that show only with several brokers."""

BROKER_DIES = frozenset({"kill broker", "kill midway", "kill writing", "disk error"})

NEEDS: dict[str, tuple[str, frozenset[str]]] = {
    "confirm-before-sync": ("disk", BROKER_DIES),
    "forgotten-number": ("disk", BROKER_DIES),
    "segment-dropped-too-early": ("disk", BROKER_DIES),
    "sync-left-out": ("disk", BROKER_DIES),
    "order-lost-at-recovery": ("disk", BROKER_DIES),
    "synced-too-late": ("os", BROKER_DIES),
    "bodies-not-checked": ("disk", frozenset({"flip"})),
    "neighbours-cancelled": ("", frozenset({"cancel"})),
    "over-not-pressed": ("disk", BROKER_DIES),
    "stopped-too-soon": ("disk", frozenset({"stop broker"})),
}
"""The level, and one of the faults, without which a bug cannot show. The others may always."""
