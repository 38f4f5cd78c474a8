"""The publisher: nothing it accepted is without an end, whatever the broker answers, and when.

A real publisher over real connections to several brokers. The test is the brokers: they confirm,
refuse, answer, are lost, stand still and come back as Hypothesis says. At the end they do their
work, and every body must have been taken, and every future have its end; and no body is taken
twice unless a broker stood still.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from zqueue.client.connection import WINDOW_BATCHES, Connection
from zqueue.client.flow import BATCHES_MAX
from zqueue.client.lane import Lane, LaneState
from zqueue.client.lanes import LANES_MAX
from zqueue.client.names import ROW_NUMBERS
from zqueue.client.ordered import Stream
from zqueue.client.publisher import Publisher
from zqueue.client.replies import TaskFuture
from zqueue.errors import Closed, Refused, ResultLost
from zqueue.wire.codec import pack
from zqueue.wire.headers import decode, encode
from zqueue.wire.messages import (
    CANCELLED,
    DONE,
    MOVED,
    OPEN,
    REPLY,
    RESULTS,
    Await,
    Confirm,
    Goodbye,
    Heartbeat,
    Hello,
    Message,
    Publish,
    Refuse,
    Result,
    Welcome,
    Withdraw,
)
from zqueue.wire.options import TaskOptions
from zqueue.wire.unpacking import unpack_bodies


class Owner:
    """A lane's owner: the test, which asks for room and service itself."""

    def make_room(self, lane: Lane, timeout: float | None) -> None:
        raise AssertionError("the test asks first")

    def service(self, lane: Lane | None = None) -> None:
        raise AssertionError("the test puts bodies, and marks lanes")

    def step_aside(self) -> None:
        pass


