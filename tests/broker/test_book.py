"""The book: queues by name, and the one place where tasks end."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from zqueue.broker.book import METERED_QUEUES_MAX, QUEUE_UNUSED_S, Book
from zqueue.broker.outcomes import ON_DONE, ON_EGRESS, ON_FAILED
from zqueue.config import Limits
from zqueue.core.batch import Batch, Published
from zqueue.core.counters import Counters
from zqueue.errors import ProtocolError
from zqueue.wire.messages import DONE, Confirm, Deliver, Goodbye, Heartbeat, Refuse


def make(**limits: Any) -> Book:
    return Book(Limits(**limits), Counters(), frozenset({"out"}))


def put(book: Book, name: str, count: int) -> None:
    book.put(book.queue(name), Batch.whole(Published(name, "t", b"x" * count, count)))


def test_queues_are_made_at_first_use() -> None:
    book = make()
    assert list(book.queues) == ["out"]
    assert book.queue("q") is book.queue("q")
    assert [book.queues[name].egress for name in ("q", "out")] == [False, True]
    assert repr(book).startswith("<Book of 2 queues")


def test_all_are_opened_or_none() -> None:
    book = make(queues_max=4)
    with pytest.raises(ProtocolError, match="must be 1 to 128"):
        book.open(["a", "no good"])
    with pytest.raises(ProtocolError, match="there are 4 queues already"):
        book.open(["a", "b", "c", "d"])
    assert list(book.queues) == ["out"]
    assert [queue.ready.name for queue in book.open(["b", "out", "a"])] == ["b", "out", "a"]


def test_tasks_end_here() -> None:
    book = make()
    put(book, "q", 9)
    queue = book.queue("q")
    assert list(book.with_work) == [queue]
    (batch,) = queue.ready.take(9, 1, 1 << 20, 64)
    book.over(queue, batch, 0, 2, ON_DONE)
    book.over(queue, batch, 2, 1, ON_FAILED)
    book.over(queue, batch, 3, 3, ON_EGRESS)
    book.with_work.clear()
    book.again(queue, [batch.part(6, 1), batch.part(7, 2)])
    queue.ready.release(batch)
    assert list(book.with_work) == [queue]
    assert (queue.ready.ready_tasks, queue.ready.leased_tasks) == (3, 0)
    assert [b.first for b in queue.ready.take(9, 1, 1 << 20, 64)] == [6, 7]
    counted = {name: n for name, n in book.totals().as_dict().items() if n}
    assert counted == {"done": 2, "failed": 1, "egressed": 3}
    assert not book.is_empty()


class TestUnused:
    def look(self, book: Book) -> list[str]:
        """Some time went by. Which queues are there still."""
        book.end_unused()
        return sorted(book.queues)

    def test_a_queue_that_nobody_uses_ends(self) -> None:
        book = make()
        put(book, "q", 2)
        book.queue("typo")
        assert self.look(book) == ["out", "q"]
        queue = book.queue("q")
        (batch,) = queue.ready.take(9, 1, 1 << 20, 64)
        book.over(queue, batch, 0, 2, ON_DONE)
        queue.counters.published += 2
        queue.ready.release(batch)
        queue.wait.record(0.5)
        assert self.look(book) == ["out", "q"], "it was used since"
        assert book.has_unused
        assert self.look(book) == ["out"]
        assert book.counters.done == book.counters.published == 2, "what it counted stays"
        assert (book.other_wait.count, book.other_batches.count) == (1, 1)
        assert not book.with_work
        assert book.queue("q") is not queue

    @pytest.mark.parametrize("why", ["paused", "draining", "servers", "withheld"])
    def test_one_that_is_needed_stays(self, why: str) -> None:
        book = make()
        queue = book.queue("q")
        kept = {"servers": {object(): None}, "withheld": deque([1])}
        setattr(queue, why, kept.get(why, True))
        assert all(self.look(book) == ["out", "q"] for _ in range(3))

    def test_those_without_figures_of_their_own_leave_none_behind(self) -> None:
        book = make()
        for i in range(METERED_QUEUES_MAX + 5):
            book.queue(f"q{i}")
        self.look(book)
        assert self.look(book) == ["out"]
        assert book.other_wait.count == 0


class TestQueuesEnd:
    def test_names_that_nobody_uses_make_room(self, talk: Any, confirmed: Any) -> None:
        """They come from clients: one for each user, or misspelt."""
        t = talk(queues_max=3)
        t.producer()
        t.worker(queues="q", credit=9)
        for sequence in range(1, 12):
            t.publish(b"p", sequence, [1], queue=f"user{sequence}")
            (answer,) = [m for _, m, _ in t.hear() if isinstance(m, Confirm | Refuse)]
            taken = sequence <= 2
            assert isinstance(answer, Confirm if taken else Refuse)
        for name in ("user1", "user2"):
            t.worker(name.encode(), queues=[name], credit=9)
            ((_, message, _),) = [h for h in t.hear() if isinstance(h[1], Deliver)]
            t.settle(name.encode(), message.lease, [[0, 0, 1, DONE]])
            t.say(name.encode(), Goodbye())
        for _ in range(2):
            t.now += QUEUE_UNUSED_S
            for peer in (b"p", b"w"):
                t.say(peer, Heartbeat([]))
            t.broker.tick(t.now)
            t.hear()
        assert list(t.broker.book.queues) == ["q"]
        t.publish(b"p", 12, [1], queue="user1")
        assert confirmed(t.hear()) == [12]
        assert t.broker.book.totals().done == 2
        counters = t.broker.teller.stats()["beside_queues"]
        assert counters["done"] == 2
