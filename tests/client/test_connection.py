"""A connection: numbering, confirms, sending again, and results."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from zqueue.client.connection import AWAIT_CHUNK, WINDOW_BATCHES, Connection
from zqueue.client.sent import (
    BatchRefused,
    Confirmed,
    Postponed,
    Progressed,
    ResultsCame,
    ResultsLost,
)
from zqueue.core.confirm import GAPS_MAX
from zqueue.wire.codec import pack
from zqueue.wire.headers import decode, encode
from zqueue.wire.link import Connected, Disconnected, Rejected
from zqueue.wire.messages import (
    DONE,
    FAILED,
    OPEN,
    RESULTS,
    Await,
    Confirm,
    Hello,
    Message,
    Progress,
    Publish,
    Refuse,
    Result,
    Welcome,
)
from zqueue.wire.options import TaskOptions

BODY = pack([1, 2])
BIG = (1 << 63) - 1


class Lane(NamedTuple):
    """All that a connection knows of a lane."""

    queue: str = "q"
    task: str = "t"
    options: bytes = b""
    resubmit: bool = False


def told(event: Any) -> Any:
    """An event, with the numbers of its batches in their place."""
    if isinstance(event, Confirmed):
        return type(event)([sent.sequence for sent in event.batches])  # type: ignore[misc]
    if hasattr(event, "sent"):
        return event._replace(sent=event.sent.sequence)
    return event


class Side:
    """A connection, and what passes between it and its broker."""

    def __init__(self, *, random: float = 0.0) -> None:
        self.machine = Connection(b"me", {}, lambda: random)
        self.now = 10.0

    def publish(self, *, count: int = 2, reply: bool = False, queue: str = "q") -> int:
        body, to = pack([0] * count), "the reply" if reply else None
        return self.machine.publish(Lane(queue), body, count, reply=to, now=self.now).sequence

    def hear(self, message: Message, *frames: bytes) -> list[Any]:
        """The broker says something. Returns what happened."""
        self.machine.receive([encode(message), *frames], self.now)
        return self.events()

    def events(self) -> list[Any]:
        events = []
        while (event := self.machine.next_event()) is not None:
            events.append(told(event))
        return events

    def sent(self) -> list[Any]:
        return [decode(frames[0]) for frames in self.machine.to_send()]

    def connect(self, broker: bytes = b"broker-1") -> list[Any]:
        """Greet and be welcomed."""
        self.machine.tick(self.now)
        assert Hello("producer", b"me") in self.sent()
        return self.hear(Welcome(broker, 1000, 5000))

    def reconnect(self, broker: bytes = b"broker-1") -> list[Any]:
        """Told to greet again, and welcomed."""
        assert isinstance(self.hear(Refuse("unknown-peer", 0, ""))[0], Disconnected)
        return self.connect(broker)

    def numbers(self) -> list[int]:
        """The batches that are sent now."""
        return [message.sequence for message in self.sent() if isinstance(message, Publish)]


@pytest.fixture
def side() -> Side:
    """A producer that was welcomed."""
    side = Side()
    side.connect()
    return side


class TestPublishing:
    def test_numbers_from_one(self, side: Side) -> None:
        assert [side.publish(), side.publish(reply=True)] == [1, 2]
        assert side.sent() == [Publish(1, "q", "t", 0), Publish(2, "q", "t", 1)]
        assert repr(side.machine) == "<Connection ready, 2 unconfirmed>"

    def test_waits_for_a_broker(self) -> None:
        side = Side()
        side.publish()
        assert side.sent() == []
        assert side.connect() == [Connected(same_broker=False)]
        assert side.numbers() == [1]

    def test_confirms(self, side: Side) -> None:
        for _ in range(5):
            side.publish()
        assert side.hear(Confirm([1, 2, 4, 4])) == [Confirmed([1, 2, 4])]
        assert side.hear(Confirm([1, 3])) == [Confirmed([3])]
        assert side.hear(Confirm([1, 4])) == []
        assert side.machine.unconfirmed == 1

    @pytest.mark.parametrize("ranges", [[1], [0, 0], [2, 1], [9, 1 << 62], [2, 9]], ids=repr)
    def test_confirms_of_what_was_not_sent(self, side: Side, ranges: list[int]) -> None:
        side.publish()
        assert side.hear(Confirm(ranges)) == []

    def test_a_huge_range_is_cut_to_what_was_sent(self, side: Side) -> None:
        side.publish()
        side.publish()
        assert side.hear(Confirm([1, (1 << 63) - 1])) == [Confirmed([1, 2])]

    def test_the_window_is_bounded(self, side: Side) -> None:
        for _ in range(WINDOW_BATCHES):
            assert side.machine.has_room()
            side.publish()
        assert not side.machine.has_room()
        side.hear(Confirm([3, 3]))
        assert side.machine.has_room()

    def test_refused_for_good(self, side: Side) -> None:
        side.publish(count=3, reply=True)
        assert side.hear(Refuse("bad-name", 1, "no")) == [BatchRefused(1, "bad-name", "no")]
        assert side.machine.unconfirmed == 0
        side.reconnect()
        assert side.sent() == []

    def test_a_refusal_of_what_was_not_sent(self, side: Side) -> None:
        assert side.hear(Refuse("full", 7, "")) == []
        assert side.hear(Refuse("bad-name", 7, "")) == []

    @pytest.mark.parametrize("frames", [[b""], [b"\xc1"], [pack([1])], [pack([2, 5])]], ids=repr)
    def test_nonsense_is_passed_over(self, side: Side, frames: list[bytes]) -> None:
        side.machine.receive(frames, side.now)
        assert side.events() == []

    def test_options_travel_behind_the_bodies(self, side: Side) -> None:
        options = pack({"delay_ms": 5})
        side.machine.publish(Lane(options=options), BODY, 2, reply=None, now=10.0)
        ((_, *frames),) = side.machine.to_send()
        assert frames == [BODY, options]


class TestPostponed:
    @pytest.mark.parametrize("code", ["full", "draining"])
    def test_goes_out_again_after_a_pause(self, code: str) -> None:
        side = Side(random=1.0)
        side.connect()
        for _ in range(3):
            side.publish()
        side.sent()
        assert side.hear(Refuse(code, 3, "")) == [Postponed(3, code, "")]
        assert side.hear(Refuse(code, 1, "")) == [Postponed(1, code, "")]
        assert side.machine.next_deadline() == pytest.approx(10.02)
        side.machine.tick(10.0199)
        assert side.numbers() == []
        side.machine.tick(10.0201)
        assert side.numbers() == [1, 3]
        assert side.machine.next_deadline() == 11.0

    def test_pauses_grow_until_something_is_confirmed(self) -> None:
        side = Side(random=1.0)
        side.connect()
        side.publish()
        side.publish()
        pauses = []
        for i in range(9):
            side.hear(Refuse("full", 1, ""))
            deadline = side.machine._retry_at
            pauses.append(round(deadline - side.now, 3))
            side.now = deadline
            side.machine.tick(side.now)
            side.hear(Refuse("too-many-peers", 0, ""))  # Any word will do against silence.
            if i == 7:
                side.hear(Confirm([2, 2]))
        assert pauses == [0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5, 0.5, 0.02]

    def test_what_was_confirmed_meanwhile_stays(self, side: Side) -> None:
        side.publish()
        side.hear(Refuse("full", 1, ""))
        side.hear(Confirm([1, 1]))
        side.sent()
        side.machine.tick(10.6)
        assert side.numbers() == []

    def test_a_batch_that_waited_long_is_not_lost(
        self, side: Side, talk: Any, confirmed: Any
    ) -> None:
        """However far the other queues get meanwhile: whatever is confirmed was taken."""
        t = talk(queue_tasks_max=4)
        t.producer()
        t.worker(queues="f", credit=100_000)
        t.publish(b"p", 1, [0] * 5, queue="q")
        side.hear(Confirm([side.publish(), 1]))
        late = side.publish()
        side.sent()
        t.publish(b"p", late, ["late"], queue="q")
        assert any(isinstance(message, Refuse) for _, message, _ in t.hear())
        side.hear(Refuse("full", late, ""))
        for _ in range(GAPS_MAX + 10):
            sequence = side.publish(queue="f")
            t.publish(b"p", sequence, [0], queue="f")
            for _, message, _ in t.hear():
                if isinstance(message, Confirm):
                    side.hear(message)
                elif hasattr(message, "lease"):
                    t.settle(b"w", message.lease, [[0, 0, 1, DONE]], credit=100_000)
        t.publish(b"p", late, ["late"], queue="q")
        assert late not in confirmed(t.hear())
        assert t.ready("q") == 5


class TestReconnecting:
    def test_unconfirmed_batches_go_out_again_under_their_numbers(self, side: Side) -> None:
        for _ in range(4):
            side.publish()
        side.hear(Confirm([2, 2]))
        side.sent()
        assert side.reconnect() == [Connected(same_broker=True)]
        assert side.numbers() == [1, 3, 4]

    def test_what_is_published_meanwhile_goes_out_then(self, side: Side) -> None:
        side.hear(Refuse("unknown-peer", 0, ""))
        side.publish()
        side.connect()
        assert side.numbers() == [1]

    def test_asks_for_the_results_of_confirmed_batches(self, side: Side) -> None:
        side.publish(reply=True)
        side.publish(reply=True)
        side.publish()
        side.hear(Confirm([1, 1, 3, 3]))
        side.sent()
        side.reconnect()
        assert side.sent() == [Await([1]), Publish(2, "q", "t", 1)]

    def test_many_are_asked_for_in_pieces(self, side: Side) -> None:
        for _ in range(AWAIT_CHUNK + 1):
            side.publish(reply=True)
        side.hear(Confirm([1, AWAIT_CHUNK + 1]))
        side.sent()
        side.reconnect()
        assert [len(message.sequences) for message in side.sent()] == [AWAIT_CHUNK, 1]

    def test_asks_for_those_confirmed_only_now(self, side: Side) -> None:
        """The broker may have taken it before, and results may be lost with the confirm."""
        side.publish(reply=True)
        side.publish()
        side.sent()
        side.reconnect()
        side.sent()
        assert side.hear(Confirm([1, 2])) == [Confirmed([1, 2])]
        assert side.sent() == [Await([1])]
        side.publish(reply=True)
        side.hear(Confirm([3, 3]))
        assert [type(message) for message in side.sent()] == [Publish], "it went out once"

    def test_with_another_broker_confirmed_results_are_lost(self, side: Side) -> None:
        side.publish(reply=True)
        side.publish(reply=True)
        side.hear(Confirm([1, 1]))
        side.sent()
        text = "the broker was restarted, and its memory queues with it"
        assert side.reconnect(b"broker-2") == [Connected(same_broker=False), ResultsLost(1, text)]
        assert side.numbers() == [2]
        assert side.hear(Result(1, 0, 2, DONE)) == []

    def test_a_new_broker_takes_up_where_the_old_one_ended(self, talk: Any, confirmed: Any) -> None:
        """It has never heard of this producer, whose numbers are high by now."""
        t, first = talk(), 5 * GAPS_MAX
        t.producer()
        for sequence in range(first, first + 3):
            t.publish(b"p", sequence, [0])
        assert confirmed(t.hear()) == [first, first + 1, first + 2]
        assert t.ready() == 3


class TestResults:
    def test_come_in_runs(self, side: Side) -> None:
        side.publish(count=3, reply=True)
        assert side.hear(Result(1, 1, 2, RESULTS), BODY) == [
            ResultsCame(1, 1, 2, RESULTS, BODY, last=False)
        ]
        assert side.hear(Result(1, 0, 1, FAILED), BODY) == [
            ResultsCame(1, 0, 1, FAILED, BODY, last=True)
        ]
        assert side.hear(Result(1, 0, 1, DONE)) == []

    def test_that_nobody_awaits_are_passed_over(self, side: Side) -> None:
        side.publish()
        assert side.hear(Result(1, 0, 2, DONE)) == []
        assert side.hear(Result(9, 0, 2, DONE)) == []

    def test_fewer_to_come_than_awaited_are_lost(self, side: Side) -> None:
        side.publish(count=3, reply=True)
        side.hear(Result(1, 0, 1, DONE))
        assert side.hear(Result(1, 0, 2, OPEN)) == []
        text = "the connection broke while results were on their way"
        assert side.hear(Result(1, 0, 1, OPEN)) == [ResultsLost(1, text)]
        assert side.hear(Result(1, 0, 0, OPEN)) == []
        assert side.hear(Result(1, 1, 2, DONE)) == [], "given up is given up"

    def test_more_to_come_than_awaited_are_welcome(self, side: Side) -> None:
        """Another broker runs all of it again."""
        side.publish(count=2, reply=True)
        side.hear(Result(1, 0, 1, DONE))
        assert side.hear(Result(1, 0, 2, OPEN)) == []
        assert side.hear(Result(1, 0, 1, DONE)) == []
        assert side.hear(Result(1, 1, 1, DONE)) == [ResultsCame(1, 1, 1, DONE, b"", last=True)]

    def test_of_those_to_come_some_may_have_come_before(self, side: Side) -> None:
        """The next broker of a data dir runs again what the one before had not stored as over, and
        has lost as many other results: it has two to come, as we await two, and they are others."""
        side.publish(count=4, reply=True)
        side.hear(Result(1, 0, 2, DONE))
        side.reconnect(b"broker-1")
        assert side.hear(Result(1, 0, 2, OPEN)) == []
        assert side.hear(Result(1, 0, 1, DONE)) == []
        text = "the connection broke while results were on their way"
        assert side.hear(Result(1, 1, 1, DONE)) == [ResultsLost(1, text)]

    @pytest.mark.parametrize(
        ("first", "tasks"), [(2, 1), (0, 0), (BIG, 1), (0, BIG), (BIG, BIG), (1 << 40, 1 << 40)]
    )
    def test_beyond_the_batch_nothing_happens(self, side: Side, first: int, tasks: int) -> None:
        side.publish(count=2, reply=True)
        assert side.hear(Result(1, first, tasks, DONE)) == []
        assert side.hear(Result(1, 0, 2, DONE)) == [ResultsCame(1, 0, 2, DONE, b"", last=True)]

    def test_each_comes_once_though_the_batch_runs_twice(self, side: Side) -> None:
        """One result came; before the confirm there was another broker, which ran all again."""
        side.publish(count=2, reply=True)
        came = side.hear(Result(1, 0, 1, RESULTS), pack(["a"]))
        came += side.reconnect(b"broker-2")
        came += side.hear(Result(1, 0, 1, RESULTS), pack(["a"]))
        came += side.hear(Result(1, 1, 1, RESULTS), pack(["b"]))
        results = [event for event in came if isinstance(event, ResultsCame)]
        lost = [event for event in came if isinstance(event, ResultsLost)]
        assert [event.first for event in results] in ([0, 1], [0])
        assert bool(lost) == (len(results) == 1), "the other one came, or is said to be lost"
        assert sum(event.last for event in results) + len(lost) == 1


class TestWithABroker:
    """Results that were on the wire when the connection broke."""

    def start(self, t: Any, side: Side, deliveries: Any) -> int:
        """A batch of two was delivered; its confirm is on the wire."""
        t.producer(b"p1", id=b"me")
        t.worker(credit=10)
        side.publish(count=2, reply=True)
        self.up(t, side, b"p1")
        ((_, message, _),) = deliveries(self.heard)
        return int(message.lease)

    def up(self, t: Any, side: Side, peer: bytes) -> None:
        for frames in side.machine.to_send():
            t.broker.receive(peer, "", frames, t.now)
        self.heard = t.hear()

    def down(self, side: Side, peer: bytes) -> list[Any]:
        return [
            event
            for to, message, frames in self.heard
            if to == peer
            for event in side.hear(message, *frames)
        ]

    def finish(self, t: Any, side: Side, peer: bytes) -> list[Any]:
        """Both sides talk until there is nothing more to say."""
        events = self.down(side, peer)
        for _ in range(5):
            self.up(t, side, peer)
            events += self.down(side, peer)
        return events

    def test_all_lost_after_the_confirm(self, side: Side, talk: Any, deliveries: Any) -> None:
        t = talk()
        lease = self.start(t, side, deliveries)
        self.down(side, b"p1")
        t.settle(b"w", lease, [[0, 0, 2, DONE]])
        t.hear()
        t.producer(b"p2", id=b"me")
        side.reconnect()
        self.heard = []
        events = self.finish(t, side, b"p2")
        assert [type(event) for event in events] == [ResultsLost]

    def test_all_lost_with_the_confirm(self, side: Side, talk: Any, deliveries: Any) -> None:
        """The batch goes out again as unconfirmed, and is confirmed as a duplicate."""
        t = talk()
        lease = self.start(t, side, deliveries)
        t.settle(b"w", lease, [[0, 0, 2, DONE]])
        t.hear()
        t.producer(b"p2", id=b"me")
        side.reconnect()
        self.heard = []
        events = self.finish(t, side, b"p2")
        assert events[0] == Confirmed([1])
        assert [type(event) for event in events[1:]] == [ResultsLost]

    def test_one_of_two_lost(self, side: Side, talk: Any, deliveries: Any) -> None:
        """The other one is still to come, and then the batch is over."""
        t = talk()
        lease = self.start(t, side, deliveries)
        self.down(side, b"p1")
        t.settle(b"w", lease, [[0, 0, 1, RESULTS]], pack(["lost"]))
        t.hear()
        t.producer(b"p2", id=b"me")
        side.reconnect()
        self.heard = []
        events = self.finish(t, side, b"p2")
        t.settle(b"w", lease, [[0, 1, 1, RESULTS]], pack(["came"]))
        events += self.finish(t, side, b"p2")
        assert any(isinstance(event, ResultsLost) for event in events)
        assert not side.machine.sent

    def test_what_could_not_be_sent_is_not_lost(
        self, side: Side, talk: Any, deliveries: Any
    ) -> None:
        """It is sent to where the producer is now, and the answer to `Await` comes behind it."""
        t = talk()
        lease = self.start(t, side, deliveries)
        self.down(side, b"p1")
        t.settle(b"w", lease, [[0, 0, 1, DONE]])
        ((peer, result, frames),) = t.hear()
        t.producer(b"p2", id=b"me")
        t.broker.unreachable(peer, [encode(result), *frames], t.now)
        side.reconnect()
        self.heard = t.hear()
        events = self.finish(t, side, b"p2")
        assert events == [ResultsCame(1, 0, 1, DONE, b"", last=False)]


class TestWithTwoBrokers:
    """One broker took a batch and is replaced before its confirm was heard."""

    def start(self, talk: Any, side: Side, deliveries: Any) -> tuple[Any, int]:
        """One of two results came from the first broker; the second one runs both again."""
        side.publish(count=2, reply=True)
        assert side.hear(Result(1, 0, 1, DONE)) == [ResultsCame(1, 0, 1, DONE, b"", last=False)]
        t = talk()
        t.producer(b"p2", id=b"me")
        t.worker(credit=10)
        side.sent()
        side.reconnect(b"broker-2")
        events, ((_, message, _),) = self.talk(t, side, b"p2", deliveries)
        assert events == [Confirmed([1])]
        return t, int(message.lease)

    def talk(self, t: Any, side: Side, peer: bytes, deliveries: Any) -> tuple[list[Any], list[Any]]:
        events: list[Any] = []
        delivered: list[Any] = []
        for _ in range(5):
            for frames in side.machine.to_send():
                t.broker.receive(peer, "", frames, t.now)
            heard = t.hear()
            delivered += deliveries(heard)
            for to, message, frames in heard:
                if to == peer:
                    events += side.hear(message, *frames)
        return events, delivered

    def test_the_first_result_of_each_task_counts(
        self, side: Side, talk: Any, deliveries: Any
    ) -> None:
        t, lease = self.start(talk, side, deliveries)
        t.settle(b"w", lease, [[0, 0, 1, FAILED]], pack([["E", "", ""]]))
        assert self.talk(t, side, b"p2", deliveries)[0] == []
        t.settle(b"w", lease, [[0, 1, 1, DONE]])
        events, _ = self.talk(t, side, b"p2", deliveries)
        assert events == [ResultsCame(1, 1, 1, DONE, b"", last=True)]

    def test_a_result_lost_on_the_way_is_said_to_be(
        self, side: Side, talk: Any, deliveries: Any
    ) -> None:
        """As many are to come as are awaited, but not the same."""
        t, lease = self.start(talk, side, deliveries)
        t.settle(b"w", lease, [[0, 1, 1, DONE]])
        t.hear()
        t.producer(b"p3", id=b"me")
        side.reconnect(b"broker-2")
        events, _ = self.talk(t, side, b"p3", deliveries)
        t.settle(b"w", lease, [[0, 0, 1, DONE]])
        events += self.talk(t, side, b"p3", deliveries)[0]
        assert [type(event) for event in events] == [ResultsLost]


class TestProgress:
    def test_of_an_awaited_task(self, side: Side) -> None:
        side.publish(reply=True)
        assert side.hear(Progress(1, 0, 3, 10)) == [Progressed(1, 0, 3, 10)]
        side.hear(Confirm([1, 1]))
        assert side.hear(Progress(1, 1, BIG, 0)) == [Progressed(1, 1, BIG, 0)]

    @pytest.mark.parametrize("position", [2, 3, BIG])
    def test_beyond_the_batch_is_passed_over(self, side: Side, position: int) -> None:
        side.publish(reply=True)
        assert side.hear(Progress(1, position, 1, 2)) == []

    def test_of_what_nobody_awaits_is_passed_over(self, side: Side) -> None:
        side.publish()
        side.publish(reply=True)
        side.hear(Confirm([1, 2]))
        side.hear(Result(2, 0, 2, DONE))
        for sequence in (0, 1, 2, 3, BIG):
            assert side.hear(Progress(sequence, 0, 1, 2)) == []

    def test_after_a_lost_broker_it_is_passed_over(self, side: Side) -> None:
        side.publish(reply=True)
        side.hear(Confirm([1, 1]))
        assert ResultsLost in {type(event) for event in side.reconnect(b"broker-2")}
        assert side.hear(Progress(1, 0, 1, 2)) == []


def test_a_batch_that_was_sent_twice_is_postponed_once_both_were_refused(side: Side) -> None:
    """The broker may have taken it meanwhile: then it is not to go elsewhere."""
    side.publish()
    side.hear(Welcome(b"broker-1", 1000, 5000))  # It had two greetings.
    assert side.numbers() == [1, 1]
    assert side.hear(Refuse("full", 1, "full")) == []
    (event,) = side.hear(Refuse("full", 1, "full"))
    assert isinstance(event, Postponed)
    side.now += 10.0
    side.machine.tick(side.now)
    assert side.numbers() == [1]
    side.reconnect()
    assert side.numbers() == [1], "what was on the way is void"
    (event,) = side.hear(Refuse("full", 1, "full"))
    assert isinstance(event, Postponed)


def test_without_a_name_nobody_can_dismiss_it(side: Side) -> None:
    assert side.hear(Refuse("replaced", 0, "x")) == [Rejected("replaced", "x")]
    assert side.machine.link.is_ready


@pytest.mark.parametrize("has_options", [False, True])
def test_a_batch_with_options_grows_older_while_there_is_no_broker(has_options: bool) -> None:
    """What expires five minutes after it was sent does so wherever it waits. Without options the
    same number says the same again."""
    side = Side()
    lane = Lane(options=TaskOptions(expires_ms=300_000).pack() if has_options else b"")
    side.machine.publish(lane, BODY, 2, reply=None, now=side.now, age_s=1.0)
    side.connect()
    side.sent()
    side.now += 600.0
    side.reconnect()
    (again,) = [message for message in side.sent() if isinstance(message, Publish)]
    assert again.age_us == (601_000_000 if has_options else 1_000_000)
    side.hear(Refuse("full", again.sequence, ""))
    side.now += 10.0
    side.machine.tick(side.now)
    (later,) = [message for message in side.sent() if isinstance(message, Publish)]
    assert later.age_us == again.age_us + (10_000_000 if has_options else 0)