class Broker:
    """One broker, of few words, and the connection to it."""

    def __init__(self, number: int) -> None:
        chance = random.Random(number).random
        self.connection = Connection(b"producer", {}, chance, base=number * ROW_NUMBERS)
        self.row = number
        self.life = 0
        self.taken: dict[int, tuple[list[Any], bool]] = {}
        """Number to bodies, and whether their results are wanted; by the broker that is there."""
        self.answered: dict[int, set[int]] = {}
        self.heard: deque[Any] = deque()
        """Batches that are neither taken nor refused."""
        self.stands = False
        """Whether it stands still: nothing is read, and nothing said."""
        self.unread: list[list[bytes]] = []

    def say(self, message: Message, *frames: bytes, now: float) -> None:
        self.connection.receive([encode(message), *frames], now)

    def receive(self, now: float) -> bool:
        """Read what the publisher sent. Whether there was anything."""
        self.unread += self.connection.to_send()
        messages, self.unread = ([], self.unread) if self.stands else (self.unread, [])
        for header, *frames in messages:
            message = decode(header)
            if isinstance(message, Hello):
                self.heard.clear()
                self.say(Welcome(b"broker%02d" % self.life, 1000, 5000), now=now)
            elif isinstance(message, Publish):
                self.heard.append((message, unpack_bodies(frames[0])))
            elif isinstance(message, Await):
                for number in message.sequences:
                    bodies, _ = self.taken[number]
                    owed = len(bodies) - len(self.answered[number])
                    self.say(Result(number, 0, owed, OPEN), now=now)
            elif isinstance(message, Withdraw):
                self.withdraw(message.numbers + message.moved, now)
            elif isinstance(message, Goodbye | Heartbeat):
                self.say(message, now=now)
        return bool(messages)

    def withdraw(self, ranges: list[int], now: float) -> None:
        """What of these has no result was ready: it is cancelled. The others stay."""
        for number in (
            n for i in range(0, len(ranges), 2) for n in range(ranges[i], ranges[i + 1] + 1)
        ):
            self.heard = deque(each for each in self.heard if each[0].sequence != number)
            bodies, wanted = self.taken.setdefault(number, ([], False))
            if not self.answered.setdefault(number, set()):
                self.taken[number] = ([], False)
                if wanted:
                    self.say(Result(number, 0, len(bodies), CANCELLED), now=now)
            self.say(Confirm([number, number]), now=now)

    def take(self, which: int, now: float, *, confirm: bool = True) -> list[Any]:
        """Take a batch, once; its bodies."""
        message, bodies = self.heard[which % len(self.heard)]
        del self.heard[which % len(self.heard)]
        number, new = message.sequence, message.sequence not in self.taken
        if new:
            assert bool(message.flags & MOVED) == (number // ROW_NUMBERS != self.row)
            self.taken[number] = (bodies, bool(message.flags & REPLY))
            self.answered[number] = set()
        if confirm:
            self.say(Confirm([number, number]), now=now)
        return bodies if new else []

    def open_results(self) -> list[tuple[int, int]]:
        """Numbers and positions without a result."""
        return [
            (number, position)
            for number, (bodies, wanted) in self.taken.items()
            for position in range(len(bodies))
            if wanted and position not in self.answered[number]
        ]

    def answer(self, number: int, position: int, now: float) -> None:
        self.answered[number].add(position)
        value = self.taken[number][0][position]
        self.say(Result(number, position, 1, RESULTS), pack([value]), now=now)

    def replace(self) -> None:
        """kill -9, and another one is there."""
        self.life += 1
        self.taken.clear()
        self.answered.clear()
        self.heard.clear()


KINDS = st.sampled_from(("send", "submit", "map"))


class Publishing(RuleBasedStateMachine):
    """Bodies are numbers. Each is accepted once, and has one end."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.brokers = [Broker(number) for number in range(3)]
        self.publisher = Publisher([b.connection for b in self.brokers], ["one", "two", "three"])
        self.has_stood = False
        self.count = 0
        self.sent: set[int] = set()
        """Bodies whose results nobody wants."""
        self.futures: dict[int, TaskFuture[Any]] = {}
        self.streams: list[tuple[Lane, Stream, list[int], list[Any]]] = []
        """Lanes of one call each, what they were given, and the outcomes."""
        self.refused: set[int] = set()
        self.gone: set[int] = set()
        """Confirmed, and then their broker was killed."""
        self.is_closed = False
        self.pass_time(0.001)

    # --- what the driver does ---

    def turn(self) -> None:
        for _ in range(50):
            self.publisher.form_batches(self.now)
            moved = [
                (broker.receive(self.now), self.publisher.handle(broker.connection, self.now))
                for broker in self.brokers
            ]
            while self.publisher.endings:
                self.publisher.endings.popleft().give_out()
            if not any(map(any, moved)):
                break
        for _, stream, _, outcomes in self.streams:
            while some := stream.take():
                outcomes += some

    def lane(self, kind: str, which: int) -> Lane:
        queue = f"q{which}"
        if kind == "map":
            stream = Stream(10_000)
            lane = Lane(Owner(), queue, "t", stream=stream)
            self.publisher.add_stream(lane)
            self.streams.append((lane, stream, [], []))
            return lane
        reply = kind == "submit"
        found = self.publisher.lanes.find(queue, "t", reply)
        return self.publisher.add(found or Lane(Owner(), queue, "t", reply=reply))

    # --- rules: callers ---

    @precondition(lambda self: not self.is_closed)
    @rule(kind=KINDS, which=st.integers(0, 2), bodies=st.integers(1, 40), turns=st.booleans())
    def send(self, kind: str, which: int, bodies: int, turns: bool) -> None:
        lane = self.lane(kind, which)
        for _ in range(bodies):
            if lane.must_ask:
                self.publisher.mark(lane)
                self.turn()
                if lane.must_ask:
                    break  # There is no room: it is not accepted.
            self.put(kind, lane)
            if lane.is_idle or lane.is_full:
                self.publisher.mark(lane)
                if turns:
                    self.turn()
        if kind == "map":
            self.publisher.finish(lane)

    def put(self, kind: str, lane: Lane) -> None:
        body, self.count = self.count, self.count + 1
        if kind == "submit":
            self.futures[body] = TaskFuture(lane)
            lane.put(body, self.futures[body])
        elif kind == "map":
            lane.put(body)
            self.streams[-1][2].append(body)
        else:
            lane.put(body)
            self.sent.add(body)

    @precondition(lambda self: not self.is_closed)
    @rule(kind=KINDS, which=st.integers(0, 2), bodies=st.integers(1, 40), confirm=st.booleans())
    def send_and_take(self, kind: str, which: int, bodies: int, confirm: bool) -> None:
        """The broker takes all of it, and what it answers gets lost or not."""
        self.send(kind, which, bodies, True)
        for who in range(3):
            while self.brokers[who].heard and not self.brokers[who].stands:
                self.take(who, 0, confirm)

    @rule()
    def flush(self) -> None:
        self.publisher.flush()
        self.turn()

    @precondition(lambda self: not self.is_closed and self.count > 120)
    @rule()
    def close(self) -> None:
        self.is_closed = True
        self.publisher.close()

    # --- rules: the network ---

    @rule(elapsed_s=st.sampled_from((0.001, 0.02, 0.6, 2.0)))
    def pass_time(self, elapsed_s: float) -> None:
        self.now += elapsed_s
        self.publisher.tick(self.now)
        self.turn()

    @rule(who=st.integers(0, 2), which=st.integers(0, 50), confirm=st.booleans())
    def take(self, who: int, which: int, confirm: bool) -> None:
        broker = self.brokers[who]
        if broker.heard and not broker.stands:
            broker.take(which, self.now, confirm=confirm)
            self.turn()

    @rule(who=st.integers(0, 2), which=st.integers(0, 50))
    def put_off(self, who: int, which: int) -> None:
        broker = self.brokers[who]
        if broker.heard and not broker.stands:
            message, _ = broker.heard[which % len(broker.heard)]
            del broker.heard[which % len(broker.heard)]
            broker.say(Refuse("full", message.sequence, ""), now=self.now)
            self.turn()

    @rule(who=st.integers(0, 2), which=st.integers(0, 50))
    def refuse(self, who: int, which: int) -> None:
        broker = self.brokers[who]
        if not broker.heard or broker.stands:
            return
        message, bodies = broker.heard[which % len(broker.heard)]
        if message.sequence in broker.taken:
            return  # What it has taken it does not refuse.
        del broker.heard[which % len(broker.heard)]
        broker.say(Refuse("too-large", message.sequence, "no"), now=self.now)
        self.refused.update(bodies)
        self.turn()

    @rule(who=st.integers(0, 2), which=st.integers(0, 500), many=st.integers(1, 20))
    def answer(self, who: int, which: int, many: int) -> None:
        broker = self.brokers[who]
        for _ in range(0 if broker.stands else many):
            if places := broker.open_results():
                broker.answer(*places[which % len(places)], self.now)
        self.turn()

    @rule(who=st.integers(0, 2), killed=st.booleans())
    def lose(self, who: int, killed: bool) -> None:
        """The broker does not know us any more; it is the same one, or another."""
        broker = self.brokers[who]
        if killed:
            for number, (bodies, _) in broker.taken.items():
                sent = broker.connection.sent.get(number)
                is_here = broker.connection._gone.find(number) is None
                if sent.confirmed if sent is not None else is_here:
                    self.gone.update(bodies)
            broker.replace()
        broker.stands = False
        broker.heard.clear()
        broker.say(Refuse("unknown-peer", 0, ""), now=self.now)
        self.turn()
        self.pass_time(0.001)

    @rule(who=st.integers(0, 2))
    def stand_still(self, who: int) -> None:
        self.brokers[who].stands = self.has_stood = True

    @rule(who=st.integers(0, 2), is_cut=st.booleans())
    def go_on(self, who: int, is_cut: bool) -> None:
        """It reads what came meanwhile, or its network was away and it hears nothing of that."""
        broker = self.brokers[who]
        if broker.stands:
            broker.stands = False
            if is_cut:
                broker.unread.clear()
                broker.heard.clear()
                broker.say(Refuse("unknown-peer", 0, ""), now=self.now)
            self.turn()

    @rule(who=st.integers(0, 2))
    def say_goodbye(self, who: int) -> None:
        """It ends, and another one starts, with what it had if that is in a store."""
        if not self.brokers[who].stands:
            self.has_stood = True
            self.brokers[who].heard.clear()
            self.brokers[who].say(Goodbye(), now=self.now)
            self.turn()

    # --- what must always hold ---

    @invariant()
    def counters_are_right(self) -> None:
        unconfirmed = 0
        for broker in self.brokers:
            connection = broker.connection
            kept = [sent for sent in connection.sent.values() if not sent.confirmed]
            assert connection.unconfirmed == len(kept) <= WINDOW_BATCHES
            assert connection.unconfirmed_tasks == sum(sent.tasks for sent in kept)
            assert all(sent.open or not sent.confirmed for sent in connection.sent.values())
            unconfirmed += connection.unconfirmed
        lanes = list(self.publisher.lanes)
        assert sum(lane.in_flight for lane in lanes) == unconfirmed
        assert all(0 <= lane.in_flight <= BATCHES_MAX for lane in lanes)
        assert all(lane.is_idle == (not lane.in_flight) for lane in lanes)

    @invariant()
    def closed_lanes_stay_closed(self) -> None:
        for lane in self.publisher.lanes:
            if self.is_closed:
                assert lane.state == LaneState.CLOSED
            assert (lane.state == LaneState.OPEN) == (self.publisher.state is LaneState.OPEN)

    @invariant()
    def results_are_their_own(self) -> None:
        for body, future in self.futures.items():
            if future.done() and future.exception(0) is None:
                assert future.result(0) == body

    # --- the end ---

    def teardown(self) -> None:
        """Brokers do their work: everything has its end, without anybody asking for a flush."""
        for broker in self.brokers:
            broker.stands = False
        for _ in range(200):
            for broker in self.brokers:
                while broker.heard:
                    broker.take(0, self.now)
                for number in broker.taken:  # Of some it was withheld.
                    broker.say(Confirm([number, number]), now=self.now)
                for place in broker.open_results():
                    broker.answer(*place, self.now)
            self.pass_time(0.6)
            if not self.publisher.unconfirmed and not self.publisher.is_awaiting():
                break
        assert self.publisher.unconfirmed == 0
        assert not self.publisher.lanes._streams, "of a call that is over nothing is kept"
        taken = Counter(
            body
            for broker in self.brokers
            for bodies, _ in broker.taken.values()
            for body in bodies
        )
        assert self.has_stood or all(count == 1 for count in taken.values())
        for body in self.sent:
            assert body in taken or body in self.refused | self.gone
        for body, future in self.futures.items():
            assert future.done(), f"the future of {body} has no end"
            error = future.exception(0)
            assert error is None or (body in self.refused) == isinstance(error, Refused)
            assert isinstance(error, Refused | ResultLost | None)
        for _, stream, bodies, outcomes in self.streams:
            assert not stream.is_awaiting
            assert len(outcomes) == len(bodies)
            for body, (ok, value) in zip(bodies, outcomes, strict=True):
                assert value == body if ok else isinstance(value, Refused | ResultLost)
        self.publisher.leave(self.now)
        self.turn()
        assert self.publisher.is_over()


Publishing.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=50,
    deadline=None,
    print_blob=True,
    # A failure is shown as it was found: to make it small takes minutes.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)

TestPublishing = Publishing.TestCase


class TestGivingUp:
    """Who is closed with something open says so."""

    def make(self) -> tuple[Publisher, Broker]:
        broker = Broker(0)
        publisher = Publisher([broker.connection], ["here"])
        publisher.tick(0.0)
        broker.receive(0.0)
        publisher.handle(broker.connection, 0.0)
        assert publisher.state is LaneState.OPEN
        return publisher, broker

    def test_futures_that_wait_and_futures_that_gather(self) -> None:
        """Those that gathered when the window was full were forgotten: they never ended."""
        publisher, _ = self.make()
        lane = publisher.add(Lane(Owner(), "q", "t", reply=True))
        futures = [TaskFuture[Any](lane) for _ in range(5)]
        for body, future in enumerate(futures):
            lane.put(body, future)
            if body == 1:
                publisher.mark(lane)
                publisher.form_batches(0.0)
        assert (lane.gathered, lane.in_flight) == (3, 1)
        publisher.close()
        publisher.leave(1.0)
        assert publisher.give_up(Closed("gone")) == 5
        while publisher.endings:
            publisher.endings.popleft().give_out()
        assert all(isinstance(future.exception(0), Closed) for future in futures)

    def test_a_stream_that_gathers(self) -> None:
        publisher, _ = self.make()
        stream = Stream(10)
        lane = Lane(Owner(), "q", "t", stream=stream)
        publisher.add_stream(lane)
        lane.fill(iter("ab"))
        assert publisher.give_up(Closed("gone")) == 1
        while publisher.endings:
            publisher.endings.popleft().give_out()
        ((ok, error),) = stream.take()
        assert (ok, type(error)) == (False, Closed)

    def test_a_broker_that_comes_back_opens_no_closed_lane(self) -> None:
        """What was sent then was accepted, and went nowhere."""
        publisher, broker = self.make()
        lane = publisher.add(Lane(Owner(), "q", "t"))
        publisher.close()
        broker.say(Refuse("unknown-peer", 0, ""), now=1.0)
        publisher.tick(1.0)
        broker.receive(1.0)
        assert publisher.handle(broker.connection, 1.0)
        assert publisher.add(Lane(Owner(), "other", "t")).state == LaneState.CLOSED
        assert lane.state == LaneState.CLOSED


class TestOptions:
    """Lanes of options, each distinct one its own."""

    def make(self) -> tuple[Publisher, Broker]:
        publisher, broker = TestGivingUp().make()
        broker.receive(0.0)
        return publisher, broker

    def lane(self, number: int, **asked: Any) -> Lane:
        return Lane(Owner(), "q", "t", options=TaskOptions(key=str(number), **asked))

    def send(self, publisher: Publisher, lane: Lane) -> None:
        lane.put(1)
        publisher.mark(lane)
        publisher.form_batches(0.0)

    def confirm(self, publisher: Publisher, broker: Broker) -> None:
        broker.receive(0.0)
        while broker.heard:
            broker.take(0, 0.0)
        publisher.handle(broker.connection, 0.0)

    def test_those_that_are_idle_do_not_pile_up(self) -> None:
        publisher, broker = self.make()
        for number in range(100):
            lane = publisher.add(self.lane(number))
            assert publisher.lanes.find("q", "t", False, TaskOptions(key=str(number))) is lane
            self.send(publisher, lane)
        assert len(list(publisher.lanes)) == 100
        self.confirm(publisher, broker)
        assert list(publisher.lanes) == []

    def test_one_that_was_forgotten_while_somebody_holds_it_goes_on(self) -> None:
        publisher, broker = self.make()
        lane = publisher.add(self.lane(1))
        self.send(publisher, lane)
        self.confirm(publisher, broker)
        other = publisher.add(self.lane(1))
        self.send(publisher, lane)
        assert set(publisher.lanes) == {lane, other}
        assert publisher.unconfirmed == 1
        self.confirm(publisher, broker)
        assert lane not in set(publisher.lanes)
        assert publisher.unconfirmed == 0

    def test_there_are_not_more_than_so_many(self) -> None:
        publisher, _ = self.make()
        for number in range(LANES_MAX):
            publisher.add(self.lane(number)).put(1)
        assert not publisher.has_room_for(self.lane(LANES_MAX))
        assert publisher.has_room_for(Lane(Owner(), "q", "t"))

    def test_a_task_with_a_key_is_a_batch_of_its_own(self) -> None:
        lane = self.lane(1)
        lane.put(1)
        lane.put(2)
        assert lane.is_full
        assert lane.cut().tasks == 1  # type: ignore[union-attr]


class TestManyConnections:
    def test_a_batch_goes_where_a_broker_is(self) -> None:
        brokers = [Broker(number) for number in range(2)]
        publisher = Publisher([b.connection for b in brokers], ["one", "two"])
        brokers[1].connection.tick(0.0)
        brokers[1].receive(0.0)
        publisher.handle(brokers[1].connection, 0.0)
        lane = publisher.add(Lane(Owner(), "q", "t"))
        lane.put(1)
        publisher.mark(lane)
        publisher.form_batches(0.0)
        assert [b.connection.unconfirmed for b in brokers] == [0, 1]


def test_a_lane_that_found_no_room_is_not_forgotten() -> None:
    """Another lane's batches filled the window; only a flush let its bodies go."""
    broker = Broker(0)
    publisher = Publisher([broker.connection], ["here"])
    lanes = [publisher.add(Lane(Owner(), f"q{i}", "t")) for i in range(WINDOW_BATCHES + 1)]
    for lane in lanes:
        lane.put(1)
        publisher.mark(lane)
    publisher.form_batches(0.0)
    assert [lane.gathered for lane in lanes[-2:]] == [0, 1]
    publisher.tick(0.0)
    broker.receive(0.0)
    publisher.handle(broker.connection, 0.0)
    broker.receive(0.0)
    broker.take(0, 0.0)
    publisher.handle(broker.connection, 0.0)
    publisher.form_batches(0.0)
    assert lanes[-1].gathered == 0


def test_a_broker_that_was_not_lost_is_not_back() -> None:
    """It heard us greet twice, and welcomes us twice."""
    publisher, broker = TestGivingUp().make()
    publisher.news.clear()
    broker.say(Welcome(b"broker00", 1000, 5000), now=0.0)
    assert publisher.handle(broker.connection, 0.0)
    assert not publisher.news
    broker.say(Refuse("unknown-peer", 0, ""), now=1.0)
    broker.say(Welcome(b"broker00", 1000, 5000), now=1.0)
    publisher.handle(broker.connection, 1.0)
    assert [news.text.split()[-1] for news in publisher.news][-1:] == ["back"]


def test_refusals_are_reported_once() -> None:
    publisher, broker = TestGivingUp().make()
    lane = publisher.add(Lane(Owner(), "q", "t"))
    lane.put(1)
    publisher.mark(lane)
    publisher.form_batches(0.0)
    broker.say(Refuse("too-large", 1, "no"), now=0.0)
    publisher.handle(broker.connection, 0.0)
    assert str(publisher.take_refusal()) == "no (too-large)"
    assert publisher.take_refusal() is None
    (news,) = publisher.news
    assert news.text == "the broker refused 1 tasks for queue 'q': no (too-large)"
    assert DONE == 0
