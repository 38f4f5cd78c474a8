"""Overflow: a queue that is longer than memory is handed out in order, and whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from zqueue.broker.overflow import TURN_ENTRIES
from zqueue.config import Limits
from zqueue.wire.headers import encode
from zqueue.wire.messages import DONE, Cancel, Goodbye
from zqueue.wire.unpacking import unpack_bodies

from .conftest import deliveries
from .shelf import Shelf

BODY = "b" * 1000


@pytest.fixture
def long(talk: Any) -> Any:
    """A broker with a store that keeps 4,000 bytes of a queue in memory, and a producer."""
    t = talk()
    t.shelf = Shelf()
    t.lives = 0

    def begin() -> None:
        t.lives += 1
        t.broker = t.shelf.broker(t.now, b"broker-1", Limits(), t.lives << 40)
        t.broker.book.overflow.near_bytes = 4_000

    t.begin = begin
    begin()
    t.producer()
    return t


def numbers_in(heard: Any) -> list[int]:
    frames = [frame for _, _, frames in deliveries(heard) for frame in frames]
    return [number for frame in frames for number, _ in unpack_bodies(frame)]


def run_all(t: Any, credit: int = 2) -> Iterator[int]:
    """A worker takes what is there, a few at a time, and is done with it."""
    t.worker(credit=credit)
    while got := deliveries(t.hear()):
        for _, message, frames in got:
            yield from (number for frame in frames for number, _ in unpack_bodies(frame))
            runs = [[i, 0, batch[2], DONE] for i, batch in enumerate(message.batches)]
            t.settle(b"w", message.lease, runs, credit=credit)


def publish(t: Any, numbers: range) -> None:
    for number in numbers:
        t.publish(b"p", number, [[number, BODY]])
        t.shelf.store(t.broker)
    t.hear()


@pytest.mark.parametrize("restarts", [False, True])
def test_what_is_far_comes_in_its_turn(long: Any, restarts: bool) -> None:
    t = long
    publish(t, range(1, 31))
    ready = t.broker.book.queues["q"].ready
    assert ready.ready_bytes <= 6_000
    assert ready.tasks == 30
    assert ready.bytes > 30 * 1000
    assert t.broker.book.budget.bytes <= 6_000 + 30 * 80
    if restarts:
        t.begin()
        t.producer()
        assert t.broker.book.budget.bytes <= 30 * 80, "no body is read before its turn"
    publish(t, range(31, 41))
    assert list(run_all(t)) == list(range(1, 41))
    assert t.broker.book.budget.bytes == 0
    t.broker.press()
    t.shelf.store(t.broker)
    assert t.shelf.found() == []


def test_what_is_far_and_not_stored_waits_until_it_is(long: Any) -> None:
    t = long
    for number in range(1, 11):
        t.publish(b"p", number, [[number, BODY]])
    before = list(run_all(t))
    assert 0 < len(before) < 10
    t.shelf.store(t.broker)
    after = numbers_in(t.hear())
    assert [*before, *after] == list(range(1, len(before) + len(after) + 1))
    assert after


def test_what_is_published_while_older_tasks_are_found_waits_behind_them(long: Any) -> None:
    t = long
    publish(t, range(1, 31))
    recovered = t.shelf.recovered()
    t.broker = type(t.broker)(b"broker-1", Limits(), journal=type(t.broker.book.journal)(31))
    t.broker.recover(recovered, t.shelf.body, t.now)
    assert t.broker.recover_more(10, t.now)
    t.producer()
    publish(t, range(31, 33))
    assert t.broker.book.tasks() == 12
    first = list(run_all(t))
    assert first == list(range(1, 11))
    while t.broker.recover_more(10, t.now):
        pass
    rest = numbers_in(t.hear())
    assert rest == [11, 12]
    assert t.broker.book.tasks() == 22


def test_what_is_far_can_be_cancelled(long: Any) -> None:
    t = long
    publish(t, range(1, 21))
    t.publish(b"p", 21, [[n, BODY] for n in range(21, 31)])
    t.shelf.store(t.broker)
    t.hear()
    some = Cancel(1, 0, [[0, 15, 0, 1], [0, 16, 0, 1], [0, 21, 2, 3]], "q", "")
    t.broker.receive(b"p", "", [encode(some)], t.now)
    assert t.broker.book.tasks() == 25
    left = list(run_all(t, credit=9))
    assert left == [*range(1, 15), *range(17, 23), *range(26, 31)]
    t.say(b"w", Goodbye())
    publish(t, range(31, 61))
    t.broker.receive(b"p", "", [encode(Cancel(2, 0, [], "q", ""))], t.now)
    t.broker.press()
    t.shelf.store(t.broker)
    assert t.broker.book.tasks() == t.broker.book.budget.bytes == 0
    assert t.shelf.found() == []


def test_no_turn_reads_for_long(long: Any) -> None:
    """What a worker wants is read in pieces; in between, the broker hears others."""
    t = long
    for number in range(1, 1401):
        t.publish(b"p", number, [[number, ""]])
    t.shelf.store(t.broker)
    t.hear()
    t.begin()
    t.broker.book.overflow.near_bytes = 1 << 20
    t.worker(credit=5_000)
    heard = numbers_in(t.hear())
    assert 0 < len(heard) <= TURN_ENTRIES
    while len(heard) < 1400:
        assert t.broker.next_deadline() <= t.now
        t.broker.tick(t.now)
        more = numbers_in(t.hear())
        assert 0 < len(more) <= TURN_ENTRIES
        heard += more
    assert heard == list(range(1, 1401))


def test_the_bound_of_a_queue_counts_what_is_far(long: Any) -> None:
    t = long
    publish(t, range(1, 31))
    ready = t.broker.book.queues["q"].ready
    ready.tasks_max = 29
    assert ready.is_full()
    assert ready.is_over(9, 100)
    ready.tasks_max, ready.bytes_max = 1_000, 30_000
    assert ready.is_full()
