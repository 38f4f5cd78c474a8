"""Intake: what is taken, when it is confirmed, and what is said where it is not taken."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.broker.intake import CONFIRM_SEQUENCES_MAX, Ingest
from zqueue.core.batch import OVERHEAD_BYTES
from zqueue.core.confirm import GAPS_MAX
from zqueue.wire.codec import FRAME_BYTES_MAX, pack
from zqueue.wire.headers import encode
from zqueue.wire.messages import DONE, IMPATIENT, Confirm, Heartbeat, Publish, Refuse

PLAIN = int.from_bytes(b"broker", "big")
"""What workers are told of where tasks from the plain lane come from: the broker's own id."""


def settle_all(t: Any, heard: Any, peer: bytes = b"w") -> None:
    """The worker did all that it was delivered in these messages."""
    for to, message, _ in heard:
        if to == peer:
            t.settle(
                peer, message.lease, [[i, 0, b[2], DONE] for i, b in enumerate(message.batches)]
            )


class TestTaking:
    def test_a_batch_is_ready_and_confirmed(self, talk: Any, confirmed: Any) -> None:
        t = talk()
        t.producer()
        t.publish(b"p", 1, [1, 2, 3])
        assert t.hear() == [(b"p", Confirm([1, 1]), [])]
        assert t.ready() == 3
        assert t.broker.book.totals().published == 3
        assert t.broker.book.budget.bytes == 4 + OVERHEAD_BYTES

    def test_confirms_of_a_turn_travel_together(self, talk: Any) -> None:
        t = talk()
        t.producer()
        for sequence in (1, 2, 5, 3, 9):
            t.publish(b"p", sequence, [0])
        assert t.hear() == [(b"p", Confirm([1, 3, 5, 5, 9, 9]), [])]

    def test_many_confirms_are_cut_into_messages(self, talk: Any) -> None:
        t = talk()
        t.producer()
        last = CONFIRM_SEQUENCES_MAX + 2
        for sequence in range(1, last + 1):
            t.publish(b"p", sequence, [0])
        assert [message.ranges for _, message, _ in t.hear()] == [[1, last - 2], [last - 1, last]]

    def test_the_same_number_again_is_the_same_batch(self, talk: Any, confirmed: Any) -> None:
        t = talk()
        t.producer()
        t.publish(b"p", 1, ["first"])
        t.hear()
        t.publish(b"p", 1, ["second"])
        assert confirmed(t.hear()) == [1]
        assert t.ready() == 1
        assert t.broker.book.totals().duplicates == 1


class TestImpatience:
    """Flag 2: the producer does not wait for room."""

    def publish(self, t: Any, sequence: int, body: bytes = pack([0])) -> Any:
        return t.say(b"p", Publish(sequence, "q", "t", IMPATIENT), body)

    def test_what_reaches_the_bound_is_confirmed_and_no_more_is_taken(self, talk: Any) -> None:
        t = talk(queue_tasks_max=2)
        t.producer()
        assert self.publish(t, 1) == [Confirm([1, 1])]
        assert self.publish(t, 2) == [Confirm([2, 2])]
        assert self.publish(t, 3) == [Refuse("full", 3, "queue 'q' is full")]
        assert t.ready() == 2
        assert t.broker.book.totals().postponed == 1

    def test_others_wait_for_their_confirm_as_ever(self, talk: Any) -> None:
        t = talk(queue_tasks_max=1)
        t.producer()
        t.publish(b"p", 1, [0])
        assert t.hear() == []
        assert self.publish(t, 2) == [Refuse("full", 2, "queue 'q' is full")]

    def test_an_empty_batch_uses_a_number_up(self, talk: Any, confirmed: Any) -> None:
        t = talk(queue_tasks_max=1)
        t.producer()
        self.publish(t, 1)
        self.publish(t, 2)
        assert self.publish(t, 2, b"\x90") == [Refuse("malformed", 2, "the batch is empty")]
        assert not t.broker.roster.producers[b"p"].taken.missing()
        assert self.publish(t, 1, b"\x90") == [Confirm([1, 1])]  # It was taken before.
        assert t.ready() == 1


