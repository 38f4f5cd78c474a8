"""Who greets, who is silent, who leaves, and what becomes of what they had."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.broker.book import QUEUE_UNUSED_S
from zqueue.broker.machine import STRANGERS_EVERY_S, STRANGERS_MAX
from zqueue.broker.presence import GOODBYE_S, PRODUCER_AWAY_S
from zqueue.broker.skills import SKILLS_KEPT_S
from zqueue.wire.codec import pack
from zqueue.wire.headers import encode
from zqueue.wire.messages import (
    OPEN,
    RESULTS,
    Ask,
    Await,
    Confirm,
    Control,
    Credit,
    Departed,
    Goodbye,
    Heartbeat,
    Hello,
    Refuse,
    Result,
    Welcome,
)


class TestHello:
    @pytest.mark.parametrize("role", ["producer", "supervisor", "observer"])
    def test_is_welcomed(self, talk: Any, role: str) -> None:
        t = talk(heartbeat_s=0.25, liveness_s=1.5)
        t.hello(role, b"x")
        assert t.hear() == [(b"x", Welcome(b"broker-1", 250, 1500), [])]

    def test_who_only_looks_changes_nothing(self, talk: Any) -> None:
        t = talk()
        t.hello("producer", b"p")
        t.hear()
        look = Hello("producer", b"p", 1)
        assert t.say(b"q", look) == [Welcome(b"broker-1", 1000, 5000, 0, 0, 1)]
        assert t.say(b"q", Heartbeat([])) == [Refuse("unknown-peer", 0, "say hello first")]
        assert t.say(b"p", Heartbeat([])) == [Heartbeat([])]

    def test_a_worker_names_its_queues(self, talk: Any) -> None:
        t = talk()
        about = {"pid": 7, "host": "here", "version": "1.2", "tasks": {"t": "a"}}
        t.hello("worker", b"w", queues=["a", "b", "a"], **about)
        assert t.hear() == [(b"w", Welcome(b"broker-1", 1000, 5000), [])]
        state = t.info()
        assert state["workers"] == [
            {"id": b"w".hex(), "pid": 7, "host": "here", "version": "1.2", "queues": ["a", "b"],
             "credit": 0, "in_flight": 0, "report": {}}
        ]  # fmt: skip
        assert state["tasks"] == {"t": "a"}
        assert {name: queue["workers"] for name, queue in state["queues"].items()} == {
            "a": 1,
            "b": 1,
        }

    @pytest.mark.parametrize("queues", [None, [], "q", [1], ["q", None], {"q": 1}], ids=repr)
    def test_a_worker_without_queues_is_refused(self, talk: Any, queues: Any) -> None:
        t = talk()
        t.hello("worker", b"w", queues=queues)
        assert t.hear() == [(b"w", Refuse("malformed", 0, "a worker must name its queues"), [])]
        assert t.info()["workers"] == []

    def test_an_impossible_queue_name_is_refused(self, talk: Any) -> None:
        t = talk()
        t.hello("worker", b"w", queues=["no/good"])
        assert [m.code for _, m, _ in t.hear()] == ["bad-name"]

    def test_an_unknown_role_is_refused(self, talk: Any) -> None:
        t = talk()
        t.hello("king", b"x")
        assert t.hear() == [(b"x", Refuse("malformed", 0, "unknown role 'king'"), [])]
        assert t.broker.book.totals().garbage == 1

    def test_room_for_so_many_peers(self, talk: Any) -> None:
        t = talk(peers_max=2)
        t.producer(b"a")
        t.producer(b"b")
        t.hello("producer", b"c")
        assert [(p, m.code) for p, m, _ in t.hear()] == [(b"c", "too-many-peers")]
        t.say(b"a", Goodbye())
        t.hello("producer", b"c")
        assert [type(m) for _, m, _ in t.hear()] == [Welcome]

    def test_a_peer_may_change_its_role(self, talk: Any) -> None:
        t = talk()
        t.producer(b"x")
        t.worker(b"x")
        assert t.info()["producers"] == 0
        assert len(t.info()["workers"]) == 1

    def test_a_worker_that_greets_again_has_lost_its_tasks(
        self, talk: Any, deliveries: Any
    ) -> None:
        t = talk()
        t.producer()
        t.worker(credit=10)
        t.publish(b"p", 1, [1, 2])
        t.hear()
        assert t.leased() == 2
        t.worker(b"w2", id=b"w")
        assert (t.leased(), t.ready()) == (0, 2)
        assert t.broker.book.totals().workers_lost == 0
        assert t.say(b"w", Heartbeat([])) == [Refuse("unknown-peer", 0, "say hello first")]


class TestGoodbyeOfTheBroker:
    def test_everybody_is_told(self, talk: Any) -> None:
        t = talk()
        t.producer()
        t.worker()
        t.broker.say_goodbye(t.now)
        assert [(peer, m) for peer, m, _ in t.hear()] == [(b"p", Goodbye()), (b"w", Goodbye())]
        assert t.broker.roster.peers
        for peer in (b"p", b"w"):
            assert t.say(peer, Goodbye()) == [Goodbye()]
        assert not t.broker.roster.peers

    def test_producers_have_longer_to_answer(self, talk: Any) -> None:
        """Results are on their way to them, and are lost with the connection."""
        t = talk(liveness_s=5.0)
        assert t.broker.goodbye_deadline() is None
        t.producer()
        t.worker()
        assert t.broker.goodbye_deadline() is None
        t.broker.say_goodbye(t.now)
        assert t.broker.goodbye_deadline() == t.now + 5.0
        t.say(b"p", Goodbye())
        assert t.broker.goodbye_deadline() == t.now + GOODBYE_S
        t.say(b"w", Goodbye())
        assert t.broker.goodbye_deadline() is None

    def test_nobody_is_welcomed_any_more(self, talk: Any) -> None:
        """Whoever was told greets at once, and would believe to be safe."""
        t = talk()
        t.producer()
        t.broker.say_goodbye(t.now)
        t.hear()
        t.say(b"p", Goodbye())
        t.hello("producer", b"p")
        t.hello("worker", b"w", queues=["q"])
        assert t.hear() == []
        assert not t.broker.roster.peers
        assert t.broker.book.totals().garbage == 0


class TestLiveness:
    def test_silence_is_loss(self, talk: Any) -> None:
        t = talk(liveness_s=5.0)
        t.producer()
        t.now += 1
        t.worker()
        assert t.broker.next_deadline() == 1005.0
        t.broker.tick(1004.9)
        assert repr(t.broker).startswith("<BrokerProtocol <Roster of 2 peers, 0 away>")
        t.broker.tick(1005.0)
        assert repr(t.broker).startswith("<BrokerProtocol <Roster of 1 peers, 1 away>")
        assert t.broker.next_deadline() == 1006.0
        t.broker.tick(1006.0)
        assert t.broker.book.totals().workers_lost == 1
        assert t.broker.next_deadline() == 1006.0 + SKILLS_KEPT_S
        t.broker.tick(1006.0 + SKILLS_KEPT_S)
        assert t.broker.next_deadline() == 1001.0 + QUEUE_UNUSED_S
        t.broker.tick(1001.0 + QUEUE_UNUSED_S)
        t.hear()
        assert not t.broker.book.queues
        assert t.broker.next_deadline() == 1005.0 + PRODUCER_AWAY_S
        t.broker.tick(1005.0 + PRODUCER_AWAY_S)
        assert t.broker.next_deadline() is None

    @pytest.mark.parametrize("message", [Heartbeat([]), Credit(3)], ids=repr)
    def test_a_word_is_a_sign_of_life(self, talk: Any, message: Any) -> None:
        t = talk(liveness_s=5.0)
        t.worker()
        t.now += 3
        t.say(b"w", message)
        t.broker.tick(1007.9)
        assert t.broker.roster.peers
        assert t.broker.next_deadline() == 1008.0
        t.broker.tick(1008.0)
        assert not t.broker.roster.peers

    @pytest.mark.parametrize("message", [Ask("info"), Control("pause", "q")], ids=repr)
    def test_a_question_is_none(self, talk: Any, message: Any) -> None:
        t = talk(liveness_s=5.0)
        t.worker()
        t.now += 3
        t.say(b"w", message)
        t.broker.tick(1005.0)
        assert not t.broker.roster.peers

    def test_heartbeats_are_answered(self, talk: Any) -> None:
        t = talk()
        t.producer()
        assert t.say(b"p", Heartbeat([])) == [Heartbeat([])]

    def test_a_supervisor_speaks_for_its_workers_only(self, talk: Any) -> None:
        t = talk(liveness_s=5.0)
        t.hello("supervisor", b"s")
        t.worker(b"w1", supervisor=b"s")
        t.worker(b"w2", supervisor=b"other")
        t.worker(b"w3")
        t.now += 3
        t.say(b"s", Heartbeat([b"w1", b"w2", b"w3", b"nobody"]))
        t.broker.tick(t.now + 2)
        assert [worker["id"] for worker in t.info()["workers"]] == [b"w1".hex()]

    def test_a_silent_workers_tasks_go_to_another(self, talk: Any, deliveries: Any) -> None:
        t = talk(liveness_s=5.0)
        t.producer()
        t.worker(b"w1", credit=10)
        t.publish(b"p", 1, ["a", "b"])
        ((peer, first, _),) = deliveries(t.hear())
        assert peer == b"w1"
        t.now += 3
        t.worker(b"w2", credit=10)
        t.broker.tick(1005.0)
        ((peer, second, frames),) = deliveries(t.hear())
        assert peer == b"w2"
        assert second.lease > first.lease
        (batch,) = second.batches
        assert batch[:5] == ["t", 0, 2, 2, 5_000_000], "suspects, in their second attempt"
        assert frames == [pack(["a", "b"])]
        t.publish(b"p", 2, ["c"])
        assert deliveries(t.hear()) == [], "alone"


class TestDeparted:
    @pytest.mark.parametrize(("reason", "lost"), [("crashed", 1), ("stopped", 0)])
    def test_tasks_are_ready_at_once(self, talk: Any, reason: str, lost: int) -> None:
        t = talk()
        t.producer()
        t.hello("supervisor", b"s")
        t.worker(credit=5, supervisor=b"s")
        t.publish(b"p", 1, [1, 2, 3])
        t.hear()
        t.say(b"s", Departed(b"w", reason, 0, 0, ""))
        assert (t.ready(), t.leased()) == (3, 0)
        assert t.broker.book.totals().workers_lost == lost
        assert t.broker.book.totals().redelivered == 3
        assert t.info()["workers"] == []

    def test_only_its_own_supervisor_can_report_a_worker(self, talk: Any) -> None:
        t = talk()
        t.hello("supervisor", b"s")
        t.worker(b"w1", supervisor=b"other")
        t.worker(b"w2")
        for worker in (b"w1", b"w2", b"nobody"):
            t.say(b"s", Departed(worker, "crashed", 0, 0, ""))
        assert len(t.info()["workers"]) == 2

    def test_a_departed_worker_that_speaks_must_greet(self, talk: Any) -> None:
        t = talk()
        t.hello("supervisor", b"s")
        t.worker(supervisor=b"s")
        t.say(b"s", Departed(b"w", "crashed", 0, 0, ""))
        assert t.say(b"w", Credit(5)) == [Refuse("unknown-peer", 0, "say hello first")]


class TestProducersAway:
    def publish_and_vanish(self, t: Any, deliveries: Any) -> int:
        """A batch of two, of which one settles after its producer's connection broke."""
        t.producer(b"p1", id=b"me")
        t.worker(credit=10)
        t.publish(b"p1", 1, ["a", "b"], reply=True)
        ((_, message, _),) = deliveries(t.hear())
        t.broker.unreachable(b"p1", [encode(Heartbeat([]))], t.now)
        t.settle(b"w", message.lease, [[0, 0, 1, RESULTS]], pack(["A"]))
        assert t.hear() == []
        return int(message.lease)

    def test_results_wait_for_its_return(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        lease = self.publish_and_vanish(t, deliveries)
        t.hello("producer", b"p2", b"me")
        assert t.hear() == [
            (b"p2", Welcome(b"broker-1", 1000, 5000), []),
            (b"p2", Result(1, 0, 1, RESULTS), [pack(["A"])]),
        ]
        t.settle(b"w", lease, [[0, 1, 1, RESULTS]], pack(["B"]))
        assert t.hear() == [(b"p2", Result(1, 1, 1, RESULTS), [pack(["B"])])]
        assert t.say(b"p2", Await([1])) == [Result(1, 0, 0, OPEN)]

    def test_what_waited_for_it_is_not_lost(self, talk: Any, deliveries: Any) -> None:
        """It asks for both before it has read the one that is on the wire again."""
        t = talk()
        lease = self.publish_and_vanish(t, deliveries)
        t.hello("producer", b"p2", b"me")
        t.hear()
        assert t.say(b"p2", Await([1])) == [Result(1, 0, 1, OPEN)], "behind the one that waited"
        t.settle(b"w", lease, [[0, 1, 1, RESULTS]], pack(["B"]))
        assert t.hear() == [(b"p2", Result(1, 1, 1, RESULTS), [pack(["B"])])]

    def test_a_resent_batch_counts_once(self, talk: Any, deliveries: Any, confirmed: Any) -> None:
        t = talk()
        self.publish_and_vanish(t, deliveries)
        t.producer(b"p2", id=b"me")
        t.publish(b"p2", 1, ["a", "b"], reply=True)
        assert confirmed(t.hear(), b"p2") == [1]
        assert t.broker.book.totals().duplicates == 1
        assert t.broker.book.totals().published == 2

    def test_a_result_that_could_not_be_sent_goes_to_its_new_place(self, talk: Any) -> None:
        """The producer was quicker than the news that its connection is gone."""
        t = talk()
        t.producer(b"p1", id=b"me")
        t.producer(b"p2", id=b"me")
        header = encode(Result(1, 0, 1, RESULTS))
        t.broker.unreachable(b"p1", [header, pack(["A"])], t.now)
        assert t.hear() == [(b"p2", Result(1, 0, 1, RESULTS), [pack(["A"])])]
        assert t.info()["producers"] == 1, "where it is now is not lost"

    def test_former_places_are_bounded(self, talk: Any) -> None:
        t = talk(peers_max=3)
        for i in range(20):
            t.producer(b"p%d" % i, id=b"me")
        assert len(t.broker.roster.former) == 3
        header = encode(Result(1, 0, 1, RESULTS))
        t.broker.unreachable(b"p0", [header, pack(["A"])], t.now)
        assert t.hear() == []
        t.broker.unreachable(b"p18", [header, pack(["A"])], t.now)
        assert [peer for peer, _, _ in t.hear()] == [b"p19"]

    def test_all_results_that_could_not_be_sent_are_kept(self, talk: Any) -> None:
        """Several were under way; the first to fail tells that the peer is gone."""
        t = talk()
        t.producer(b"p1", id=b"me")
        results = [Result(1, position, 1, RESULTS) for position in range(3)]
        for result in results:
            t.broker.unreachable(b"p1", [encode(result), pack(["A"])], t.now)
        t.hello("producer", b"p2", b"me")
        assert [message for _, message, _ in t.hear()[1:]] == results
        assert t.broker.book.totals().results_lost == 0

    def test_is_forgotten_in_the_end(self, talk: Any, deliveries: Any, confirmed: Any) -> None:
        t = talk()
        self.publish_and_vanish(t, deliveries)
        t.broker.tick(t.now + PRODUCER_AWAY_S - 0.1)
        assert list(t.broker.roster.producers) == [b"me"]
        t.broker.tick(t.now + PRODUCER_AWAY_S)
        assert list(t.broker.roster.producers) == []

    def test_is_forgotten_at_once_if_it_says_goodbye(self, talk: Any) -> None:
        t = talk()
        t.producer()
        t.publish(b"p", 1, [1])
        assert t.say(b"p", Goodbye()) == [Confirm([1, 1]), Goodbye()]
        assert t.broker.roster.producers == {}
        assert t.ready() == 1

    def test_is_remembered_after_goodbye_while_results_are_open(self, talk: Any) -> None:
        t = talk()
        t.producer()
        t.publish(b"p", 1, [1], reply=True)
        t.say(b"p", Goodbye())
        assert list(t.broker.roster.producers) == [b"p"]

    def test_a_new_connection_takes_the_place_of_the_old(self, talk: Any) -> None:
        t = talk()
        t.producer(b"p1", id=b"me")
        t.producer(b"p2", id=b"me")
        assert t.say(b"p1", Heartbeat([])) == [Refuse("unknown-peer", 0, "say hello first")]
        assert t.say(b"p2", Heartbeat([])) == [Heartbeat([])]
        t.broker.tick(t.now + 4.9)
        assert list(t.broker.roster.producers) == [b"me"]


def test_who_sent_much_before_it_heard_that_it_is_unknown_hears_so_once(talk: Any) -> None:
    """Else its pipe is full of that when it has greeted, and it may be given up for that."""
    t = talk()
    assert [m.code for m in t.say(b"x", Heartbeat([]))] == ["unknown-peer"]
    assert [t.say(b"x", Heartbeat([])) for _ in range(100)] == [[]] * 100
    assert [m.code for m in t.say(b"y", Heartbeat([]))] == ["unknown-peer"]
    t.now += STRANGERS_EVERY_S
    assert [m.code for m in t.say(b"x", Heartbeat([]))] == ["unknown-peer"]
    t.producer(b"x")
    t.say(b"x", Goodbye())
    t.hear()
    assert [m.code for m in t.say(b"x", Heartbeat([]))] == ["unknown-peer"]


def test_it_is_not_remembered_of_all_who_ever_came(talk: Any) -> None:
    t = talk()
    for number in range(3 * STRANGERS_MAX):
        t.broker.receive(b"%d" % number, "", [encode(Heartbeat([]))], t.now)
    assert len(t.hear()) == 3 * STRANGERS_MAX
    assert len(t.broker.strangers) <= STRANGERS_MAX
