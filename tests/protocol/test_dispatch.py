"""Dispatch: who gets which tasks, and what becomes of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from zqueue.protocol.codec import pack
from zqueue.protocol.dispatch import DELIVERY_BATCHES_MAX, DELIVERY_BYTES_MAX, LEASES_MAX
from zqueue.protocol.messages import (
    DONE,
    FAILED,
    OPEN,
    RESULTS,
    RETURNED,
    Await,
    Credit,
    Deliver,
    Departed,
    Goodbye,
    Publish,
    Refuse,
    Result,
    encode,
)
from zqueue.protocol.peers import SATURATED_TASKS

NO = pack([["ValueError", "no", ""]])
P = ord("p")
"""What workers are told of where the tasks of producer ``p`` come from."""


@pytest.fixture
def pair(talk: Any) -> Any:
    """A producer p, and a worker w with credit for ten tasks."""
    t = talk()
    t.producer()
    t.worker(credit=10)
    return t


class TestHandingOut:
    def test_a_delivery(self, pair: Any, deliveries: Any) -> None:
        pair.publish(b"p", 1, ["a", "b"])
        pair.publish(b"p", 2, ["c"], reply=True)
        assert deliveries(pair.hear()) == [
            (
                b"w",
                Deliver(500, "q", [["t", 0, 2, 1, 0, P, 1, 0], ["t", 1, 1, 1, 0, P, 2, 0]]),
                [pack(["a", "b"]), pack(["c"])],
            )
        ]
        assert (pair.ready(), pair.leased()) == (0, 3)
        assert pair.broker.totals().delivered == 3

    def test_no_more_than_credit(self, pair: Any, deliveries: Any) -> None:
        pair.publish(b"p", 1, list(range(25)))
        ((_, message, frames),) = deliveries(pair.hear())
        assert message.batches == [["t", 0, 10, 1, 0, P, 1, 0]]
        assert frames == [pack(list(range(10)))]
        pair.settle(b"w", message.lease, [[0, 0, 4, DONE]], credit=10)
        assert deliveries(pair.hear()) == [], "cutting costs: not for less than half its credit"
        pair.settle(b"w", message.lease, [[0, 4, 1, DONE]], credit=10)
        ((_, message, frames),) = deliveries(pair.hear())
        assert frames == [pack([10, 11, 12, 13, 14])]
        assert message.batches == [["t", 0, 5, 1, 0, P, 1, 10]]
        assert (pair.ready(), pair.leased()) == (10, 10)

    def test_no_credit_no_tasks(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        t.worker()
        t.publish(b"p", 1, [1])
        assert deliveries(t.hear()) == []
        t.say(b"w", Credit(0))
        assert t.leased() == 0
        assert [type(m) for m in t.say(b"w", Credit(1))] == [Deliver]

    def test_less_credit_stops_deliveries_until_enough_is_settled(
        self, pair: Any, deliveries: Any
    ) -> None:
        pair.publish(b"p", 1, list(range(12)))
        ((_, message, _),) = deliveries(pair.hear())
        pair.settle(b"w", message.lease, [[0, 0, 1, DONE]], credit=3)
        assert deliveries(pair.hear()) == []
        pair.settle(b"w", message.lease, [[0, 1, 7, DONE]], credit=3)
        ((_, _, frames),) = deliveries(pair.hear())
        assert frames == [pack([10])]

    def test_workers_take_turns(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        for peer in (b"w1", b"w2", b"w3"):
            t.worker(peer, credit=2)
        t.publish(b"p", 1, list(range(6)))
        assert [(peer, frames[0]) for peer, _, frames in deliveries(t.hear())] == [
            (b"w1", pack([0, 1])),
            (b"w2", pack([2, 3])),
            (b"w3", pack([4, 5])),
        ]

    def test_a_worker_gets_only_from_its_queues(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        t.worker(b"w1", queues="a", credit=9)
        t.worker(b"w2", queues="bc", credit=9)
        for sequence, queue in ((1, "a"), (2, "b"), (3, "c"), (4, "d")):
            t.publish(b"p", sequence, [queue], queue=queue)
        got = {(peer, message.queue) for peer, message, _ in deliveries(t.hear())}
        assert got == {(b"w1", "a"), (b"w2", "b"), (b"w2", "c")}
        assert t.ready("d") == 1

    def test_neither_of_two_queues_starves(self, talk: Any, deliveries: Any) -> None:
        """A worker that serves two full queues, one task at a time, gets some of each."""
        t = talk()
        t.producer()
        t.publish(b"p", 1, [0] * 50, queue="a")
        t.publish(b"p", 2, [0] * 50, queue="b")
        t.worker(queues="ab", credit=1)
        served: Counter[str] = Counter()
        for _ in range(20):
            ((_, message, _),) = deliveries(t.hear())
            served[message.queue] += 1
            t.settle(b"w", message.lease, [[0, 0, 1, DONE]], credit=1)
        assert min(served["a"], served["b"]) >= 5, served

    def test_batches_in_one_delivery(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        for sequence in range(1, DELIVERY_BATCHES_MAX + 3):
            t.publish(b"p", sequence, [0])
        t.worker(credit=1000)
        heard = deliveries(t.hear())
        assert [len(frames) for _, _, frames in heard] == [DELIVERY_BATCHES_MAX, 2]

    def test_bytes_in_one_delivery(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        for sequence in (1, 2, 3):
            t.publish(b"p", sequence, [b"x" * (DELIVERY_BYTES_MAX // 2)])
        t.publish(b"p", 4, [b"x" * (2 * DELIVERY_BYTES_MAX)])
        t.worker(credit=1000)
        assert [len(frames) for _, _, frames in deliveries(t.hear())] == [1, 1, 1, 1]

    def test_deliveries_in_flight(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        t.worker(credit=10_000)
        heard = []
        for sequence in range(1, LEASES_MAX + 10):
            t.publish(b"p", sequence, [0])
            heard += deliveries(t.hear())
        assert len(heard) == LEASES_MAX
        assert t.ready() == 9
        t.settle(b"w", heard[0][1].lease, [[0, 0, 1, DONE]], credit=10_000)
        ((_, message, _),) = deliveries(t.hear())
        assert len(message.batches) == 9


class TestSettling:
    def leased(self, t: Any, deliveries: Any, bodies: int = 4, *, reply: bool = False) -> int:
        t.publish(b"p", 1, list(range(bodies)), reply=reply)
        ((_, message, _),) = deliveries(t.hear())
        return int(message.lease)

    def test_done(self, pair: Any, deliveries: Any) -> None:
        lease = self.leased(pair, deliveries)
        pair.settle(b"w", lease, [[0, 1, 2, DONE], [0, 0, 1, DONE], [0, 3, 1, DONE]])
        assert pair.hear() == []
        assert pair.broker.is_empty()
        assert pair.broker.intake.budget.bytes == 0
        assert len(pair.broker.dispatch.leases) == 0
        assert pair.broker.totals().done == 4

    def test_results_go_to_who_published(self, pair: Any, deliveries: Any) -> None:
        pair.producer(b"other")
        lease = self.leased(pair, deliveries, reply=True)
        pair.settle(b"w", lease, [[0, 2, 2, RESULTS], [0, 0, 1, FAILED], [0, 1, 1, DONE]],
                    pack([20, 30]), NO)  # fmt: skip
        assert pair.hear() == [
            (b"p", Result(1, 2, 2, RESULTS), [pack([20, 30])]),
            (b"p", Result(1, 0, 1, FAILED), [NO]),
            (b"p", Result(1, 1, 1, DONE), []),
        ]
        assert pair.broker.totals().results == 4
        assert pair.broker.totals().dead == 0, "who awaits a failure is told, and keeps it"

    def test_positions_are_those_of_the_batch_as_published(
        self, talk: Any, deliveries: Any
    ) -> None:
        t = talk()
        t.producer()
        t.worker(credit=2)
        t.publish(b"p", 1, list(range(5)), reply=True)
        firsts = []
        for _ in range(3):
            (_, message, frames) = deliveries(t.hear())[0]
            t.settle(b"w", message.lease, [[0, 0, message.batches[0][2], RESULTS]], frames[0],
                     credit=2)  # fmt: skip
        firsts = [(m.first, m.tasks) for _, m, _ in t.hear() if isinstance(m, Result)]
        assert firsts == [(4, 1)]

    def test_results_nobody_wants_go_nowhere(self, pair: Any, deliveries: Any) -> None:
        lease = self.leased(pair, deliveries)
        pair.settle(b"w", lease, [[0, 0, 4, RESULTS]], pack([1, 2, 3, 4]))
        assert pair.hear() == []
        assert pair.broker.totals().done == 4
        assert pair.broker.totals().results == 0

    def test_failures_are_dead_letters(self, pair: Any, deliveries: Any) -> None:
        lease = self.leased(pair, deliveries)
        errors = pack([["A", "1", ""], ["B", "2", ""]])
        pair.settle(b"w", lease, [[0, 1, 2, FAILED], [0, 3, 1, FAILED]], errors, NO)
        assert [tuple(letter) for letter in pair.broker.dead.newest(9)] == [
            ("q", "t", pack([3]), "failed", pack(["ValueError", "no", ""]), 1),
            ("q", "t", pack([2]), "failed", pack(["B", "2", ""]), 1),
            ("q", "t", pack([1]), "failed", pack(["A", "1", ""]), 1),
        ]
        assert pair.broker.totals().dead == pair.broker.totals().failed == 3

    @pytest.mark.parametrize(("errors", "kept"), [
        (pack([["E", "all", ""]]), pack(["E", "all", ""])), (b"\x91\xc1", b""),
        (b"\x93\x01\xc1\xc1", b""),
    ])  # fmt: skip
    def test_one_error_may_stand_for_all(
        self, pair: Any, deliveries: Any, errors: bytes, kept: bytes
    ) -> None:
        lease = self.leased(pair, deliveries, 3)
        pair.settle(b"w", lease, [[0, 0, 3, FAILED]], errors)
        assert [letter.error for letter in pair.broker.dead.newest(9)] == [kept] * 3

    @pytest.mark.parametrize("status", [RESULTS, FAILED])
    @pytest.mark.parametrize("frame", [b"", b"\xc1", b"\x90", b"\x80", pack([1, 2]), pack([1] * 4)])
    def test_a_frame_that_does_not_fit_its_run_is_refused(
        self, pair: Any, deliveries: Any, status: int, frame: bytes
    ) -> None:
        """What that worker holds would never be settled: others get it."""
        lease = self.leased(pair, deliveries, 3)
        pair.settle(b"w", lease, [[0, 0, 3, status]], frame)
        assert [(m.code, m.sequence) for _, m, _ in pair.hear()] == [("malformed", 0)]
        assert (pair.ready(), pair.leased()) == (3, 0)
        assert pair.say(b"w", Credit(1)) == [Refuse("unknown-peer", 0, "say hello first")]

    def test_returned_tasks_go_out_again_first(self, pair: Any, deliveries: Any) -> None:
        lease = self.leased(pair, deliveries)
        pair.publish(b"p", 2, ["later"])
        pair.settle(b"w", lease, [[0, 0, 1, DONE], [0, 2, 2, RETURNED]], credit=1)
        pair.settle(b"w", lease, [[0, 1, 1, DONE]], credit=10)
        (_, message, frames), *_ = deliveries(pair.hear())
        again = message.batches[0]
        assert again == ["t", 0, 2, 1, 0, P, 1, 2], "it did not start, so it is no new attempt"
        assert frames[0] == pack([2, 3])
        assert pair.broker.totals().returned == 2

    def test_what_is_not_open_is_stale(self, pair: Any, deliveries: Any) -> None:
        lease = self.leased(pair, deliveries)
        pair.settle(b"w", lease, [[0, 0, 2, DONE]])
        pair.settle(b"w", lease, [[0, 1, 2, DONE], [0, 3, 2, DONE], [1, 0, 1, DONE],
                                  [0, 2, 0, DONE], [0, 2, 1, DONE]])  # fmt: skip
        assert pair.broker.totals().stale == 2 + 2 + 1 + 0
        assert pair.broker.totals().done == 3
        assert pair.leased() == 1

    def test_a_lease_belongs_to_its_worker(self, pair: Any, deliveries: Any) -> None:
        lease = self.leased(pair, deliveries)
        pair.worker(b"w2")
        pair.settle(b"w2", lease, [[0, 0, 4, DONE]])
        assert pair.broker.totals().stale == 4
        assert pair.leased() == 4

    def test_after_the_lease_was_taken_back_it_is_stale(self, pair: Any, deliveries: Any) -> None:
        lease = self.leased(pair, deliveries, reply=True)
        pair.say(b"w", Goodbye())
        pair.worker(credit=10)
        ((_, again, _),) = deliveries(pair.hear())
        pair.settle(b"w", lease, [[0, 0, 4, RESULTS]], pack([1, 2, 3, 4]), credit=0)
        assert pair.hear() == []
        assert pair.broker.totals().stale == 4
        pair.settle(b"w", again.lease, [[0, 0, 4, DONE]])
        assert pair.hear() == [(b"p", Result(1, 0, 4, DONE), [])]

    @pytest.mark.parametrize("frames", [[], [NO, NO]])
    def test_frames_must_match_runs(self, pair: Any, deliveries: Any, frames: list[bytes]) -> None:
        lease = self.leased(pair, deliveries)
        pair.settle(b"w", lease, [[0, 0, 1, FAILED], [0, 1, 1, DONE]], *frames)
        text = f"{len(frames)} frames for 1 runs"
        assert pair.hear() == [(b"w", Refuse("malformed", 0, text), [])]
        assert (pair.ready(), pair.leased()) == (4, 0)


class TestAwait:
    def test_says_how_many_are_to_come(self, pair: Any, deliveries: Any) -> None:
        pair.publish(b"p", 1, [1], reply=True)
        pair.publish(b"p", 2, [1, 2, 3], reply=True)
        pair.publish(b"p", 3, [3])
        ((_, message, _),) = deliveries(pair.hear())
        pair.settle(b"w", message.lease, [[0, 0, 1, DONE], [1, 2, 1, DONE]])
        pair.hear()
        assert pair.say(b"p", Await([1, 2, 3, 4, 2])) == [
            Result(1, 0, 0, OPEN),
            Result(2, 0, 2, OPEN),
            Result(3, 0, 0, OPEN),
            Result(4, 0, 0, OPEN),
            Result(2, 0, 2, OPEN),
        ]

    def test_the_answer_comes_behind_what_was_sent_before(self, pair: Any, deliveries: Any) -> None:
        pair.publish(b"p", 1, [1, 2], reply=True)
        ((_, message, _),) = deliveries(pair.hear())
        pair.settle(b"w", message.lease, [[0, 0, 1, DONE]])
        assert pair.say(b"p", Await([1])) == [Result(1, 0, 1, DONE), Result(1, 0, 1, OPEN)]

    def test_a_failure_and_a_time_out_are_results(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        t.hello("supervisor", b"s")
        t.worker(credit=10, supervisor=b"s")
        t.publish(b"p", 1, [1, 2, 3], reply=True)
        ((_, message, _),) = deliveries(t.hear())
        t.settle(b"w", message.lease, [[0, 0, 1, FAILED]], NO)
        t.say(b"s", Departed(b"w", "timeout", message.lease, 1, ""))
        assert t.say(b"p", Await([1]))[-1] == Result(1, 0, 1, OPEN)


class TestTakingBack:
    def test_in_the_old_order_at_the_front(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        t.worker(credit=4)
        for sequence in (1, 2, 3):
            t.publish(b"p", sequence, [sequence * 10, sequence * 10 + 1])
        ((_, message, _),) = deliveries(t.hear())
        t.settle(b"w", message.lease, [[0, 1, 1, DONE]], credit=3)
        t.say(b"w", Goodbye())
        t.worker(b"w2", credit=100)
        ((_, message, frames),) = deliveries(t.hear())
        assert frames == [pack([10]), pack([20, 21]), pack([30, 31])]
        assert message.batches == [
            ["t", 0, 1, 2, 0, P, 1, 0],
            ["t", 0, 2, 2, 0, P, 2, 0],
            ["t", 0, 2, 1, 0, P, 3, 0],
        ]
        assert t.broker.totals().redelivered == 3

    def test_suspects_go_out_alone_and_at_last_one_at_a_time(
        self, talk: Any, deliveries: Any
    ) -> None:
        t = talk(crashes_max=3)
        t.producer()
        t.hello("supervisor", b"s")
        t.worker(credit=10, supervisor=b"s")
        t.publish(b"p", 1, ["good", "bad", "fine"])
        t.publish(b"p", 2, ["next"])
        t.hear()
        t.say(b"s", Departed(b"w", "crashed", 0, 0, ""))
        t.worker(b"w2", credit=2, supervisor=b"s")
        ((_, message, frames),) = deliveries(t.hear())
        assert frames == [pack(["good", "bad"])], "as many as there is credit for"
        t.say(b"w2", Credit(10))
        assert deliveries(t.hear()) == []
        t.say(b"s", Departed(b"w2", "crashed", 0, 0, ""))
        t.worker(b"w3", credit=10)
        for bodies in (["good"], ["bad"], ["fine"], ["next"]):
            ((_, message, frames),) = deliveries(t.hear())
            assert frames == [pack(bodies)]
            t.settle(b"w3", message.lease, [[0, 0, len(bodies), DONE]])
        assert t.broker.is_empty()

    def test_one_at_a_time_at_once_if_the_second_crash_is_the_last(
        self, talk: Any, deliveries: Any
    ) -> None:
        t = talk(crashes_max=2)
        t.producer()
        t.hello("supervisor", b"s")
        t.worker(credit=10, supervisor=b"s")
        t.publish(b"p", 1, ["good", "bad"])
        t.hear()
        t.say(b"s", Departed(b"w", "crashed", 0, 0, ""))
        t.worker(b"w2", credit=10)
        ((_, _, frames),) = deliveries(t.hear())
        assert frames == [pack(["good"])]

    def test_a_suspect_does_not_wait_for_ever(self, talk: Any, deliveries: Any) -> None:
        """Its worker would always have something else to do."""
        t = talk()
        t.producer()
        t.hello("supervisor", b"s")
        t.worker(b"dead", queues="s", credit=1, supervisor=b"s")
        t.publish(b"p", 1, ["suspect"], queue="s")
        t.hear()
        t.worker(queues="sq", credit=2)
        leases = []
        for sequence in range(2, 12):
            t.publish(b"p", sequence, [sequence])
            leases += [message.lease for _, message, _ in deliveries(t.hear())]
        first, second = leases
        t.say(b"s", Departed(b"dead", "crashed", 0, 0, ""))
        t.settle(b"w", first, [[0, 0, 1, DONE]], credit=2)
        assert deliveries(t.hear()) == [], "it is kept for the suspect"
        t.settle(b"w", second, [[0, 0, 1, DONE]], credit=2)
        ((_, message, frames),) = deliveries(t.hear())
        assert (message.queue, frames) == ("s", [pack(["suspect"])])
        t.settle(b"w", message.lease, [[0, 0, 1, DONE]], credit=2)
        ((_, message, frames),) = deliveries(t.hear())
        assert (message.queue, frames) == ("q", [pack([4]), pack([5])])

    def test_a_reserved_worker_that_dies_holds_up_nothing(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        t.hello("supervisor", b"s")
        for sequence, peer in enumerate((b"dead", b"w1"), 1):
            t.worker(peer, queues="s", credit=2, supervisor=b"s")
            if peer == b"w1":
                t.say(b"dead", Credit(1))
            t.publish(b"p", sequence, [sequence], queue="s")
            assert [to for to, _, _ in deliveries(t.hear())] == [peer]
        t.say(b"s", Departed(b"dead", "crashed", 0, 0, ""))
        assert deliveries(t.hear()) == []
        t.say(b"s", Departed(b"w1", "stopped", 0, 0, ""))
        t.worker(b"w2", queues="s", credit=9)
        assert [to for to, _, _ in deliveries(t.hear())] == [b"w2"]

    def test_a_worker_is_reserved_no_longer_than_the_suspect_waits(
        self, talk: Any, deliveries: Any
    ) -> None:
        """Another one was idle first; this one may be busy for a day, with room for more."""
        t = talk()
        t.producer()
        t.hello("supervisor", b"s")
        t.worker(b"dead", queues="s", credit=1, supervisor=b"s")
        t.publish(b"p", 1, ["suspect"], queue="s")
        t.hear()
        t.worker(b"w1", queues="sq", credit=10)
        t.publish(b"p", 2, ["a day"])
        t.hear()
        t.worker(b"w2", queues="sq", credit=1)
        t.say(b"w1", Credit(1))  # So that the next one is for the other.
        t.publish(b"p", 3, ["quick"])
        ((peer, quick, _),) = deliveries(t.hear())
        assert peer == b"w2"
        t.say(b"w1", Credit(10))
        t.say(b"s", Departed(b"dead", "crashed", 0, 0, ""))
        assert deliveries(t.hear()) == []
        t.settle(b"w2", quick.lease, [[0, 0, 1, DONE]], credit=1)
        ((peer, message, _),) = deliveries(t.hear())
        assert (peer, message.queue) == (b"w2", "s")
        t.publish(b"p", 4, ["more"])
        assert [peer for peer, _, _ in deliveries(t.hear())] == [b"w1"]

    def test_a_busy_worker_gets_no_suspect(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        t.hello("supervisor", b"s")
        t.worker(b"busy", queues="qz", credit=10)
        t.publish(b"p", 1, ["work"], queue="z")
        ((_, work, _),) = deliveries(t.hear())
        t.say(b"busy", Credit(0))
        t.worker(b"w", credit=10, supervisor=b"s")
        t.publish(b"p", 2, ["bad"])
        t.hear()
        t.say(b"busy", Credit(10))
        t.say(b"s", Departed(b"w", "crashed", 0, 0, ""))
        assert deliveries(t.hear()) == []
        t.settle(b"busy", work.lease, [[0, 0, 1, DONE]])
        ((peer, _, frames),) = deliveries(t.hear())
        assert (peer, frames) == (b"busy", [pack(["bad"])])

    @pytest.mark.parametrize("reply", [True, False])
    def test_the_culprit_is_dead_after_so_many_crashes(
        self, talk: Any, deliveries: Any, reply: bool
    ) -> None:
        t = talk(crashes_max=3)
        t.producer()
        t.hello("supervisor", b"s")
        t.publish(b"p", 1, ["bad"], reply=reply)
        attempts = []
        for name in (b"w1", b"w2", b"w3"):
            t.worker(name, credit=10, supervisor=b"s")
            ((_, message, _),) = deliveries(t.hear())
            attempts.append(message.batches[0][3])
            t.broker.receive(b"s", [self.departed(name)], t.now)
        assert attempts == [1, 2, 3]
        assert t.broker.is_empty()
        why = "3 workers died while they ran it; the last: signal 11"
        error = ["WorkerLost", why, ""]
        heard = [(m, f) for _, m, f in t.hear() if isinstance(m, Result)]
        if reply:
            assert heard == [(Result(1, 0, 1, FAILED), [pack([error])])]
            assert len(t.broker.dead) == 0
        else:
            assert heard == []
            (letter,) = t.broker.dead.newest(9)
            assert letter == ("q", "t", pack(["bad"]), "crashed", pack(error), 3)

    def departed(self, name: bytes) -> bytes:
        return encode(Departed(name, "crashed", 0, 0, "signal 11"))

    def test_a_stopped_worker_makes_no_suspects(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        t.hello("supervisor", b"s")
        t.worker(credit=10, supervisor=b"s")
        t.publish(b"p", 1, ["a", "b"])
        t.hear()
        t.say(b"s", Departed(b"w", "stopped", 0, 0, ""))
        t.worker(b"w2", credit=10)
        ((_, message, _),) = deliveries(t.hear())
        assert message.batches == [["t", 0, 2, 2, 0, P, 1, 0]]


class TestTimeout:
    def prepare(self, t: Any, deliveries: Any, *, reply: bool = False) -> int:
        t.producer()
        t.hello("supervisor", b"s")
        t.worker(credit=10, supervisor=b"s")
        t.publish(b"p", 1, ["a", "b"], reply=reply)
        t.publish(b"p", 2, ["c", "d"], reply=reply)
        ((_, message, _),) = deliveries(t.hear())
        return int(message.lease)

    def test_one_task_is_dead_and_the_rest_is_ready(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        lease = self.prepare(t, deliveries)
        t.say(b"s", Departed(b"w", "timeout", lease, 2, "over 3 s"))
        (letter,) = t.broker.dead.newest(9)
        assert letter == (
            "q", "t", pack(["c"]), "timeout", pack(["TaskTimeout", "over 3 s", ""]), 1
        )  # fmt: skip
        t.worker(b"w2", credit=10)
        ((_, _, frames),) = deliveries(t.hear())
        assert frames == [pack(["a", "b"]), pack(["d"])], "and none of them is a suspect"

    def test_the_submitter_is_told(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        lease = self.prepare(t, deliveries, reply=True)
        heard = []
        t.broker.receive(b"s", [self.timeout(lease, 1)], t.now)
        heard = [(m, f) for _, m, f in t.hear() if isinstance(m, Result)]
        assert heard == [(Result(1, 1, 1, FAILED), [pack([["TaskTimeout", "late", ""]])])]

    def timeout(self, lease: int, position: int) -> bytes:
        return encode(Departed(b"w", "timeout", lease, position, "late"))

    @pytest.mark.parametrize("position", [4, 99, (1 << 63) - 1])
    def test_beyond_the_lease_nothing_is_dead(
        self, talk: Any, deliveries: Any, position: int
    ) -> None:
        t = talk()
        lease = self.prepare(t, deliveries)
        t.say(b"s", Departed(b"w", "timeout", lease, position, ""))
        assert len(t.broker.dead) == 0
        assert t.ready() == 4

    def test_a_stale_lease_harms_nothing(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        lease = self.prepare(t, deliveries)
        t.say(b"s", Departed(b"w", "timeout", lease + 1, 0, ""))
        assert len(t.broker.dead) == 0
        assert t.ready() == 4

    def test_the_room_it_makes_is_used(self, talk: Any, deliveries: Any, confirmed: Any) -> None:
        """A confirm was withheld; the only task that was in the way is gone."""
        t = talk(queue_tasks_max=1)
        t.producer()
        t.hello("supervisor", b"s")
        t.worker(credit=10, supervisor=b"s")
        t.publish(b"p", 1, ["a"])
        ((_, message, _),) = deliveries(t.hear())
        t.broker.receive(b"s", [self.timeout(message.lease, 0)], t.now)
        assert t.broker.is_empty()
        assert confirmed(t.hear()) == [1]


class TestMalformedBatches:
    BODY = b"\x94\x01\x02\xc1\x04"
    """Four bodies by its first byte; the third is none."""

    def test_are_delivered_whole_and_buried_when_cut(self, talk: Any, deliveries: Any) -> None:
        """The broker looks into a batch only where it must."""
        t = talk()
        t.producer()
        t.say(b"p", Publish(1, "q", "t", 0), self.BODY)
        t.publish(b"p", 2, ["good"])
        t.worker(credit=2)
        ((_, _, frames),) = deliveries(t.hear())
        assert frames == [pack(["good"])]
        assert t.broker.totals().failed == t.broker.totals().dead == 4
        letter = t.broker.dead.newest(1)[0]
        assert (letter.reason, letter.body) == ("malformed", self.BODY)
        t.settle(b"w", 500 + 9, [])
        assert t.leased() == 1

    def test_their_submitter_is_told(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        t.say(b"p", Publish(1, "q", "t", 1), self.BODY)
        t.worker(credit=3)
        heard = [m for _, m, _ in t.hear() if isinstance(m, Result)]
        assert [(m.first, m.tasks, m.status) for m in heard] == [(0, 3, FAILED), (3, 1, FAILED)]
        assert t.broker.is_empty()
        assert t.say(b"p", Await([1])) == [Result(1, 0, 0, OPEN)]

    def test_the_room_they_leave_is_used(self, talk: Any, confirmed: Any) -> None:
        t = talk(queue_tasks_max=4)
        t.producer()
        t.say(b"p", Publish(1, "q", "t", 0), self.BODY)
        t.worker(credit=3)
        heard = t.hear()
        assert t.broker.is_empty()
        assert t.broker.intake.budget.bytes == 0
        assert confirmed(heard) == [1]


class TestEgress:
    def test_batches_leave_in_order(self, talk: Any, confirmed: Any) -> None:
        t = talk(egress=frozenset({"out"}), queue_tasks_max=3)
        t.producer()
        t.publish(b"p", 1, [1, 2], queue="out")
        t.publish(b"p", 2, [3], queue="out")
        assert confirmed(t.hear()) == [1]
        take = t.broker.dispatch.take_egress
        assert take("out") == [b"out", pack([1, 2])]
        assert confirmed(t.hear()) == [2]
        assert take("out") == [b"out", pack([3])]
        assert take("out") is None
        assert take("other") is None
        assert t.broker.totals().egressed == 3
        assert t.broker.intake.budget.bytes == 0
        assert t.broker.is_empty()


class TestSaturated:
    """Whether the broker may let messages gather: see `Broker._may_gather`."""

    def test_nobody_there(self, talk: Any) -> None:
        assert talk().broker.is_saturated() is False

    @pytest.mark.parametrize(
        ("credit", "tasks", "is_saturated"),
        [
            (4000, 1999, False), (4000, 2000, True), (4000, 4000, True),
            (10, 10, False), (SATURATED_TASKS, SATURATED_TASKS - 1, False),
            (SATURATED_TASKS, SATURATED_TASKS, True), (4000, 0, False),
        ],
    )  # fmt: skip
    def test_half_its_credit_and_many(
        self, talk: Any, deliveries: Any, credit: int, tasks: int, is_saturated: bool
    ) -> None:
        t = talk()
        t.producer()
        t.worker(credit=credit)
        if tasks:
            t.publish(b"p", 1, list(range(tasks)))
            t.hear()
        assert t.leased() == tasks
        assert t.broker.is_saturated() is is_saturated

    def test_one_who_is_not_is_enough(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        t.worker(b"w", credit=1000)
        t.publish(b"p", 1, list(range(1000)))
        ((_, message, _),) = deliveries(t.hear())
        assert t.broker.is_saturated()
        t.worker(b"v", queues="other", credit=1000)
        assert not t.broker.is_saturated()
        t.broker.receive(b"v", [encode(Goodbye())], t.now)
        assert t.broker.is_saturated()
        t.settle(b"w", message.lease, [[0, 0, 600, DONE]], credit=1000)
        assert not t.broker.is_saturated()
