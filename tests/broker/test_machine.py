"""The broker's machine: roles, batches, and that no message can harm it."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.wire.codec import pack
from zqueue.wire.messages import (
    Ask,
    Await,
    Credit,
    Departed,
    Goodbye,
    Heartbeat,
    Progress,
    Publish,
    Refuse,
    Report,
    Settle,
)

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
        assert t.broker.book.totals().garbage == (0 if isinstance(message, MAY_SAY[role]) else 1)

    @pytest.mark.parametrize("message", [*WORDS, Heartbeat([]), Goodbye()],
                             ids=lambda m: type(m).__name__)  # fmt: skip
    def test_strangers_must_greet_first(self, talk: Any, message: Any) -> None:
        t = talk()
        assert t.say(b"x", message, b"\x91\x01") == [Refuse("unknown-peer", 0, "say hello first")]
        assert not t.broker.book.queues

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
        assert t.broker.book.totals().garbage == 1


@pytest.mark.parametrize("frames", [[], [b"\x91\x01", b"\x80", b"\x80"]])
def test_a_batch_is_one_frame(talk: Any, confirmed: Any, frames: list[bytes]) -> None:
    t = talk()
    t.producer()
    refusal = Refuse("malformed", 1, "the batch is not a msgpack array")
    assert t.say(b"p", Publish(1, "q", "t", 0), *frames) == [refusal]
    assert t.say(b"p", Publish(1, "q", "t", 0), *frames) == [refusal], "the same answer again"
    assert t.say(b"p", Publish(1, "q", "t", 0), b"\x91\x01") == [refusal], "it is used up"
    assert t.broker.book.is_empty()
    assert (t.broker.book.totals().refused, t.broker.book.totals().duplicates) == (1, 2)
    assert t.broker.book.totals().garbage == 0
    t.publish(b"p", 2, [1])
    assert confirmed(t.hear()) == [2]


@pytest.mark.parametrize(("nbytes", "codes"), [(4096, []), (4097, ["malformed"])])
def test_a_report_is_short(talk: Any, nbytes: int, codes: list[str]) -> None:
    t = talk()
    t.worker()
    frame = pack({"x": b"y" * (nbytes - 6)})
    assert len(frame) == nbytes
    assert [m.code for m in t.say(b"w", Report(), frame)] == codes
    assert bool(t.info()["workers"][0]["report"]) is not bool(codes)


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
        assert t.broker.book.totals().duplicates == 1

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
        assert not t.broker.book.is_empty()
        assert t.info()["draining"] is True

    def test_is_empty_when_all_is_settled(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        t.worker(credit=1)
        t.publish(b"p", 1, [1])
        ((_, message, _),) = deliveries(t.hear())
        assert not t.broker.book.is_empty()
        t.settle(b"w", message.lease, [[0, 0, 1, 0]])
        assert t.broker.book.is_empty()


class TestAsk:
    def test_info(self, talk: Any) -> None:
        t = talk(bytes_max=1 << 20)
        t.broker.teller.about = lambda: {"version": "0.0"}
        t.producer()
        t.publish(b"p", 1, [1, 2], queue="mail")
        t.hear()
        state = t.info()
        assert state["id"] == b"broker-1".hex()
        assert state["producers"] == 1
        assert state["version"] == "0.0"
        assert state["bytes_max"] == 1 << 20
        assert state["bytes"] == state["queues"]["mail"]["bytes"] == 323
        assert state["queues"]["mail"]["ready"] == 2
        assert state["counters"]["published"] == 2
        assert state["dead"]["total"] == state["dead"]["kept"] == 0

    def test_anything_else_is_refused(self, talk: Any) -> None:
        text = "cannot tell 'all': ask for info, stats, dead, dead-groups or peek"
        assert talk().say(b"x", Ask("all")) == [Refuse("malformed", 0, text)]

    def test_collector_pauses_add_up(self, talk: Any) -> None:
        t = talk()
        for name, count in ((b"w1", 2), (b"w2", 3)):
            t.worker(name)
            report = {"done": 1, "gc": {"count": count, "total": 1.5, "max": float(count)}}
            t.say(name, Report(), pack(report))
        t.say(b"w1", Goodbye())
        assert t.info()["gc_pause_ms"]["worker"] == {"count": 5, "total": 3.0, "max": 3.0}
        assert t.info()["workers"][0]["report"]["done"] == 1


class TestAnswersCanAlwaysBePacked:
    """Whatever peers say about themselves, `Ask` is answered: it must not end the broker."""

    def test_deep_nesting_in_what_a_worker_says(self, talk: Any) -> None:
        """msgpack packs as many levels as it unpacks, and the answer adds some."""
        t = talk()
        t.worker()
        deep = b"\x81\xa1x" + b"\x91" * 1023 + b"\x01"
        t.say(b"w", Report(), deep)
        t.info()

    def test_sums_beyond_64_bits(self, talk: Any) -> None:
        t = talk()
        for name in (b"w1", b"w2"):
            t.worker(name)
            gc = {"count": (1 << 64) - 1, "total": 1.0, "max": 1.0}
            t.say(name, Report(), pack({"gc": gc}))
        t.info()

    def test_counters_beyond_64_bits(self, talk: Any) -> None:
        """A run may name 2**63 - 1 tasks, of a lease that never was."""
        t = talk()
        t.worker()
        for _ in range(3):
            t.say(b"w", Settle(1, 1, [[0, 0, (1 << 63) - 1, 0]]))
        t.info()