class TestRefusing:
    @pytest.mark.parametrize(
        ("queue", "task", "body", "code"),
        [
            ("no/good", "t", b"\x91\x01", "bad-name"),
            ("", "t", b"\x91\x01", "bad-name"),
            ("q" * 129, "t", b"\x91\x01", "bad-name"),
            ("q", "no good", b"\x91\x01", "bad-name"),
            ("q", "t", b"", "malformed"),
            ("q", "t", b"\x90", "malformed"),
            ("q", "t", b"\x80", "malformed"),
            ("q", "t", b"\x93\x01", "malformed"),
            ("q", "t", b"\xdc\x20\x00" + b"\x01" * 0x2000, "too-large"),
            ("q", "t", b"\x91" + b"\x01" * FRAME_BYTES_MAX, "too-large"),
        ],
    )  # fmt: skip
    def test_says_why_and_keeps_nothing(
        self, talk: Any, queue: str, task: str, body: bytes, code: str
    ) -> None:
        t = talk()
        t.producer()
        (refusal,) = t.say(b"p", Publish(4, queue, task, 0), body)
        assert (type(refusal), refusal.code, refusal.sequence) == (Refuse, code, 4)
        assert t.broker.book.totals().refused == 1
        assert t.broker.book.is_empty()
        assert not t.broker.book.queues

    def test_is_refused_again_if_it_comes_again(self, talk: Any) -> None:
        """The number is used up, and the answer stays the same."""
        t = talk()
        t.producer()
        for body in (b"\x90", b"\x90", b"\x91\x01"):
            (refusal,) = t.say(b"p", Publish(1, "q", "", 0), body)
            assert (refusal.code, refusal.sequence) == ("malformed", 1)
        assert t.broker.book.totals().refused == 1
        assert t.broker.book.totals().duplicates == 2

    @pytest.mark.parametrize("options", [{"delay_ms": -1}, {"what": 1}, {"key": "two"}], ids=str)
    def test_options_that_make_no_sense(self, talk: Any, options: dict[str, Any]) -> None:
        t = talk()
        t.producer()
        t.publish(b"p", 1, [1, 2], **options)
        ((_, refuse, _),) = t.hear()
        assert (refuse.code, refuse.sequence) == ("malformed", 1)
        assert t.broker.book.is_empty()

    def test_a_number_far_ahead_must_wait(self, talk: Any, confirmed: Any) -> None:
        t = talk()
        t.producer()
        far = GAPS_MAX + 2
        t.publish(b"p", 1, [0])
        t.publish(b"p", far, [0])
        assert confirmed(t.hear()) == [1, far]
        t.publish(b"p", far + 2, [0])
        ((_, refusal, _),) = t.hear()
        assert (refusal.code, refusal.sequence) == ("full", far + 2)
        t.publish(b"p", 2, [0])
        t.publish(b"p", far + 2, [0])
        assert confirmed(t.hear()) == [2, far + 2]

    def test_room_for_so_many_queues(self, talk: Any) -> None:
        t = talk(queues_max=2)
        t.producer()
        for sequence, queue in ((1, "a"), (2, "b"), (3, "a"), (4, "c")):
            t.publish(b"p", sequence, [1], queue=queue)
        refusal = Refuse("too-many-queues", 4, "there are 2 queues already")
        assert t.hear() == [(b"p", refusal, []), (b"p", Confirm([1, 3]), [])]

    def test_no_results_from_the_plain_lane(self, talk: Any) -> None:
        t = talk(egress=frozenset({"out"}))
        t.producer()
        t.publish(b"p", 1, [1], queue="out", reply=True)
        assert [(m.code, m.sequence) for _, m, _ in t.hear()] == [("no-results", 1)]
        t.publish(b"p", 2, [1], queue="out")
        assert t.hear() == [(b"p", Confirm([2, 2]), [])]


