"""Pausing, draining and resuming queues; and progress, on its way from a worker to a submitter."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.broker.intake import Ingest
from zqueue.wire.codec import pack
from zqueue.wire.headers import encode, unpack_map
from zqueue.wire.messages import (
    DONE,
    RETURNED,
    Control,
    Credit,
    Departed,
    Goodbye,
    Progress,
    Refuse,
    Result,
    Tell,
)
from zqueue.wire.unpacking import unpack_bodies

BIG = (1 << 63) - 1


@pytest.fixture
def pair(talk: Any) -> Any:
    """A producer p, and a worker w with credit for ten tasks."""
    t = talk()
    t.producer()
    t.worker(credit=10)
    return t


def told(heard: list[Any], peer: bytes = b"o") -> list[Any]:
    """What that peer hears: maps, and messages that carry none."""
    return [
        unpack_map(frames[0]) if message == Tell() else message
        for to, message, frames in heard
        if to == peer
    ]


class TestAnswers:
    @pytest.mark.parametrize("role", [None, "producer", "worker", "supervisor", "observer"])
    def test_anybody_may(self, pair: Any, role: str | None) -> None:
        if role is not None:
            pair.hello(role, b"o", queues=["other"])
            pair.hear()
        for action, paused, draining in (
            ("pause", True, False), ("pause", True, False), ("drain", True, True),
            ("resume", False, False), ("resume", False, False), ("drain", False, True),
        ):  # fmt: skip
            pair.control(action)
            state = {"queue": "q", "paused": paused, "draining": draining}
            assert told(pair.hear()) == [state]
            queue = pair.broker.teller.info()["queues"]["q"]
            assert {"queue": "q", **{k: queue[k] for k in ("paused", "draining")}} == state
        assert pair.broker.book.totals().garbage == 0

    @pytest.mark.parametrize("queue", ["nowhere", "", "no/good", "x" * 16_000])
    def test_a_queue_that_is_not_there_is_not_made(self, talk: Any, queue: str) -> None:
        t = talk()
        for action in ("pause", "drain", "resume"):
            t.control(action, queue)
            text = f"there is no queue {queue[:128]!r}"
            assert told(t.hear()) == [Refuse("unknown-queue", 0, text)]
        assert not t.broker.book.queues

    @pytest.mark.parametrize("action", ["", "stop", "PAUSE", "pause ", "x" * 16_000])
    @pytest.mark.parametrize("queue", ["q", "nowhere"])
    def test_another_action_is_malformed(self, pair: Any, action: str, queue: str) -> None:
        pair.control(action, queue)
        (refusal,) = told(pair.hear())
        assert (refusal.code, refusal.sequence) == ("malformed", 0)
        assert len(refusal.text) < 100
        assert pair.broker.book.totals().garbage == 1
        assert pair.broker.teller.info()["queues"]["q"]["paused"] is False

    def test_it_is_no_sign_of_life(self, talk: Any) -> None:
        t = talk(liveness_s=5.0)
        t.worker()
        t.now += 3
        t.control("pause", peer=b"w")
        assert t.broker.next_deadline() == 1005.0


class TestPaused:
    def test_nothing_is_handed_out(self, pair: Any, deliveries: Any, confirmed: Any) -> None:
        pair.control("pause")
        pair.publish(b"p", 1, [1, 2])
        heard = pair.hear()
        assert deliveries(heard) == []
        assert confirmed(heard) == [1], "it is taken as ever"
        assert (pair.ready(), pair.leased()) == (2, 0)
        pair.control("resume")
        ((peer, _, frames),) = deliveries(pair.hear())
        assert (peer, frames) == (b"w", [pack([1, 2])])

    def test_what_is_out_is_settled(self, pair: Any, deliveries: Any) -> None:
        pair.publish(b"p", 1, [1, 2, 3], reply=True)
        ((_, message, _),) = deliveries(pair.hear())
        pair.control("pause")
        pair.settle(b"w", message.lease, [[0, 0, 1, DONE], [0, 1, 1, RETURNED]])
        heard = pair.hear()
        assert [m for _, m, _ in heard if isinstance(m, Result)] == [Result(1, 0, 1, DONE)]
        assert deliveries(heard) == [], "what came back waits, though there is credit"
        assert (pair.ready(), pair.leased()) == (1, 1)

    @pytest.mark.parametrize("reason", ["goodbye", "crashed", "silence"])
    def test_what_comes_back_waits(self, talk: Any, deliveries: Any, reason: str) -> None:
        t = talk(liveness_s=5.0)
        t.producer()
        t.hello("supervisor", b"s")
        t.worker(credit=10, supervisor=b"s")
        t.publish(b"p", 1, ["a", "b"])
        t.hear()
        t.control("pause")
        if reason == "goodbye":
            t.say(b"w", Goodbye())
        elif reason == "crashed":
            t.say(b"s", Departed(b"w", "crashed", 0, 0, ""))
        else:
            t.now += 6.0
            t.broker.tick(t.now)
        t.worker(b"w2", credit=10)
        assert deliveries(t.hear()) == []
        assert (t.ready(), t.leased()) == (2, 0)
        t.control("resume")
        (peer, message, _), *_ = deliveries(t.hear())
        assert (peer, message.batches[0][3]) == (b"w2", 2)

    def test_workers_get_what_is_in_other_queues(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        t.worker(queues="ab", credit=1)
        t.control("pause", "a")
        t.publish(b"p", 1, [1], queue="a")
        t.publish(b"p", 2, [2], queue="b")
        ((_, message, _),) = deliveries(t.hear())
        assert message.queue == "b"
        t.settle(b"w", message.lease, [[0, 0, 1, DONE]], credit=1)
        assert deliveries(t.hear()) == []
        t.control("resume", "a")
        ((_, message, _),) = deliveries(t.hear())
        assert message.queue == "a"

    def test_a_worker_that_was_kept_for_a_suspect_is_free(self, talk: Any, deliveries: Any) -> None:
        """It is reserved while it is busy; it must not wait for ever for a queue that is paused."""
        t = talk()
        t.producer()
        t.hello("supervisor", b"s")
        t.worker(b"w1", queues="a", credit=1, supervisor=b"s")
        t.publish(b"p", 1, ["suspect"], queue="a")
        t.publish(b"p", 2, ["other"], queue="b")
        t.hear()
        t.worker(b"w2", queues="ab", credit=2)
        ((_, busy, _),) = deliveries(t.hear())
        t.say(b"s", Departed(b"w1", "crashed", 0, 0, ""))
        t.control("pause", "a")
        t.publish(b"p", 3, ["more"], queue="b")
        t.settle(b"w2", busy.lease, [[0, 0, 1, DONE]], credit=2)
        ((_, message, frames),) = deliveries(t.hear())
        assert (message.queue, frames) == ("b", [pack(["more"])])
        t.settle(b"w2", message.lease, [[0, 0, 1, DONE]], credit=2)
        t.control("resume", "a")
        ((_, message, frames),) = deliveries(t.hear())
        assert (message.queue, frames) == ("a", [pack(["suspect"])])

    def test_its_bound_holds(self, talk: Any, confirmed: Any) -> None:
        t = talk(queue_tasks_max=2)
        t.producer()
        t.worker(credit=10)
        t.control("pause")
        for sequence in range(1, 5):
            t.publish(b"p", sequence, [0])
        heard = t.hear()
        assert confirmed(heard) == [1]
        assert [m.code for _, m, _ in heard if isinstance(m, Refuse)] == ["full"]
        t.control("resume")
        assert t.leased() == 0
        t.hear()
        assert t.leased() == 3

    def test_the_plain_lane_gets_nothing(self, talk: Any) -> None:
        t = talk(egress=frozenset({"out"}))
        t.producer()
        t.publish(b"p", 1, [1], queue="out")
        t.control("pause", "out")
        assert t.broker.dispatch.take_egress("out", t.now) is None
        assert t.ready("out") == 1
        t.control("resume", "out")
        assert t.broker.dispatch.take_egress("out", t.now) == [b"out", pack([1])]

    def test_a_broker_that_stops_is_not_empty_for_it(self, pair: Any) -> None:
        pair.control("pause")
        pair.publish(b"p", 1, [1])
        pair.broker.drain()
        pair.hear()
        assert not pair.broker.book.is_empty()


class TestDraining:
    def test_nothing_is_taken(self, pair: Any, deliveries: Any, confirmed: Any) -> None:
        pair.publish(b"p", 1, [1])
        ((_, message, _),) = deliveries(pair.hear())
        pair.control("drain")
        pair.hear()
        for _ in range(2):
            pair.publish(b"p", 2, [2])
            assert pair.hear() == [(b"p", Refuse("draining", 2, "queue 'q' is draining"), [])]
        totals = pair.broker.book.totals()
        assert (totals.published, totals.postponed, totals.duplicates) == (1, 2, 0)
        pair.settle(b"w", message.lease, [[0, 0, 1, DONE]])
        assert pair.broker.book.is_empty()
        pair.control("resume")
        pair.publish(b"p", 2, [2])
        heard = pair.hear()
        assert confirmed(heard) == [2], "the number was not used up"
        assert len(deliveries(heard)) == 1

    def test_it_hands_out(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        t.publish(b"p", 1, [1])
        t.control("drain")
        t.worker(credit=1)
        assert len(deliveries(t.hear())) == 1

    def test_what_was_taken_is_confirmed_again(self, pair: Any, confirmed: Any) -> None:
        pair.publish(b"p", 1, [1])
        assert confirmed(pair.hear()) == [1]
        pair.control("drain")
        pair.publish(b"p", 1, [1])
        assert confirmed(pair.hear()) == [1]

    def test_what_was_withheld_is_confirmed_when_there_is_room(
        self, talk: Any, deliveries: Any, confirmed: Any
    ) -> None:
        t = talk(queue_tasks_max=1)
        t.producer()
        t.worker(credit=1)
        t.publish(b"p", 1, [1])
        heard = t.hear()
        assert confirmed(heard) == []
        ((_, message, _),) = deliveries(heard)
        t.control("drain")
        t.settle(b"w", message.lease, [[0, 0, 1, DONE]])
        assert confirmed(t.hear()) == [1]

    def test_the_plain_lane_is_not_read(self, talk: Any) -> None:
        t = talk()
        assert t.broker.ingest([b"q", pack([1])], t.now) is Ingest.TAKEN
        t.control("drain")
        assert t.broker.ingest([b"q", pack([2])], t.now) is Ingest.FULL
        assert t.broker.ingest([b"other", pack([2])], t.now) is Ingest.TAKEN
        t.control("resume")
        assert t.broker.ingest([b"q", pack([2])], t.now) is Ingest.TAKEN
        assert t.ready() == 2


class TestProgress:
    @pytest.fixture
    def lease(self, pair: Any, deliveries: Any) -> int:
        """Three tasks of batch 1, of which the first is settled, and two of batch 2."""
        pair.worker(b"w1", credit=1)
        pair.publish(b"p", 1, [0, 1, 2, 3], reply=True)
        pair.publish(b"p", 2, [4, 5], reply=True)
        heard = deliveries(pair.hear())
        found: int = next(m.lease for to, m, _ in heard if to == b"w")
        return found

    def say(self, t: Any, *fields: int, peer: bytes = b"w") -> list[Any]:
        """A worker says so; what anybody hears of it."""
        t.broker.receive(peer, "", [encode(Progress(*fields))], t.now)
        return [(to, tuple(m)) for to, m, _ in t.hear()]

    def test_goes_to_who_published(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer(b"a")
        t.producer(b"b")
        t.publish(b"a", 7, [1, 2], reply=True)
        t.publish(b"b", 9, [3, 4, 5], reply=True)
        t.worker(credit=10)
        ((_, message, _),) = deliveries(t.hear())
        said = [self.say(t, message.lease, position, 5, 10) for position in range(6)]
        assert said == [
            [(b"a", (7, 0, 5, 10))], [(b"a", (7, 1, 5, 10))],
            [(b"b", (9, 0, 5, 10))], [(b"b", (9, 1, 5, 10))], [(b"b", (9, 2, 5, 10))],
            [],
        ]  # fmt: skip

    def test_places_are_those_of_the_batch_as_published(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        t.publish(b"p", 1, [0, 1, 2, 3, 4], reply=True)
        for worker in (b"w1", b"w2"):
            t.worker(worker)
        for worker in (b"w1", b"w2"):
            t.broker.receive(worker, "", [encode(Credit(3))], t.now)
        (_, first, _), (_, second, _) = deliveries(t.hear())
        assert self.say(t, first.lease, 2, 1, 2, peer=b"w1") == [(b"p", (1, 2, 1, 2))]
        assert self.say(t, second.lease, 1, 1, 2, peer=b"w2") == [(b"p", (1, 4, 1, 2))]

    def test_nobody_wants_it(self, pair: Any, deliveries: Any) -> None:
        pair.publish(b"p", 1, [1])
        ((_, message, _),) = deliveries(pair.hear())
        assert self.say(pair, message.lease, 0, 1, 2) == []

    @pytest.mark.parametrize("position", [6, 7, BIG])
    def test_beyond_the_lease(self, pair: Any, lease: int, position: int) -> None:
        assert self.say(pair, lease, position, 1, 2) == []
        assert pair.broker.book.totals().garbage == 0

    def test_a_lease_belongs_to_its_worker(self, pair: Any, lease: int) -> None:
        assert self.say(pair, lease, 0, 1, 2, peer=b"w1") == []
        assert self.say(pair, lease + 100, 0, 1, 2) == []
        assert self.say(pair, BIG, 0, 1, 2) == []

    def test_after_the_lease_nothing_is_told(self, pair: Any, deliveries: Any) -> None:
        pair.publish(b"p", 1, [1], reply=True)
        ((_, message, _),) = deliveries(pair.hear())
        pair.settle(b"w", message.lease, [[0, 0, 1, DONE]])
        pair.hear()
        assert self.say(pair, message.lease, 0, 1, 1) == []

    def test_its_producer_is_away(self, pair: Any, lease: int) -> None:
        """It is not kept: news of then is of no use later."""
        pair.broker.unreachable(b"p", [encode(Progress(1, 0, 1, 2))], pair.now)
        assert self.say(pair, lease, 0, 1, 2) == []
        pair.producer(b"p2", id=b"p")
        assert self.say(pair, lease, 0, 2, 2) == [(b"p2", (1, 0, 2, 2))]
        assert pair.broker.book.totals().results_lost == 0

    def test_it_is_a_sign_of_life(self, talk: Any) -> None:
        t = talk(liveness_s=5.0)
        t.worker()
        t.now += 3
        t.say(b"w", Progress(1, 0, 1, 2))
        t.broker.tick(1007.9)
        assert t.broker.roster.peers
        assert t.broker.next_deadline() == 1008.0


class TestIds:
    def seen(self, message: Any) -> list[tuple[int, int, int]]:
        return [(batch[5], batch[6], batch[7] + i) for batch in message.batches
                for i in range(batch[2])]  # fmt: skip

    def test_are_the_same_after_everything(self, talk: Any, deliveries: Any) -> None:
        """Cut, returned, lost with a worker, delivered again: they stay what they were."""
        t = talk(crashes_max=9)
        t.producer(b"x", id=b"\x01\x02\x03\x04\x05\x06" + b"secret too")
        t.hello("supervisor", b"s")
        t.publish(b"x", 3, ["a", "b", "c", "d", "e"])
        t.publish(b"x", 4, ["f"])
        ids: dict[str, set[tuple[int, int, int]]] = {}
        for round_, reason in enumerate(["stopped"] * 5 + ["crashed"] * 6):
            worker = b"w%d" % round_
            t.worker(worker, credit=2 + round_, supervisor=b"s")
            for _, message, frames in deliveries(t.hear()):
                bodies = [body for frame in frames for body in unpack_bodies(frame)]
                for body, seen in zip(bodies, self.seen(message), strict=True):
                    ids.setdefault(body, set()).add(seen)
                if round_ % 2:
                    t.settle(worker, message.lease, [[0, 0, 1, RETURNED]], credit=0)
            t.say(b"s", Departed(worker, reason, 0, 0, ""))
        origin = 0x010203040506
        assert ids == {
            **{body: {(origin, 3, place)} for place, body in enumerate("abcde")},
            "f": {(origin, 4, 0)},
        }

    def test_of_the_plain_lane(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        for queue in (b"q", b"r", b"q"):
            t.broker.ingest([queue, pack([1, 2])], t.now)
        t.broker.ingest([b"q", b"\x90"], t.now)
        t.broker.ingest([b"r", pack([3])], t.now)
        t.worker(queues="qr", credit=100)
        heard = deliveries(t.hear())
        found = [seen for _, message, _ in heard for seen in self.seen(message)]
        origin = int.from_bytes(b"broker", "big")
        assert len(set(found)) == len(found) == 7
        assert {(place[0], place[1]) for place in found} == {(origin, n) for n in (1, 2, 3, 4)}

    def test_are_told_to_nobody_else(self, pair: Any) -> None:
        """A producer's id is as good as a password; only six bytes of it travel."""
        pair.producer(b"x", id=b"0123456789abcdef")
        pair.publish(b"x", 1, [1])
        sent = []
        while messages := pair.broker.to_send():
            sent += [frame for _, frames in messages for frame in frames]
        assert not any(b"6789abcdef" in frame for frame in sent)


def test_a_message_of_control_carries_no_frames(pair: Any) -> None:
    pair.broker.receive(b"o", "", [encode(Control("pause", "q")), b"\xc1", b""], pair.now)
    assert told(pair.hear()) == [{"queue": "q", "paused": True, "draining": False}]
