"""The broker's machine: peers, roles, liveness, and that no message can harm it."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.protocol.broker import PRODUCER_AWAY_S, BrokerProtocol, Limits
from zqueue.protocol.codec import pack
from zqueue.protocol.intake import Ingest
from zqueue.protocol.messages import (
    KINDS,
    OPEN,
    RESULTS,
    Ask,
    Await,
    Confirm,
    Credit,
    Deliver,
    Departed,
    Goodbye,
    Heartbeat,
    Hello,
    Progress,
    Publish,
    Refuse,
    Report,
    Result,
    Settle,
    Tell,
    Welcome,
    decode,
    encode,
    unpack_map,
)


def info(talk: Any) -> dict[str, Any]:
    """What the broker tells when it is asked for ``info``."""
    talk.broker.receive(b"asker", [encode(Ask("info"))], talk.now)
    ((_, message, (frame,)),) = talk.hear()
    assert message == Tell()
    return unpack_map(frame, nbytes_max=1 << 24)


class TestHello:
    @pytest.mark.parametrize("role", ["producer", "supervisor", "observer"])
    def test_is_welcomed(self, talk: Any, role: str) -> None:
        t = talk(heartbeat_s=0.25, liveness_s=1.5)
        t.hello(role, b"x")
        assert t.hear() == [(b"x", Welcome(b"broker-1", 250, 1500), [])]

    def test_a_worker_names_its_queues(self, talk: Any) -> None:
        t = talk()
        about = {"pid": 7, "host": "here", "version": "1.2", "tasks": {"t": "a"}}
        t.hello("worker", b"w", queues=["a", "b", "a"], **about)
        assert t.hear() == [(b"w", Welcome(b"broker-1", 1000, 5000), [])]
        state = info(t)
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
        assert info(t)["workers"] == []

    def test_an_impossible_queue_name_is_refused(self, talk: Any) -> None:
        t = talk()
        t.hello("worker", b"w", queues=["no/good"])
        assert [m.code for _, m, _ in t.hear()] == ["bad-name"]

    def test_an_unknown_role_is_refused(self, talk: Any) -> None:
        t = talk()
        t.hello("king", b"x")
        assert t.hear() == [(b"x", Refuse("malformed", 0, "unknown role 'king'"), [])]
        assert t.broker.totals().garbage == 1

    def test_room_for_so_many_peers(self, talk: Any) -> None:
        t = talk(peers_max=2)
        t.producer(b"a")
        t.producer(b"b")
        t.hello("producer", b"c")
        assert [(p, m.code) for p, m, _ in t.hear()] == [(b"c", "too-many-peers")]
        t.say(b"a", Goodbye())
        t.hello("producer", b"c")
        assert [type(m) for _, m, _ in t.hear()] == [Welcome]

    def test_greeting_again_needs_no_more_room(self, talk: Any) -> None:
        t = talk(peers_max=1)
        t.producer(b"a")
        t.hello("producer", b"a")
        assert [type(m) for _, m, _ in t.hear()] == [Welcome]

    def test_a_peer_may_change_its_role(self, talk: Any) -> None:
        t = talk()
        t.producer(b"x")
        t.worker(b"x")
        assert info(t)["producers"] == 0
        assert len(info(t)["workers"]) == 1

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
        assert t.broker.totals().workers_lost == 0
        assert t.say(b"w", Heartbeat([])) == [Refuse("unknown-peer", 0, "say hello first")]


MAY_SAY = {
    "producer": (Publish, Await, Report),
    "worker": (Credit, Settle, Progress, Report),
    "supervisor": (Departed, Report),
    "observer": (),
}


class TestRoles:
    WORDS = (Publish(1, "q", "t", 0), Await([1]), Credit(1), Settle(1, 1, []),
             Progress(1, 0, 1, 2), Report(), Departed(b"w", "crashed", 0, 0, ""))  # fmt: skip

    @pytest.mark.parametrize("role", MAY_SAY)
    @pytest.mark.parametrize("message", WORDS, ids=lambda m: type(m).__name__)
    def test_each_says_only_its_own(self, talk: Any, role: str, message: Any) -> None:
        t = talk()
        t.hello(role, b"x", queues=["q"])
        t.hear()
        frames = [pack({})] if isinstance(message, Report) else []
        frames = [pack([1])] if isinstance(message, Publish) else frames
        heard = t.say(b"x", message, *frames)
        refusal = Refuse("wrong-role", 0, f"{type(message).__name__} is not for a {role}")
        assert (refusal in heard) is not isinstance(message, MAY_SAY[role])
        assert t.broker.totals().garbage == (0 if isinstance(message, MAY_SAY[role]) else 1)

    @pytest.mark.parametrize("role", MAY_SAY)
    @pytest.mark.parametrize(
        "message",
        [Welcome(b"b", 1, 1), Refuse("x", 0, ""), Confirm([1, 1]), Result(1, 0, 1, 0),
         Deliver(1, "q", []), Tell()],
        ids=lambda m: type(m).__name__,
    )  # fmt: skip
    def test_nobody_says_what_only_brokers_say(self, talk: Any, role: str, message: Any) -> None:
        t = talk()
        t.hello(role, b"x", queues=["q"])
        t.hear()
        assert [m.code for m in t.say(b"x", message)] == ["wrong-role"]

    @pytest.mark.parametrize("message", [*WORDS, Heartbeat([]), Goodbye()],
                             ids=lambda m: type(m).__name__)  # fmt: skip
    def test_strangers_must_greet_first(self, talk: Any, message: Any) -> None:
        t = talk()
        assert t.say(b"x", message, b"\x91\x01") == [Refuse("unknown-peer", 0, "say hello first")]
        assert not t.broker.intake.queues

    @pytest.mark.parametrize(
        ("role", "message", "frames"),
        [
            ("producer", Publish(0, "q", "t", 0), [b"\x91\x01"]),
            ("worker", Settle(1, 1, [[0, 0, 1, 4]]), []),
            ("worker", Settle(1, 1, [[0, 0, 1, 9]]), []),
            ("worker", Settle(1, 1, [[0, 0, 1, 1]]), []),
            ("worker", Settle(1, 1, [[0, 0, 1, 0]]), [b"\x91\x01"]),
            ("worker", Report(), []),
            ("worker", Report(), [b"\x90"]),
        ],
    )
    def test_nonsense_is_refused_and_counted(
        self, talk: Any, role: str, message: Any, frames: list[bytes]
    ) -> None:
        t = talk()
        t.hello(role, b"x", queues=["q"])
        t.hear()
        assert [(m.code, m.sequence) for m in t.say(b"x", message, *frames)] == [("malformed", 0)]
        assert t.broker.totals().garbage == 1


@pytest.mark.parametrize("frames", [[], [b"\x91\x01", b"\x91\x01"]])
def test_a_batch_is_one_frame(talk: Any, confirmed: Any, frames: list[bytes]) -> None:
    t = talk()
    t.producer()
    refusal = Refuse("malformed", 1, "the batch is not a msgpack array")
    assert t.say(b"p", Publish(1, "q", "t", 0), *frames) == [refusal]
    assert t.say(b"p", Publish(1, "q", "t", 0), *frames) == [refusal], "the same answer again"
    assert t.say(b"p", Publish(1, "q", "t", 0), b"\x91\x01") == [refusal], "it is used up"
    assert t.broker.is_empty()
    assert (t.broker.totals().refused, t.broker.totals().duplicates) == (1, 2)
    assert t.broker.totals().garbage == 0
    t.publish(b"p", 2, [1])
    assert confirmed(t.hear()) == [2]


@pytest.mark.parametrize(("nbytes", "codes"), [(4096, []), (4097, ["malformed"])])
def test_a_report_is_short(talk: Any, nbytes: int, codes: list[str]) -> None:
    t = talk()
    t.worker()
    frame = pack({"x": b"y" * (nbytes - 6)})
    assert len(frame) == nbytes
    assert [m.code for m in t.say(b"w", Report(), frame)] == codes
    assert bool(info(t)["workers"][0]["report"]) is not bool(codes)


class TestGoodbyeOfTheBroker:
    def test_everybody_is_told(self, talk: Any) -> None:
        t = talk()
        t.producer()
        t.worker()
        t.broker.say_goodbye()
        assert [(peer, m) for peer, m, _ in t.hear()] == [(b"p", Goodbye()), (b"w", Goodbye())]
        assert t.broker.has_peers()
        for peer in (b"p", b"w"):
            assert t.say(peer, Goodbye()) == [Goodbye()]
        assert not t.broker.has_peers()

    def test_nobody_is_welcomed_any_more(self, talk: Any) -> None:
        """Whoever was told greets at once, and would believe to be safe."""
        t = talk()
        t.producer()
        t.broker.say_goodbye()
        t.hear()
        t.say(b"p", Goodbye())
        t.hello("producer", b"p")
        t.hello("worker", b"w", queues=["q"])
        assert t.hear() == []
        assert not t.broker.has_peers()
        assert t.broker.totals().garbage == 0


class TestNumbering:
    def test_begins_where_a_producer_is_first_heard(self, talk: Any, confirmed: Any) -> None:
        t = talk()
        t.producer()
        for sequence in (5000, 5001, 5003):
            t.publish(b"p", sequence, [sequence])
        assert confirmed(t.hear()) == [5000, 5001, 5003]
        t.publish(b"p", 5002, [1])
        t.publish(b"p", 5003, [1])
        assert confirmed(t.hear()) == [5002, 5003]
        assert t.ready() == 4
        assert t.broker.totals().duplicates == 1

    def test_begins_there_though_it_is_refused(self, talk: Any, confirmed: Any) -> None:
        t = talk()
        t.producer()
        heard = t.say(b"p", Publish(5000, "no/good", "t", 0), b"\x91\x01")
        assert [(m.code, m.sequence) for m in heard] == [("bad-name", 5000)]
        t.publish(b"p", 5001, [1])
        assert confirmed(t.hear()) == [5001]

    def test_begins_anew_only_if_the_producer_was_forgotten(
        self, talk: Any, confirmed: Any
    ) -> None:
        t = talk()
        t.producer(b"p1", id=b"me")
        t.publish(b"p1", 1, [1])
        t.hear()
        t.producer(b"p2", id=b"me")
        heard = t.say(b"p2", Publish(5000, "q", "t", 0), b"\x91\x01")
        assert [(m.code, m.sequence) for m in heard] == [("full", 5000)]
        t.say(b"p2", Goodbye())
        t.producer(b"p3", id=b"me")
        t.publish(b"p3", 5000, [1])
        assert confirmed(t.hear(), b"p3") == [5000]


class TestLiveness:
    def test_silence_is_loss(self, talk: Any) -> None:
        t = talk(liveness_s=5.0)
        t.producer()
        t.now += 1
        t.worker()
        assert t.broker.next_deadline() == 1005.0
        t.broker.tick(1004.9)
        assert repr(t.broker).startswith("<BrokerProtocol 2 peers")
        t.broker.tick(1005.0)
        assert repr(t.broker).startswith("<BrokerProtocol 1 peers")
        assert t.broker.next_deadline() == 1006.0
        t.broker.tick(1006.0)
        assert t.broker.totals().workers_lost == 1
        assert t.broker.next_deadline() == 1005.0 + PRODUCER_AWAY_S
        t.broker.tick(1005.0 + PRODUCER_AWAY_S)
        assert t.broker.next_deadline() is None

    @pytest.mark.parametrize("message", [Heartbeat([]), Credit(3)], ids=repr)
    def test_a_word_is_a_sign_of_life(self, talk: Any, message: Any) -> None:
        t = talk(liveness_s=5.0)
        t.worker()
        t.now += 3
        t.say(b"w", message)
        assert t.broker.next_deadline() == 1008.0

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
        assert [worker["id"] for worker in info(t)["workers"]] == [b"w1".hex()]

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
        assert t.broker.totals().workers_lost == lost
        assert t.broker.totals().redelivered == 3
        assert info(t)["workers"] == []

    def test_only_its_own_supervisor_can_report_a_worker(self, talk: Any) -> None:
        t = talk()
        t.hello("supervisor", b"s")
        t.worker(b"w1", supervisor=b"other")
        t.worker(b"w2")
        for worker in (b"w1", b"w2", b"nobody"):
            t.say(b"s", Departed(worker, "crashed", 0, 0, ""))
        assert len(info(t)["workers"]) == 2

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
        assert t.broker.totals().duplicates == 1
        assert t.broker.totals().published == 2

    def test_a_result_that_could_not_be_sent_is_kept(self, talk: Any) -> None:
        t = talk()
        t.producer(b"p1", id=b"me")
        header = encode(Result(1, 0, 1, RESULTS))
        t.broker.unreachable(b"p1", [header, pack(["A"])], t.now)
        t.hello("producer", b"p2", b"me")
        assert t.hear()[1:] == [(b"p2", Result(1, 0, 1, RESULTS), [pack(["A"])])]

    def test_a_result_that_could_not_be_sent_goes_to_its_new_place(self, talk: Any) -> None:
        """The producer was quicker than the news that its connection is gone."""
        t = talk()
        t.producer(b"p1", id=b"me")
        t.producer(b"p2", id=b"me")
        header = encode(Result(1, 0, 1, RESULTS))
        t.broker.unreachable(b"p1", [header, pack(["A"])], t.now)
        assert t.hear() == [(b"p2", Result(1, 0, 1, RESULTS), [pack(["A"])])]
        assert info(t)["producers"] == 1, "where it is now is not lost"

    def test_former_places_are_bounded(self, talk: Any) -> None:
        t = talk(peers_max=3)
        for i in range(20):
            t.producer(b"p%d" % i, id=b"me")
        assert len(t.broker._former) == 3
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
        assert t.broker.totals().results_lost == 0

    def test_a_result_without_a_frame_is_kept_too(self, talk: Any) -> None:
        """Status DONE: it ran, and no value travels."""
        t = talk()
        t.producer(b"p1", id=b"me")
        t.broker.unreachable(b"p1", [encode(Result(1, 0, 2, 0))], t.now)
        t.hello("producer", b"p2", b"me")
        assert t.hear()[1:] == [(b"p2", Result(1, 0, 2, 0), [])]

    def test_is_forgotten_in_the_end(self, talk: Any, deliveries: Any, confirmed: Any) -> None:
        t = talk()
        self.publish_and_vanish(t, deliveries)
        t.broker.tick(t.now + PRODUCER_AWAY_S - 0.1)
        assert list(t.broker._producers) == [b"me"]
        t.broker.tick(t.now + PRODUCER_AWAY_S)
        assert list(t.broker._producers) == []

    def test_is_forgotten_at_once_if_it_says_goodbye(self, talk: Any) -> None:
        t = talk()
        t.producer()
        t.publish(b"p", 1, [1])
        assert t.say(b"p", Goodbye()) == [Confirm([1, 1]), Goodbye()]
        assert t.broker._producers == {}
        assert t.ready() == 1

    def test_is_remembered_after_goodbye_while_results_are_open(self, talk: Any) -> None:
        t = talk()
        t.producer()
        t.publish(b"p", 1, [1], reply=True)
        t.say(b"p", Goodbye())
        assert list(t.broker._producers) == [b"p"]

    def test_a_new_connection_takes_the_place_of_the_old(self, talk: Any) -> None:
        t = talk()
        t.producer(b"p1", id=b"me")
        t.producer(b"p2", id=b"me")
        assert t.say(b"p1", Heartbeat([])) == [Refuse("unknown-peer", 0, "say hello first")]
        assert t.say(b"p2", Heartbeat([])) == [Heartbeat([])]
        t.broker.tick(t.now + 4.9)
        assert list(t.broker._producers) == [b"me"]


class TestEnding:
    def test_draining_takes_nothing_new(self, talk: Any, confirmed: Any) -> None:
        t = talk()
        t.producer()
        t.publish(b"p", 1, [1])
        t.hear()
        t.broker.drain()
        t.publish(b"p", 2, [2])
        assert t.hear() == [(b"p", Refuse("draining", 2, "the broker is about to stop"), [])]
        t.publish(b"p", 1, [1])
        assert confirmed(t.hear()) == [1]
        assert not t.broker.is_empty()
        assert info(t)["draining"] is True

    def test_is_empty_when_all_is_settled(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        t.worker(credit=1)
        t.publish(b"p", 1, [1])
        ((_, message, _),) = deliveries(t.hear())
        assert not t.broker.is_empty()
        t.settle(b"w", message.lease, [[0, 0, 1, 0]])
        assert t.broker.is_empty()

    def test_says_goodbye_to_all(self, talk: Any) -> None:
        t = talk()
        t.producer()
        t.worker()
        t.broker.say_goodbye()
        assert t.hear() == [(b"p", Goodbye(), []), (b"w", Goodbye(), [])]


class TestAsk:
    def test_info(self, talk: Any) -> None:
        t = talk(bytes_max=1 << 20)
        t.broker.about = lambda: {"version": "0.0"}
        t.producer()
        t.publish(b"p", 1, [1, 2], queue="mail")
        t.hear()
        state = info(t)
        assert state["id"] == b"broker-1".hex()
        assert state["producers"] == 1
        assert state["version"] == "0.0"
        assert state["bytes_max"] == 1 << 20
        assert state["bytes"] == state["queues"]["mail"]["bytes"] == 323
        assert state["queues"]["mail"]["ready"] == 2
        assert state["counters"]["published"] == 2
        assert state["dead"] == {"kept": 0, "evicted": 0, "total": 0}

    def test_dead(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        t.worker(credit=5)
        t.publish(b"p", 1, [1, 2])
        ((_, message, _),) = deliveries(t.hear())
        t.settle(b"w", message.lease, [[0, 1, 1, 2]], pack([["E", "no", ""]]))
        t.broker.receive(b"x", [encode(Ask("dead"))], t.now)
        ((_, _, (frame,)),) = t.hear()
        error = pack(["E", "no", ""])
        assert unpack_map(frame) == {
            "letters": [["q", "t", pack([2]), "failed", error, 1]],
            "total": 1,
        }

    def test_anything_else_is_refused(self, talk: Any) -> None:
        text = "cannot tell 'all': ask for info, stats or dead"
        assert talk().say(b"x", Ask("all")) == [Refuse("malformed", 0, text)]

    def test_collector_pauses_add_up(self, talk: Any) -> None:
        t = talk()
        for name, count in ((b"w1", 2), (b"w2", 3)):
            t.worker(name)
            report = {"done": 1, "gc": {"count": count, "total": 1.5, "max": float(count)}}
            t.say(name, Report(), pack(report))
        t.say(b"w1", Goodbye())
        assert info(t)["gc_pause_ms"]["worker"] == {"count": 5, "total": 3.0, "max": 3.0}
        assert info(t)["workers"][0]["report"]["done"] == 1


class TestAnswersCanAlwaysBePacked:
    """Whatever peers say about themselves, `Ask` is answered: it must not end the broker."""

    def test_deep_nesting_in_what_a_worker_says(self, talk: Any) -> None:
        """msgpack packs as many levels as it unpacks, and the answer adds some."""
        t = talk()
        t.worker()
        deep = b"\x81\xa1x" + b"\x91" * 1023 + b"\x01"
        t.say(b"w", Report(), deep)
        info(t)

    def test_a_deep_pid(self, talk: Any) -> None:
        t = talk()
        about = b"\x82\xa6queues\x91\xa1q\xa3pid" + b"\x91" * 1023 + b"\x01"
        t.broker.receive(b"w", [encode(Hello("worker", b"w")), about], t.now)
        t.hear()
        info(t)

    def test_sums_beyond_64_bits(self, talk: Any) -> None:
        t = talk()
        for name in (b"w1", b"w2"):
            t.worker(name)
            gc = {"count": (1 << 64) - 1, "total": 1.0, "max": 1.0}
            t.say(name, Report(), pack({"gc": gc}))
        info(t)

    def test_counters_beyond_64_bits(self, talk: Any) -> None:
        """A run may name 2**63 - 1 tasks, of a lease that never was."""
        t = talk()
        t.worker()
        for _ in range(3):
            t.say(b"w", Settle(1, 1, [[0, 0, (1 << 63) - 1, 0]]))
        info(t)


# --- nothing that comes in raises ---

BIG = (1 << 63) - 1
ints = st.sampled_from([0, 1, 2, 3, 500, 501, 502, BIG]) | st.integers(0, BIG)
ids = st.sampled_from([b"p", b"w", b"s", b"o", b"x"]) | st.binary(min_size=1, max_size=32)
texts = st.sampled_from(["q", "", "t", "producer", "worker", "info", "dead", "timeout", "crashed",
                         "pause", "drain", "resume"])  # fmt: skip
texts |= st.text(max_size=5)
by_type: dict[Any, st.SearchStrategy[Any]] = {
    int: ints,
    str: texts,
    bytes: ids,
    list[int]: st.lists(ints, max_size=4),
    list[bytes]: st.lists(ids, max_size=4),
    list[list[int]]: st.lists(
        st.tuples(st.integers(0, 2), ints, ints, st.integers(0, 5)).map(list), max_size=3
    ),
    list[list[Any]]: st.lists(
        st.tuples(texts, st.lists(ints, min_size=3, max_size=8)).map(lambda row: [row[0], *row[1]]),
        max_size=3,
    ),
}
messages = st.one_of(
    [
        st.tuples(*(by_type[type_] for type_ in get_type_hints(cls).values())).map(cls._make)
        for cls in KINDS.values()
    ]
)
frames_after = st.lists(
    st.binary(max_size=30)
    | st.lists(st.integers(0, 300), max_size=5).map(pack)
    | st.dictionaries(st.sampled_from(["queues", "pid", "gc", "tasks", "supervisor"]),
                      st.lists(texts, max_size=2) | ints | ids, max_size=3).map(pack)
    | st.just(b"\x93\x01\x02"),
    max_size=3,
)  # fmt: skip
anything = st.lists(st.binary(max_size=40), max_size=3) | st.tuples(
    messages.map(encode), frames_after
).map(lambda pair: [pair[0], *pair[1]])
peers = st.sampled_from([b"p", b"w", b"s", b"o", b"stranger"])


def crowd() -> BrokerProtocol:
    """A broker with a peer of every role, tasks ready and tasks leased."""
    broker = BrokerProtocol(b"broker-1", Limits(queue_tasks_max=8, queues_max=5), first_lease=500)
    for role, peer in (("producer", b"p"), ("worker", b"w"), ("supervisor", b"s"),
                       ("observer", b"o")):  # fmt: skip
        about = {"queues": ["q", "q2"], "supervisor": b"s"}
        broker.receive(peer, [encode(Hello(role, peer)), pack(about)], 0.0)
    broker.receive(b"w", [encode(Credit(3))], 0.0)
    for sequence in (1, 2):
        header = encode(Publish(sequence, "q", "t", sequence % 2))
        broker.receive(b"p", [header, pack([1, 2, 3])], 0.0)
    while broker.to_send():
        pass
    return broker


@given(st.lists(st.tuples(peers, anything), min_size=1, max_size=12))
def test_receive_never_raises(said: list[tuple[bytes, list[bytes]]]) -> None:
    """From strangers and from peers of every role; and all answers can be read."""
    broker = crowd()
    for peer, frames in said:
        broker.receive(peer, frames, 1.0)
        while out := broker.to_send():
            for _, answer in out:
                decode(answer[0])
    broker.tick(100.0)
    assert sum(queue.ready.leased_tasks for queue in broker.intake.queues.values()) == 0
    while broker.to_send():
        pass


@given(st.lists(st.binary(max_size=140) | st.sampled_from([b"q", b"\x91\x01"]), max_size=4))
def test_ingest_never_raises(frames: list[bytes]) -> None:
    broker = crowd()
    before = broker.totals().ingested
    outcome = broker.ingest(frames, 0.0)
    assert (outcome is Ingest.TAKEN) == (broker.totals().ingested > before)
    if len(frames) != 2:
        assert outcome is Ingest.REFUSED
        assert broker.totals().garbage == 1


@given(st.binary(max_size=60), st.lists(st.binary(max_size=30), max_size=2))
def test_a_header_with_a_right_beginning_never_raises(rest: bytes, frames: list[bytes]) -> None:
    broker = crowd()
    for kind in KINDS:
        for peer in (b"p", b"w", b"s", b"o", b"x"):
            broker.receive(peer, [b"\x93\x01" + pack(kind) + rest, *frames], 1.0)
    broker.to_send()


def test_no_frames_at_all() -> None:
    broker = crowd()
    broker.receive(b"p", [], 1.0)
    ((peer, (header,)),) = broker.to_send()
    assert (peer, decode(header)) == (b"p", Refuse("malformed", 0, "no header"))