class TestFull:
    def test_confirms_wait_at_the_bound(self, talk: Any, confirmed: Any) -> None:
        t = talk(queue_tasks_max=8)
        t.producer()
        t.publish(b"p", 1, [0] * 7)
        assert confirmed(t.hear()) == [1]
        t.publish(b"p", 2, [0])
        t.publish(b"p", 3, [0, 0])
        assert t.hear() == []
        assert t.ready() == 10, "taken, a quarter beyond the bound at most"
        assert t.broker.teller.info()["queues"]["q"]["withheld"] == 2

    def test_beyond_a_quarter_it_is_not_taken(self, talk: Any) -> None:
        t = talk(queue_tasks_max=8)
        t.producer()
        t.publish(b"p", 1, [0] * 10)
        t.publish(b"p", 2, [0])
        assert t.hear() == [(b"p", Refuse("full", 2, "queue 'q' is full"), [])]
        assert t.broker.book.totals().postponed == 1
        assert t.ready() == 10

    def test_confirms_go_out_at_low_water(self, talk: Any, confirmed: Any, deliveries: Any) -> None:
        """7/8 of the bound, counting what is leased."""
        t = talk(queue_tasks_max=8)
        t.producer()
        t.publish(b"p", 1, [0] * 8)
        t.publish(b"p", 2, [0])
        t.worker(credit=2)
        ((_, message, _),) = deliveries(t.hear())
        t.settle(b"w", message.lease, [[0, 0, 1, DONE]], credit=0)
        assert confirmed(t.hear()) == []
        t.settle(b"w", message.lease, [[0, 1, 1, DONE]], credit=0)
        assert confirmed(t.hear()) == [1, 2]
        assert t.ready() == 7

    def test_a_postponed_batch_is_taken_when_there_is_room(
        self, talk: Any, confirmed: Any, deliveries: Any
    ) -> None:
        t = talk(queue_tasks_max=4)
        t.producer()
        t.publish(b"p", 1, [0] * 5)
        t.publish(b"p", 2, [0])
        t.worker(credit=9)
        settle_all(t, deliveries(t.hear()))
        t.publish(b"p", 2, [0])
        assert confirmed(t.hear()) == [1, 2]

    def test_a_large_batch_is_taken_below_the_bound(self, talk: Any) -> None:
        t = talk(queue_tasks_max=8)
        t.producer()
        t.publish(b"p", 1, [0] * 7)
        t.publish(b"p", 2, [0] * 100)
        assert t.ready() == 107

    @pytest.mark.parametrize("limit", ["queue_bytes_max", "bytes_max"])
    def test_bytes_count_too(self, talk: Any, confirmed: Any, limit: str) -> None:
        t = talk(**{limit: 4 * (OVERHEAD_BYTES + 83)})
        t.producer()
        heard = []
        for sequence in range(1, 8):
            t.publish(b"p", sequence, [b"x" * 80])
            heard += t.hear()
        assert confirmed(heard) == [1, 2, 3]
        assert [m.sequence for _, m, _ in heard if isinstance(m, Refuse)] == [6, 7]

    def test_a_resent_batch_waits_on_for_its_confirm(self, talk: Any, confirmed: Any) -> None:
        t = talk(queue_tasks_max=1)
        t.producer()
        t.publish(b"p", 1, [0])
        t.publish(b"p", 1, [0])
        assert t.hear() == []
        assert t.ready() == 1

    def test_who_comes_back_later_is_told_then(
        self, talk: Any, confirmed: Any, deliveries: Any
    ) -> None:
        t = talk(queue_tasks_max=1)
        t.producer(b"p1", id=b"me")
        t.publish(b"p1", 1, [0])
        t.worker(credit=1)
        heard = deliveries(t.hear())
        t.broker.unreachable(b"p1", [encode(Heartbeat([]))], t.now)
        settle_all(t, heard)
        assert t.hear() == []
        t.producer(b"p2", id=b"me")
        t.publish(b"p2", 1, [0])
        assert confirmed(t.hear(), b"p2") == [1]
        assert t.broker.book.is_empty()

    def test_room_made_by_one_queue_is_heard_of_in_all(
        self, talk: Any, confirmed: Any, deliveries: Any
    ) -> None:
        """The bound in bytes is shared: queue a waits for room, and it is queue b that makes it.

        Queue a is empty by then, so nothing of its own will ever look at its confirms again.
        """
        t = talk(bytes_max=4 * (OVERHEAD_BYTES + 2))
        t.producer()
        for sequence in (1, 2, 3):
            t.publish(b"p", sequence, [0], queue="b")
        t.publish(b"p", 4, [0], queue="a")
        t.publish(b"p", 5, [0], queue="b")
        assert confirmed(t.hear()) == [1, 2, 3]
        t.worker(b"wa", queues="a", credit=100)
        settle_all(t, deliveries(t.hear()), b"wa")
        assert confirmed(t.hear()) == [], "four batches are there still"
        t.worker(b"wb", queues="b", credit=100)
        settle_all(t, deliveries(t.hear()), b"wb")
        heard = t.hear()
        assert t.broker.book.is_empty()
        assert sorted(confirmed(heard)) == [4, 5]


class TestPlainLane:
    def test_is_taken_or_held(self, talk: Any) -> None:
        t = talk(queue_tasks_max=3)
        assert t.broker.ingest([b"q", pack([1, 2])], t.now) is Ingest.TAKEN
        assert t.broker.ingest([b"q", pack([3, 4])], t.now) is Ingest.TAKEN
        assert t.broker.ingest([b"q", pack([5])], t.now) is Ingest.FULL
        assert t.broker.book.totals().ingested == t.ready() == 4
        assert t.hear() == []

    @pytest.mark.parametrize(
        ("frames", "counter"),
        [
            ([b"q", b""], "refused"),
            ([b"q", b"\x90"], "refused"),
            ([b"no/good", b"\x91\x01"], "refused"),
            ([b"\xff", b"\x91\x01"], "refused"),
            ([b"q"], "garbage"),
            ([b"q", b"\x91\x01", b""], "garbage"),
            ([b"q" * 129, b"\x91\x01"], "garbage"),
            ([], "garbage"),
        ],
    )
    def test_nonsense_is_counted(self, talk: Any, frames: list[bytes], counter: str) -> None:
        t = talk()
        assert t.broker.ingest(frames, t.now) is Ingest.REFUSED
        assert t.broker.book.totals().as_dict()[counter] == 1
        assert t.broker.book.is_empty()

    def test_workers_get_it_as_bodies_for_their_only_handler(
        self, talk: Any, deliveries: Any
    ) -> None:
        t = talk()
        t.broker.ingest([b"q", pack([1, 2])], t.now)
        t.worker(credit=5)
        ((_, message, frames),) = deliveries(t.hear())
        assert message.batches == [["", 0, 2, 1, 0, PLAIN, 1, 0, 0]]
        assert frames == [pack([1, 2])]
