"""Recovery: what the next broker of a data dir knows of what the last one was told."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.broker import journal
from zqueue.broker.journal import REFUSED
from zqueue.broker.skills import SKILLS_KEPT_S
from zqueue.config import Limits
from zqueue.core.confirm import GAPS_MAX
from zqueue.core.records import Fact
from zqueue.wire.codec import pack
from zqueue.wire.headers import encode
from zqueue.wire.messages import DONE, DRAIN, PAUSE, RETRY, Ask, Heartbeat, Refuse
from zqueue.wire.unpacking import unpack

from .shelf import Shelf


@pytest.fixture
def durable(talk: Any) -> Any:
    """A broker with a journal, and a producer. `die`: the next comes, with what is stored."""
    t = talk()
    t.shelf = Shelf()
    t.keep = lambda: t.shelf.store(t.broker)
    t.lives = 0

    def die() -> None:
        t.lives += 1
        t.broker = t.shelf.broker(t.now, b"broker-1", Limits(), t.lives << 40)

    t.die = die
    die()
    t.producer()
    return t


def test_no_more_is_taken_than_the_store_has_room_for(durable: Any, monkeypatch: Any) -> None:
    """Whatever the disk does with it: what was taken must fit into files that are there."""
    monkeypatch.setattr(journal, "UNSTORED_BYTES_MAX", 1000)
    t = durable
    t.publish(b"p", 1, ["x" * 2000])
    t.publish(b"p", 2, ["x"])
    ((_, refusal, _),) = t.hear()
    assert (refusal.code, refusal.sequence) == ("full", 2)
    assert "the disk is behind" in refusal.text
    ticket, records = t.broker.to_store()
    t.publish(b"p", 2, ["x"])
    ((_, refusal, _),) = t.hear()
    assert refusal.code == "full"
    t.shelf.add(records)
    t.broker.stored(ticket)
    t.publish(b"p", 2, ["x"])
    t.publish(b"p", 3, ["y"])
    t.keep()
    assert t.broker.book.tasks() == 3


@pytest.mark.parametrize("with_facts", [False, True])
def test_the_next_broker_goes_on(
    durable: Any, confirmed: Any, deliveries: Any, with_facts: bool
) -> None:
    t = durable
    t.worker(credit=9)
    t.publish(b"p", 1, ["a", "b", "c"], reply=True)
    t.publish(b"p", 2, [])
    ((_, message, _),) = deliveries(t.hear())
    t.settle(b"w", message.lease, [[0, 1, 1, DONE]])
    t.keep()
    t.publish(b"p", 3, ["never stored"])
    if with_facts:
        t.shelf.add([t.broker.facts()])
    t.die()
    assert t.broker.book.tasks() == 2
    t.producer()
    for sequence, bodies in ((1, ["a", "b", "c"]), (2, []), (3, ["stored now"])):
        t.publish(b"p", sequence, bodies, reply=True)
    heard = t.hear()
    assert confirmed(heard) == [1], "it has that one"
    assert [m.code for _, m, _ in heard if isinstance(m, Refuse)] == ["malformed"]
    t.keep()
    assert confirmed(t.hear()) == [3]
    t.worker(credit=9)
    ((_, message, frames),) = deliveries(t.hear())
    assert frames == [pack(["a"]), pack(["c"]), pack(["stored now"])]
    t.settle(b"w", message.lease, [[i, 0, 1, DONE] for i in range(3)])
    t.keep()
    t.broker.tick(t.now + 1)
    t.keep()
    assert t.shelf.found() == []


def test_what_was_taken_and_is_over_is_taken(durable: Any, confirmed: Any, deliveries: Any) -> None:
    t = durable
    t.worker(credit=9)
    t.publish(b"p", 5, [1])
    ((_, message, _),) = deliveries(t.hear())
    t.settle(b"w", message.lease, [[0, 0, 1, DONE]])
    t.keep()
    t.die()
    t.producer()
    for sequence in (4, 5, 7):
        t.publish(b"p", sequence, [1])
    assert confirmed(t.hear()) == [4, 5], "what lies below its first number was another broker's"
    assert t.ready() == 1


def test_how_queues_were_left(durable: Any) -> None:
    t = durable
    t.publish(b"p", 1, [1], queue="a")
    t.publish(b"p", 2, [1], queue="b")
    t.control(PAUSE, "a")
    t.control(DRAIN, "b")
    t.keep()
    t.die()
    states = {name: (q.paused, q.draining) for name, q in t.broker.book.queues.items()}
    assert states == {"a": (True, False), "b": (False, True)}


def test_how_long_tasks_have_waited(durable: Any, deliveries: Any) -> None:
    t = durable
    t.broker.set_wall(100.0, t.now)
    t.publish(b"p", 1, [1])
    t.keep()
    t.now += 1.0
    t.shelf.wall_s = 130.0
    t.die()
    t.worker(credit=9)
    ((_, message, _),) = deliveries(t.hear())
    assert message.batches[0][4] == 30_000_000


def test_refusals_are_remembered_up_to_a_bound(durable: Any) -> None:
    t = durable
    t.shelf.add(Fact(pack([REFUSED, b"r", n, "full", ""])) for n in range(1, 2 * GAPS_MAX))
    t.die()
    assert len(t.broker.roster.producers[b"r"].refused) == GAPS_MAX


def test_tasks_wait_for_workers_that_have_them(durable: Any, deliveries: Any) -> None:
    """Whoever greets first after a restart may have others: it must not fail these."""
    t = durable
    t.publish(b"p", 1, [1])
    t.keep()
    t.die()
    t.worker(b"other", credit=9, tasks={"another": "q", "third": "q"})
    assert deliveries(t.hear()) == []
    t.worker(b"right", credit=9, tasks={"t": "q", "another": "q"})
    assert [peer for peer, _, _ in deliveries(t.hear())] == [b"right"]
    t.die()
    t.worker(b"other", credit=9, tasks={"another": "q", "third": "q"})
    t.now += SKILLS_KEPT_S
    t.say(b"other", Heartbeat([]))
    t.broker.tick(t.now)
    assert [peer for peer, _, _ in deliveries(t.hear())] == [b"other"], "nobody came: it may tell"


def test_times_attempts_keys_and_letters_are_there_again(durable: Any, deliveries: Any) -> None:
    """All that a task carries beside its body, and what became of others, goes on after a
    restart."""
    t = durable
    t.broker.set_wall(5_000.0, t.now)
    t.worker(credit=9, retries={"": [2, 1000, 10_000, 1]}, tasks={"t": "q"})
    error = pack([["ValueError", "no", ""]])
    t.publish(b"p", 1, ["tried once"])
    t.publish(b"p", 2, ["a letter"], retries=0)
    ((_, message, _),) = deliveries(t.hear())
    runs = [[0, 0, 1, RETRY, 60_000], [1, 0, 1, RETRY]]
    t.settle(b"w", message.lease, runs, error, error)
    t.publish(b"p", 3, ["delayed"], delay_ms=30_000)
    t.publish(b"p", 4, ["has a key"], key="order-7", key_window_ms=100_000, delay_ms=90_000)
    t.publish(b"p", 5, ["expires"], expires_ms=20_000, delay_ms=10_000)
    t.broker.press()
    t.keep()
    t.now += 5.0
    t.shelf.wall_s = 5_025.0  # It was down for twenty seconds.
    t.die()
    queue = t.broker.book.queues["q"]
    t.broker.book.refill(queue)
    waiting = {batch.frame.sequence: (due - t.now, batch) for due, batch in queue.ready.delayed}
    assert {n: round(due_s) for n, (due_s, _) in waiting.items()} == {1: 35, 3: 5, 4: 65}
    tried = waiting[1][1]
    assert (tried.failures, tried.attempt) == (1, 2)
    (letter,) = t.broker.dead.newest(9)
    assert (letter.reason, letter.failures, letter.sequence) == ("failed", 1, 2)
    t.producer()
    t.publish(b"p", 6, ["the same"], key="order-7", key_window_ms=100_000)
    assert queue.counters.deduplicated == 1
    t.worker(credit=9)
    assert deliveries(t.hear()) == []
    assert queue.counters.expired == 1, "that time went on, too"


def test_what_waits_for_its_time_is_in_the_store_only(durable: Any, deliveries: Any) -> None:
    t, read = durable, []

    def reading(entry: int) -> bytes:
        read.append(entry)
        return bytes(t.shelf.body(entry))

    def delayed() -> list[bool]:
        """Whether the bodies of those that are delayed are in memory."""
        return [bool(b.frame.body) for _, b in t.broker.book.queues["q"].ready.delayed]

    t.worker(credit=9, retries={"": [2, 60_000, 60_000, 1]})
    t.publish(b"p", 1, ["later" * 100, "too"], delay_ms=30_000)
    t.publish(b"p", 2, ["again", "done"])
    ((_, lease, _),) = deliveries(t.hear())
    t.settle(b"w", lease.lease, [[0, 0, 1, RETRY], [0, 1, 1, DONE]],
             pack([["ValueError", "no", ""]]), credit=9)  # fmt: skip
    t.keep()
    assert delayed() == [False, False]
    for lives in (1, 2):
        book = t.broker.book
        book.overflow.read = t.broker.recovery._read = reading
        assert book.budget.bytes < 200 < book.queues["q"].ready.bytes, "only their bodies count"
        assert not read, "and nobody reads them before their time"
        if lives == 1:
            t.die()
            t.producer()
            t.worker(credit=9)
            t.hear()
            assert delayed() == [False, False]
    t.broker.receive(b"x", "", [encode(Ask("peek")), pack({"queue": "q"})], t.now)
    ((_, _, (told,)),) = t.hear()
    assert [unpack(task["body"]) for task in unpack(told)["delayed_tasks"]] == [
        "later" * 100, "too", "again"
    ]  # fmt: skip
    assert book.queues["q"].ready.delayed_tasks == 3
    frames = []
    for _ in range(70):
        t.now += 1
        for peer in (b"p", b"w"):
            t.broker.receive(peer, "", [encode(Heartbeat([]))], t.now)
        t.broker.tick(t.now)
        frames += [(t.now, unpack(*frames)) for _, _, frames in deliveries(t.hear())]
    assert [bodies for _, bodies in frames] == [["later" * 100, "too"], ["again"]]
