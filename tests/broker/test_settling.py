"""Settling: what becomes of leased tasks, and who hears of it."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.broker.dispatch import SUSPECTS_WAIT_S
from zqueue.core.batch import OVERHEAD_BYTES
from zqueue.wire.codec import pack
from zqueue.wire.headers import encode
from zqueue.wire.messages import (
    DONE,
    FAILED,
    OPEN,
    RESULTS,
    RETURNED,
    Await,
    Credit,
    Departed,
    Goodbye,
    Publish,
    Refuse,
    Result,
)

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


class TestSettling:
    def leased(self, t: Any, deliveries: Any, bodies: int = 4, *, reply: bool = False) -> int:
        t.publish(b"p", 1, list(range(bodies)), reply=reply)
        ((_, message, _),) = deliveries(t.hear())
        return int(message.lease)

    def test_done(self, pair: Any, deliveries: Any) -> None:
        lease = self.leased(pair, deliveries)
        pair.settle(b"w", lease, [[0, 1, 2, DONE], [0, 0, 1, DONE], [0, 3, 1, DONE]])
        assert pair.hear() == []
        assert pair.broker.book.is_empty()
        assert pair.broker.book.budget.bytes == 0
        assert len(pair.broker.dispatch.leases) == 0
        assert pair.broker.book.totals().done == 4

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
        assert pair.broker.book.totals().results == 4
        assert pair.broker.book.totals().dead == 0, "who awaits a failure is told, and keeps it"

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

    def test_failures_are_dead_letters(self, pair: Any, deliveries: Any) -> None:
        lease = self.leased(pair, deliveries)
        errors = pack([["A", "1", ""], ["B", "2", ""]])
        pair.settle(b"w", lease, [[0, 1, 2, FAILED], [0, 3, 1, FAILED]], errors, NO)
        assert [letter[1:8] for letter in pair.broker.dead.newest(9)] == [
            ("q", "t", pack([3]), "failed", "ValueError", "no", ""),
            ("q", "t", pack([2]), "failed", "B", "2", ""),
            ("q", "t", pack([1]), "failed", "A", "1", ""),
        ]
        assert pair.broker.book.totals().dead == pair.broker.book.totals().failed == 3

    @pytest.mark.parametrize(("errors", "kept"), [
        (pack([["E", "all", ""]]), ("E", "all", "")), (b"\x91\xc1", ("", "", "")),
        (b"\x93\x01\xc1\xc1", ("", "", "")),
    ])  # fmt: skip
    def test_one_error_may_stand_for_all(
        self, pair: Any, deliveries: Any, errors: bytes, kept: tuple[str, str, str]
    ) -> None:
        lease = self.leased(pair, deliveries, 3)
        pair.settle(b"w", lease, [[0, 0, 3, FAILED]], errors)
        assert [letter[5:8] for letter in pair.broker.dead.newest(9)] == [kept] * 3

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
        assert again == ["t", 0, 2, 1, 0, P, 1, 2, 0], "it did not start, so it is no new attempt"
        assert frames[0] == pack([2, 3])
        assert pair.broker.book.totals().returned == 2

    def test_what_is_returned_of_large_batches_does_not_keep_them_in_memory(
        self, pair: Any, deliveries: Any
    ) -> None:
        pair.say(b"w", Credit(100_000))
        for sequence in range(1, 21):
            pair.publish(b"p", sequence, [b"x" * 100] * 1000)
        for _, message, _ in deliveries(pair.hear()):
            runs = [[i, 500, 1, RETURNED] for i in range(len(message.batches))]
            done = [[i, at, n, DONE] for i in range(len(message.batches))
                    for at, n in ((0, 500), (501, 499))]  # fmt: skip
            pair.settle(b"w", message.lease, runs + done, credit=0)
        ready = pair.broker.book.queues["q"].ready
        assert (ready.ready_tasks, ready.leased_tasks) == (20, 0)
        assert ready.bytes == 20 * (103 + OVERHEAD_BYTES)
        pair.say(b"w", Credit(100))
        pair.broker.dispatch.hand_out()
        (lease,) = pair.broker.roster.workers[b"w"].leases.values()
        alive = sum(len(batch.frame.body) for batch in lease.batches)
        assert alive == 20 * 103

    def test_what_is_not_open_is_stale(self, pair: Any, deliveries: Any) -> None:
        lease = self.leased(pair, deliveries)
        pair.settle(b"w", lease, [[0, 0, 2, DONE]])
        pair.settle(b"w", lease, [[0, 1, 2, DONE], [0, 3, 2, DONE], [1, 0, 1, DONE],
                                  [0, 2, 0, DONE], [0, 2, 1, DONE]])  # fmt: skip
        assert pair.broker.book.totals().stale == 2 + 2 + 1 + 0
        assert pair.broker.book.totals().done == 3
        assert pair.leased() == 1

    def test_a_lease_belongs_to_its_worker(self, pair: Any, deliveries: Any) -> None:
        lease = self.leased(pair, deliveries)
        pair.worker(b"w2")
        pair.settle(b"w2", lease, [[0, 0, 4, DONE]])
        assert pair.broker.book.totals().stale == 4
        assert pair.leased() == 4

    def test_after_the_lease_was_taken_back_it_is_stale(self, pair: Any, deliveries: Any) -> None:
        lease = self.leased(pair, deliveries, reply=True)
        pair.say(b"w", Goodbye())
        pair.worker(credit=10)
        ((_, again, _),) = deliveries(pair.hear())
        pair.settle(b"w", lease, [[0, 0, 4, RESULTS]], pack([1, 2, 3, 4]), credit=0)
        assert pair.hear() == []
        assert pair.broker.book.totals().stale == 4
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
            ["t", 0, 1, 2, 0, P, 1, 0, 0],
            ["t", 0, 2, 2, 0, P, 2, 0, 0],
            ["t", 0, 2, 1, 0, P, 3, 0, 0],
        ]
        assert t.broker.book.totals().redelivered == 3

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
        assert t.broker.book.is_empty()

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
        ((_, third, _),) = deliveries(t.hear())
        assert third.queue == "q", "for a while it goes on"
        t.now += SUSPECTS_WAIT_S
        t.broker.tick(t.now)
        t.settle(b"w", third.lease, [[0, 0, 1, DONE]], credit=2)
        assert deliveries(t.hear()) == [], "it is kept for the suspect"
        t.settle(b"w", second, [[0, 0, 1, DONE]], credit=2)
        ((_, message, frames),) = deliveries(t.hear())
        assert (message.queue, frames) == ("s", [pack(["suspect"])])
        t.settle(b"w", message.lease, [[0, 0, 1, DONE]], credit=2)
        ((_, message, frames),) = deliveries(t.hear())
        assert (message.queue, frames) == ("q", [pack([5]), pack([6])])

    def test_fresh_tasks_do_not_wait_behind_a_suspect(self, talk: Any, deliveries: Any) -> None:
        """Nobody is idle, and one has room: it goes on, for a day if need be."""
        t = talk()
        t.producer()
        t.hello("supervisor", b"s")
        t.worker(b"dead", credit=1, supervisor=b"s")
        t.publish(b"p", 1, ["suspect"])
        t.hear()
        for peer in (b"w1", b"w2"):
            t.worker(peer, queues="qz", credit=1)
            t.publish(b"p", 2 + (peer == b"w2"), ["a day"], queue="z")
            assert [to for to, _, _ in deliveries(t.hear())] == [peer]
        for peer in (b"w1", b"w2"):
            t.say(peer, Credit(100))
        t.say(b"s", Departed(b"dead", "crashed", 0, 0, ""))
        t.publish(b"p", 4, ["fresh"])
        assert [frames for _, _, frames in deliveries(t.hear())] == [[pack(["fresh"])]]
        assert t.broker.next_deadline() == t.now + SUSPECTS_WAIT_S
        t.now += SUSPECTS_WAIT_S
        t.broker.tick(t.now)
        for sequence in range(5, 9):
            t.publish(b"p", sequence, [sequence])
        ((peer, message, _),) = deliveries(t.hear())
        assert sum(batch[2] for batch in message.batches) == 4, "one is reserved, the other is not"
        other = b"w1" if peer == b"w2" else b"w2"
        t.say(other, Goodbye())
        t.worker(b"new", credit=5)
        assert [(to, frames) for to, _, frames in deliveries(t.hear())] == [
            (b"new", [pack(["suspect"])])
        ]

    def test_all_are_busy_and_have_no_room(self, talk: Any, deliveries: Any) -> None:
        """The one that holds least is reserved: it will be idle first, as a rule."""
        t = talk()
        t.producer()
        t.hello("supervisor", b"s")
        t.worker(b"dead", credit=1, supervisor=b"s")
        t.publish(b"p", 1, ["suspect"])
        t.hear()
        t.worker(b"w1", queues="qz", credit=2)
        t.publish(b"p", 2, [1, 2], queue="z")
        t.hear()
        t.worker(b"w2", queues="qz", credit=1)
        t.publish(b"p", 3, [3], queue="z")
        ((_, held, _),) = deliveries(t.hear())
        t.say(b"s", Departed(b"dead", "crashed", 0, 0, ""))
        t.hear()
        t.now += SUSPECTS_WAIT_S
        t.broker.tick(t.now)
        assert t.broker.book.queues["q"].reserved.id == b"w2"
        t.publish(b"p", 4, [4])
        t.settle(b"w2", held.lease, [[0, 0, 1, DONE]], credit=1)
        ((peer, _, frames),) = deliveries(t.hear())
        assert (peer, frames) == (b"w2", [pack(["suspect"])])

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
        t.now += SUSPECTS_WAIT_S
        t.broker.tick(t.now)
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
            t.broker.receive(b"s", "", [self.departed(name)], t.now)
        assert attempts == [1, 2, 3]
        assert t.broker.book.is_empty()
        why = "3 workers died while they ran it; the last: signal 11"
        error = ["WorkerLost", why, ""]
        heard = [(m, f) for _, m, f in t.hear() if isinstance(m, Result)]
        if reply:
            assert heard == [(Result(1, 0, 1, FAILED), [pack([error])])]
            assert len(t.broker.dead) == 0
        else:
            assert heard == []
            (letter,) = t.broker.dead.newest(9)
            assert letter[1:8] == ("q", "t", pack(["bad"]), "crashed", *error)
            assert (letter.deliveries, letter.crashes, letter.failures) == (3, 3, 0)

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
        assert message.batches == [["t", 0, 2, 2, 0, P, 1, 0, 0]]


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
        assert letter[1:8] == ("q", "t", pack(["c"]), "timeout", "TaskTimeout", "over 3 s", "")
        assert (letter.deliveries, letter.timeouts, letter.crashes) == (1, 1, 0)
        t.worker(b"w2", credit=10)
        ((_, _, frames),) = deliveries(t.hear())
        assert frames == [pack(["a", "b"]), pack(["d"])], "and none of them is a suspect"

    def test_the_submitter_is_told(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        lease = self.prepare(t, deliveries, reply=True)
        heard = []
        t.broker.receive(b"s", "", [self.timeout(lease, 1)], t.now)
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
        t.broker.receive(b"s", "", [self.timeout(message.lease, 0)], t.now)
        assert t.broker.book.is_empty()
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
        assert t.broker.book.totals().failed == t.broker.book.totals().dead == 4
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
        assert t.broker.book.is_empty()
        assert t.say(b"p", Await([1])) == [Result(1, 0, 0, OPEN)]

    def test_the_room_they_leave_is_used(self, talk: Any, confirmed: Any) -> None:
        t = talk(queue_tasks_max=4)
        t.producer()
        t.say(b"p", Publish(1, "q", "t", 0), self.BODY)
        t.worker(credit=3)
        heard = t.hear()
        assert t.broker.book.is_empty()
        assert t.broker.book.budget.bytes == 0
        assert confirmed(heard) == [1]
