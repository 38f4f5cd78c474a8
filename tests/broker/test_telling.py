"""What a broker tells for metrics: counters and histograms of queues and tasks."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.broker.book import METERED_QUEUES_MAX
from zqueue.stats.histogram import Histogram
from zqueue.stats.meter import TaskMeter
from zqueue.wire.codec import pack
from zqueue.wire.headers import encode, unpack_map
from zqueue.wire.messages import Ask, Departed, Goodbye, Publish, Report


def stats(talk: Any) -> dict[str, Any]:
    """What the broker tells when it is asked for ``stats``."""
    talk.broker.receive(b"asker", "", [encode(Ask("stats"))], talk.now)
    ((_, frame),) = [frames for peer, frames in talk.broker.to_send() if peer == b"asker"]
    return unpack_map(frame, nbytes_max=1 << 24, depth_max=32)


def meter(done: int, run_s: float) -> list[object]:
    """What a worker reports of so many tasks."""
    made = TaskMeter()
    made.done = done
    made.record(run_s, 2 * run_s, done)
    return made.take(100)


def test_wait_is_from_taking_to_handing_out(talk: Any) -> None:
    t = talk()
    t.producer()
    t.publish(b"p", 1, ["a", "b", "c"])
    t.now += 2.0
    assert stats(t)["queues"]["q"]["oldest_s"] == 2.0
    t.worker(b"w", credit=10)
    t.hear()
    told = stats(t)["queues"]["q"]
    wait = Histogram.from_wire(told["wait"])
    assert wait.count == 3
    assert wait.percentile(50) == pytest.approx(2.0, rel=0.011)
    assert told["oldest_s"] == 0.0
    assert told["counters"]["published"] == 3
    assert told["counters"]["delivered"] == 3


def test_a_redelivery_is_no_second_wait(talk: Any) -> None:
    t = talk()
    t.producer()
    t.worker(b"w1", credit=10)
    t.publish(b"p", 1, ["a"])
    t.hear()
    t.say(b"w1", Goodbye())
    t.now += 5.0
    t.worker(b"w2", credit=10)
    t.hear()
    told = stats(t)["queues"]["q"]
    assert told["counters"]["redelivered"] == 1
    assert Histogram.from_wire(told["wait"]).max < 1.0


def test_sizes_of_batches(talk: Any) -> None:
    t = talk()
    t.producer()
    t.publish(b"p", 1, list(range(100)))
    t.publish(b"p", 2, [1])
    sizes = Histogram.from_wire(stats(t)["queues"]["q"]["batches"])
    assert (sizes.count, sizes.sum) == (2, 101.0)


def test_the_producers_wait_travels_with_the_tasks(talk: Any, deliveries: Any) -> None:
    t = talk()
    t.producer()
    t.broker.receive(b"p", "", [encode(Publish(1, "q", "t", 0, 300_000)), pack(["a"])], t.now)
    t.now += 0.2
    t.worker(b"w", credit=1)
    ((_, message, _),) = deliveries(t.hear())
    assert message.batches[0][4] == pytest.approx(500_000, abs=2)


def test_what_workers_report_adds_up_and_outlives_them(talk: Any) -> None:
    t = talk()
    for name in (b"w1", b"w2"):
        t.worker(name)
        t.say(name, Report(), pack({"done": 4, "tasks": {"t": meter(4, 0.01)}}))
    t.say(b"w1", Goodbye())
    told = stats(t)
    summed = TaskMeter.from_wire(told["figures"]["t"])
    assert summed.done == 8
    assert summed.run.count == 8
    assert [worker["report"] for worker in told["workers"]] == [{"done": 4}]


def test_what_producers_report_adds_up(talk: Any) -> None:
    t = talk()
    t.producer()
    confirms = Histogram()
    confirms.record(0.001)
    t.say(b"p", Report(), pack({"confirm": confirms.to_wire()}))
    t.say(b"p", Report(), pack({"confirm": confirms.to_wire()}))
    assert Histogram.from_wire(stats(t)["confirm"]).count == 2


def test_a_supervisor_reports_its_state(talk: Any) -> None:
    t = talk()
    about = {"pid": 7, "host": "here", "version": "1.2"}
    t.hello("supervisor", b"s", **about)
    t.hear()
    assert stats(t)["supervisors"] == [{**about, "report": {}}]
    for restarts in (1, 2):
        t.say(b"s", Report(), pack({"processes": 4, "restarts": restarts}))
    told = stats(t)
    assert told["supervisors"] == [{**about, "report": {"processes": 4, "restarts": 2}}]
    assert told["workers"] == []
    t.say(b"s", Goodbye())
    assert stats(t)["supervisors"] == []


def test_a_supervisors_figures_count_like_everybodys(talk: Any) -> None:
    t = talk()
    t.hello("supervisor", b"s")
    t.say(b"s", Report(), pack({"tasks": {"t": meter(3, 0.01)}, "gc": 7}))
    told = stats(t)
    assert told["figures"]["t"][0] == 3
    assert told["supervisors"][0]["report"] == {"gc": 7}


class TestPauses:
    """Of garbage collectors, by role."""

    def gc(self, count: int, longest: float = 1.0) -> dict[str, Any]:
        return {"gc": {"count": count, "total": float(count), "max": longest}}

    def counts(self, t: Any) -> dict[str, int]:
        told = stats(t)["gc_pause_ms"]
        del told["broker"]
        return {role: pauses["count"] for role, pauses in told.items()}

    def test_of_each_role(self, talk: Any) -> None:
        t = talk()
        for role, peer, count in (
            ("worker", b"w1", 1), ("worker", b"w2", 2), ("producer", b"p", 4),
            ("supervisor", b"s", 8),
        ):  # fmt: skip
            t.hello(role, peer, queues=["q"])
            t.say(peer, Report(), pack(self.gc(count)))
        assert self.counts(t) == {"worker": 3, "producer": 4, "supervisor": 8}

    @pytest.mark.parametrize("role", ["worker", "producer", "supervisor"])
    @pytest.mark.parametrize("left", [True, False])
    def test_who_left_and_comes_back_counts_once(self, talk: Any, role: str, left: bool) -> None:
        t = talk()
        t.hello(role, b"1", b"me", queues=["q"])
        t.say(b"1", Report(), pack(self.gc(5)))
        if left:
            t.say(b"1", Goodbye())
            assert self.counts(t)[role] == 5
        t.hello(role, b"2", b"me", queues=["q"])
        t.say(b"2", Report(), pack(self.gc(6)))
        t.now += 3.0
        t.say(b"2", Report(), pack(self.gc(6)))
        t.now += 3.0
        t.broker.tick(t.now)  # By now the first connection is lost in any case.
        assert self.counts(t)[role] == 6
        t.say(b"2", Goodbye())
        assert self.counts(t)[role] == 6

    def test_it_is_not_less_in_between(self, talk: Any) -> None:
        """A counter that falls looks like a new process to whoever reads it."""
        t = talk()
        t.worker(b"1", id=b"me")
        t.say(b"1", Report(), pack(self.gc(5)))
        t.worker(b"2", id=b"me")
        assert self.counts(t)["worker"] == 5
        t.say(b"2", Report(), pack({"done": 1}))
        assert self.counts(t)["worker"] == 5
        t.say(b"2", Report(), pack(self.gc(6)))
        assert self.counts(t)["worker"] == 6

    def test_who_was_reported_dead_counts_on(self, talk: Any) -> None:
        t = talk()
        t.hello("supervisor", b"s")
        t.worker(b"w", supervisor=b"s")
        t.say(b"w", Report(), pack(self.gc(5)))
        t.say(b"s", Departed(b"w", "crashed", 0, 0, ""))
        assert self.counts(t)["worker"] == 5
        t.worker(b"w2", id=b"w", supervisor=b"s")
        t.say(b"w2", Report(), pack(self.gc(7)))
        assert self.counts(t)["worker"] == 7

    def test_silence_counts_on(self, talk: Any) -> None:
        t = talk(liveness_s=5.0)
        t.worker(b"w")
        t.say(b"w", Report(), pack(self.gc(5, 3.5)))
        t.broker.tick(t.now + 5.0)
        assert stats(t)["workers"] == []
        told = stats(t)["gc_pause_ms"]["worker"]
        assert (told["count"], told["max"]) == (5, 3.5)


def test_a_report_that_makes_no_sense_is_refused(talk: Any) -> None:
    t = talk()
    t.worker(b"w")
    t.hear()
    (refusal,) = t.say(b"w", Report(), pack({"done": 9, "tasks": {"t": [1]}}))
    assert refusal.code == "malformed"
    assert stats(t)["figures"] == {}


def test_further_queues_share_their_histograms(talk: Any) -> None:
    t = talk(queues_max=METERED_QUEUES_MAX + 10)
    t.producer()
    for n in range(METERED_QUEUES_MAX + 2):
        t.broker.receive(
            b"p", "", [encode(Publish(1 + n, f"q{n}", "t", 0)), pack([1, 2, 3])], t.now
        )
    told = stats(t)
    assert told["other_queues"]["queues"] == 2
    assert Histogram.from_wire(told["other_queues"]["batches"]).count == 2
    assert told["counters"]["published"] == 3 * (METERED_QUEUES_MAX + 2)


def test_totals_are_of_all_queues_and_what_belongs_to_none(talk: Any) -> None:
    t = talk()
    t.producer()
    t.publish(b"p", 1, [1, 2])
    t.say(b"p", Publish(2, "b", "t", 0), pack([3]))
    t.broker.receive(b"x", "", [b"\xc1"], t.now)
    told = stats(t)
    assert told["counters"]["published"] == 3
    assert told["counters"]["garbage"] == 1
    assert told["beside_queues"]["garbage"] == 1
    assert told["beside_queues"]["published"] == 0
