"""Lanes: what gathers, when a batch is full, and who is asked for room."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.arguments import Arguments
from zqueue.client.flow import BATCHES_LEAST
from zqueue.client.lane import (
    BATCH_BYTES,
    BATCH_TASKS,
    Entrance,
    Lane,
    LaneState,
)
from zqueue.client.ordered import Stream
from zqueue.client.replies import FutureReply, TaskFuture
from zqueue.errors import BodyError, BrokerLost, Closed
from zqueue.wire.codec import array_length, pack
from zqueue.wire.options import TaskOptions
from zqueue.wire.unpacking import unpack_bodies

LONG_S = 20.0


class Producer:
    """Gives room, and counts how often it was asked for that and for service."""

    def __init__(self) -> None:
        self.asked: list[float | None] = []
        self.served = 0
        self.cut: list[bytes] = []
        self.cuts = False

    def make_room(self, lane: Lane, timeout: float | None) -> None:
        self.asked.append(timeout)
        lane.open()
        if self.cuts:
            self.cut.append(cut(lane)[0])

    def service(self, lane: Lane | None = None) -> None:
        assert lane is not None
        self.served += 1

    def step_aside(self) -> None:
        raise AssertionError("nobody waits here")


@pytest.fixture
def producer() -> Producer:
    return Producer()


@pytest.fixture
def lane(producer: Producer) -> Lane:
    """A busy lane, with room."""
    return busy(Lane(producer, "q", "t"))


def busy(lane: Lane) -> Lane:
    lane.open()
    lane.numbered(1)
    return lane


def cut(lane: Lane) -> tuple[bytes, int]:
    """The oldest batch and its number of bodies."""
    batch = lane.cut()
    return (b"", 0) if batch is None else (batch.frame, batch.tasks)


def body_of(nbytes: int) -> bytes:
    """A body of so many bytes when it is packed."""
    for head in (2, 3, 5):
        body = bytes(max(0, nbytes - head))
        if len(pack(body)) == nbytes:
            return body
    raise AssertionError(nbytes)


def cuts_of(lane: Lane) -> list[tuple[bytes, int]]:
    """All that gathered, cut."""
    return list(iter(lambda: cut(lane), (b"", 0)))


class TestAdding:
    def test_the_first_body_asks_for_a_broker(self, producer: Producer) -> None:
        lane = Lane(producer, "q", "t")
        assert (lane.queue, lane.task) == ("q", "t")
        assert lane.state == LaneState.WAITING
        lane.add(1, 0.5)
        assert producer.asked == [0.5]
        assert producer.served == 1
        lane.add(2)
        assert producer.asked == [0.5]
        assert cut(lane) == (pack([1, 2]), 2)

    def test_a_lane_that_is_not_open_asks_each_time(self) -> None:
        class Waiting(Producer):
            def make_room(self, lane: Lane, timeout: float | None) -> None:
                self.asked.append(timeout)

        producer = Waiting()
        lane = Lane(producer, "q", "t")
        for i in range(3):
            lane.add(i, float(i))
        lane.open()
        lane.add(3, 3.0)
        lane.close()
        lane.open()
        assert lane.state == LaneState.CLOSED, "for good"
        lane.add(4, 4.0)
        assert producer.asked == [0.0, 1.0, 2.0, 4.0]

    def test_nothing_gathers_if_there_is_no_room(self) -> None:
        class Lost(Producer):
            def make_room(self, lane: Lane, timeout: float | None) -> None:
                raise BrokerLost("no broker")

        lane = Lane(Lost(), "q", "t")
        with pytest.raises(BrokerLost):
            lane.add(1)
        assert lane.gathered == 0

    def test_an_idle_lane_is_served_at_once(self, producer: Producer, lane: Lane) -> None:
        lane.add(1)
        assert producer.served == 0
        lane.settled(1)
        lane.add(2)
        assert producer.served == 1

    def test_a_body_gathers_before_the_producer_is_called(self) -> None:
        """So a confirm that comes meanwhile finds it, or this finds the lane idle."""
        seen: list[int] = []

        class Looking(Producer):
            def service(self, lane: Lane | None = None) -> None:
                assert lane is not None
                seen.append(lane.gathered)

        lane = Lane(Looking(), "q", "t")
        lane.add(1)
        lane.add(2)
        assert seen == [1, 2]

    def test_putting_calls_nobody(self, producer: Producer) -> None:
        lane = Lane(producer, "q", "t")
        for i in range(BATCH_TASKS + 1):
            lane.put(i)
        assert (producer.asked, producer.served) == ([], 0)
        assert lane.is_full
        assert lane.gathered == BATCH_TASKS + 1

    @pytest.mark.parametrize("bad", [object(), {"a": "x" * 5000, "b": {1}}, 1 << 64, "\ud800"])
    def test_what_cannot_be_packed_does_not_gather(self, lane: Lane, bad: Any) -> None:
        lane.add("before")
        for call in (lane.add, lane.put):
            with pytest.raises(BodyError):
                call(bad)
        lane.add("after")
        assert lane.gathered == 2
        assert cut(lane) == (pack(["before", "after"]), 2)

    def test_a_body_may_send_while_it_is_packed(self, producer: Producer, lane: Lane) -> None:
        """It runs its own code, under whatever lock this thread holds."""

        class Sending(dict):  # type: ignore[type-arg]
            def items(self) -> Any:
                lane.add("inner")
                return super().items()

        lane.settled(1)
        lane.add(["x", Sending(a=1)])
        assert producer.served == 2
        assert unpack_bodies(cut(lane)[0]) == ["inner", ["x", {"a": 1}]]

    def test_knows_when_the_oldest_came(self, lane: Lane) -> None:
        began = time.monotonic()
        lane.add(1)
        between = time.monotonic()
        lane.add(2)
        batch = lane.cut()
        assert batch is not None
        assert began <= batch.since <= between
        later = time.monotonic()
        lane.add(3)
        assert lane.cut().since >= later  # type: ignore[union-attr]

    def test_delayed_ones_are_as_old_as_the_youngest(self, monkeypatch: Any) -> None:
        """None may run before its time."""
        clock = iter(range(10, 100))
        monkeypatch.setattr("zqueue.client.lane.monotonic", lambda: float(next(clock)))
        lane = Lane(Producer(), "q", "t", options=TaskOptions(delay_ms=60_000))
        lane.put(1)
        before = float(next(clock))
        lane.put(2)
        batch = lane.cut()
        assert batch is not None
        assert batch.tasks == 2
        assert batch.since > before

    def test_two_times_are_those_of_one_task(self) -> None:
        """The youngest of a batch decides when it is due, the oldest when it expires."""
        lane = Lane(Producer(), "q", "t", options=TaskOptions(delay_ms=1000, expires_ms=5000))
        lane.put(1)
        assert lane.is_full


class TestFull:
    def test_by_number(self, producer: Producer, lane: Lane) -> None:
        for i in range(BATCH_TASKS):
            assert not lane.is_full
            lane.add(i)
        assert lane.is_full
        assert (producer.asked, producer.served) == ([], 1)
        lane.add("one more", 0.25)
        assert producer.asked == [0.25]

    def test_by_size(self, producer: Producer, lane: Lane) -> None:
        half = body_of(BATCH_BYTES // 2)
        lane.add(half)
        lane.add(half)
        assert (lane.is_full, producer.asked, producer.served) == (False, [], 0)
        lane.add("x")
        assert (lane.is_full, producer.asked, producer.served) == (True, [], 1)
        lane.add("y")
        assert producer.asked == [None]
        assert cut(lane) == (pack([half, half]), 2)
        assert cut(lane) == (pack(["x", "y"]), 2)

    def test_room_was_made(self, producer: Producer, lane: Lane) -> None:
        producer.cuts = True
        for i in range(2 * BATCH_TASKS + 1):
            lane.add(i)
        assert producer.asked == [None, None]
        assert producer.cut == [
            pack(list(range(BATCH_TASKS))), pack(list(range(BATCH_TASKS, 2 * BATCH_TASKS))),
        ]  # fmt: skip
        assert lane.gathered == 1

    def test_cutting_makes_room(self, lane: Lane) -> None:
        for _ in range(3):
            lane.add(body_of(BATCH_BYTES // 2))
        assert lane.is_full
        frame, tasks = cut(lane)
        assert tasks == 2
        assert len(frame) <= BATCH_BYTES + 5
        assert not lane.is_full
        assert cut(lane)[1] == 1
        assert cut(lane) == (b"", 0)
        assert (lane.gathered, lane.is_full) == (0, False)

    def test_a_body_larger_than_a_batch_is_one(self, lane: Lane) -> None:
        big = body_of(3 * BATCH_BYTES)
        lane.add(big)
        assert lane.is_full
        lane.put("small")
        lane.put(big)
        assert cuts_of(lane) == [(pack([big]), 1), (pack(["small"]), 1), (pack([big]), 1)]
        assert not lane.is_full

    @given(st.lists(st.sampled_from([1, 10, 32, 33, 40, 500, 20_000, 70_000]), max_size=60))
    def test_nothing_is_lost_or_out_of_order(self, sizes: list[int]) -> None:
        lane = busy(Lane(Producer(), "q", "t"))
        for i, size in enumerate(sizes):
            lane.add([i, bytes(size)])
            assert lane.gathered == i + 1
        came: list[int] = []
        for frame, tasks in cuts_of(lane):
            bodies = unpack_bodies(frame)
            assert len(bodies) == tasks >= 1
            assert tasks == 1 or len(frame) <= BATCH_BYTES + 5
            came += [body[0] for body in bodies]
        assert came == list(range(len(sizes)))
        assert (lane.gathered, lane.is_full) == (0, False)


class Odd(dict):  # type: ignore[type-arg]
    """Packed by the reference, which lets other threads run meanwhile."""

    def items(self) -> Any:
        for _ in range(20):
            pass
        return super().items()


def bodies_from(who: int, count: int) -> Iterator[Any]:
    """Bodies of all kinds and sizes, which say who sent them and in what order."""
    for i in range(count):
        yield [
            [who, i],
            (who, i, {"name": "x" * (i % 300)}),
            [who, i, Odd(a=1)],
            [who, i, bytes(i % 5000)],
            [who, i, "é" * (i % 50), 1.5, None],
            [who, i],
            [who, i, bytearray(5)],
        ][i % 7]


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("method", ["add", "put"])
def test_eight_threads_add_while_another_cuts(method: str) -> None:
    """No body is lost, doubled or torn, and those of a thread stay in order."""
    threads, count = 8, 10_000
    lane = busy(Lane(Producer(), "q", "t"))
    begin = threading.Barrier(threads + 1)
    failed: list[BaseException] = []

    def send(who: int) -> None:
        add = getattr(lane, method)
        begin.wait(LONG_S)
        try:
            for i, body in enumerate(bodies_from(who, count)):
                add(body)
                if i % 50 == 0:
                    with pytest.raises(BodyError):
                        add(["x" * 1000, {"k": "\ud800" if i % 100 else object()}])
        except BaseException as error:
            failed.append(error)

    senders = [threading.Thread(target=send, args=(who,)) for who in range(threads)]
    for sender in senders:
        sender.start()
    begin.wait(LONG_S)
    frames: list[bytes] = []
    while any(sender.is_alive() for sender in senders):
        frame, tasks = cut(lane)
        if tasks:
            assert array_length(frame) == tasks
            frames.append(frame)
    frames += [frame for frame, _ in cuts_of(lane)]
    assert not failed
    assert len(frames) > 100, "otherwise nothing was tried"
    came: list[list[int]] = [[] for _ in range(threads)]
    for body in itertools.chain.from_iterable(map(unpack_bodies, frames)):
        came[body[0]].append(body[1])
    assert came == [list(range(count))] * threads
    assert (lane.gathered, lane.is_full) == (0, False)


class TestFutures:
    """A body and its future come together, or not at all."""

    def test_together(self, producer: Producer) -> None:
        lane = busy(Lane(producer, "q", "t", reply=True))
        futures = [TaskFuture[Any]() for _ in range(3)]
        for number, future in enumerate(futures):
            lane.put(number, future)
        frame, ours = self.cut(lane)
        assert (unpack_bodies(frame), ours) == ([0, 1, 2], futures)

    def cut(self, lane: Lane) -> tuple[bytes, list[Any]]:
        batch = lane.cut()
        assert batch is not None
        assert isinstance(batch.reply, FutureReply)
        return batch.frame, batch.reply._futures


class TestPolicy:
    """When a batch is due."""

    def test_a_body_of_an_idle_lane_at_once(self, producer: Producer) -> None:
        lane = Lane(producer, "q", "t")
        assert not lane.is_due(), "there is none"
        lane.put(1)
        assert lane.is_due()
        lane.numbered(1)
        assert not lane.is_due()
        assert not lane.is_idle
        lane.settled(1)
        assert lane.is_due()

    def test_a_full_batch_up_to_a_limit(self, lane: Lane) -> None:
        for i in range(BATCH_TASKS):
            assert not lane.is_due()
            lane.put(i)
        for _ in range(BATCHES_LEAST - 1):
            assert lane.is_due()
            lane.numbered(1)
        assert lane.in_flight == BATCHES_LEAST
        assert not lane.is_due()
        lane.settled(1)
        assert lane.is_due()

    def test_what_is_hurried_without_company(self, lane: Lane) -> None:
        lane.put(1)
        lane.hurry()
        assert lane.is_due()
        lane.cut()
        assert not lane.is_due()
        lane.put(2)
        assert not lane.is_due(), "that came later"

    def test_the_first_batches_of_a_stream_are_small(self, producer: Producer) -> None:
        stream = Stream(100)
        lane = busy(Lane(producer, "q", "t", stream=stream))
        sizes, source = [], iter(range(5 * BATCH_TASKS))
        while lane.fill(source) and lane.is_due():
            sizes.append(cut(lane)[1])
        assert sizes == [*(1 << i for i in range(11)), *[BATCH_TASKS] * 4]
        assert lane.gathered == 1
        assert len(stream._replies) == len(sizes)

    def test_what_is_given_up_fails(self, producer: Producer) -> None:
        lane = busy(Lane(producer, "q", "t", reply=True))
        future = TaskFuture[Any]()
        lane.put(1, future)
        (reply,) = lane.give_up()
        reply.fail(Closed("gone"))
        assert isinstance(future.exception(0), Closed)
        assert (lane.gathered, lane.state) == (0, LaneState.CLOSED)
        lane.add(2)
        assert producer.served == 1, "who still adds is told"


class TestFilling:
    """Bodies of a source gather until the owner is to be asked for service."""

    def test_alone_while_the_lane_is_idle(self, lane: Lane) -> None:
        lane.settled(1)
        source = iter(range(10))
        assert lane.fill(source) == 1
        lane.numbered(1)
        assert lane.fill(source) == 9
        assert lane.fill(source) == 0
        assert unpack_bodies(cut(lane)[0]) == list(range(10))

    def test_becomes_idle_while_the_source_is_asked(self, lane: Lane) -> None:
        def source() -> Iterator[int]:
            yield 1
            yield 2
            lane.settled(1)
            yield 3
            yield 4

        assert lane.fill(source()) == 3

    def test_names_the_body_by_its_number(self, lane: Lane) -> None:
        with pytest.raises(BodyError, match=r"^body 9: "):
            lane.fill(iter([0, 1, object(), 3]), 7)
        assert lane.gathered == 2

    def test_knows_when_they_came(self, lane: Lane) -> None:
        began = time.monotonic()
        lane.fill(iter(range(10)))
        batch = lane.cut()
        assert batch is not None
        assert began <= batch.since <= time.monotonic()


class Other:
    """Takes bodies, and is no lane."""

    def __init__(self) -> None:
        self.added: list[tuple[object, float | None]] = []

    def add(self, body: object, timeout: float | None = None) -> None:
        self.added.append((body, timeout))


ANY = Arguments("any", lambda *args, **named: None)


class TestEntrance:
    """What a task's `send` is."""

    def test_arguments_become_a_body(self, lane: Lane) -> None:
        send = Entrance(lambda: lane, None, ANY)
        send("a", 2)
        send()
        send("a", n=2)
        send(n=2)
        bodies = unpack_bodies(cut(lane)[0])
        assert bodies == [["a", 2], [], {"*": ["a"], "n": 2}, {"n": 2}]

    def test_a_body_can_be_given_as_it_is(self, lane: Lane) -> None:
        Entrance(lambda: lane, None, ANY).add({"a": 1})
        assert unpack_bodies(cut(lane)[0]) == [{"a": 1}]

    def test_a_lane_is_found_once_until_it_is_forgotten(self, producer: Producer) -> None:
        lanes = [busy(Lane(producer, "q", "t")) for _ in range(2)]
        found = iter(lanes)
        send = Entrance(lambda: next(found), None, ANY)
        for i in range(3):
            send(i)
        send.forget()
        send("other")
        assert [unpack_bodies(cut(lane)[0]) for lane in lanes] == [[[0], [1], [2]], [["other"]]]

    def test_a_lane_that_is_forgotten_while_it_is_found(self, producer: Producer) -> None:
        """Else a closed producer's lane would be kept for ever."""
        lanes = [busy(Lane(producer, "q", "t")) for _ in range(2)]
        found = iter(lanes)

        def find() -> Lane:
            lane = next(found)
            if lane is lanes[0]:
                send.forget()
            return lane

        send = Entrance(find, None, ANY)
        send(1)
        send(2)
        assert [unpack_bodies(cut(lane)[0]) for lane in lanes] == [[[1]], [[2]]]

    def test_anything_else_is_found_each_time(self) -> None:
        found: list[Other] = []

        def find() -> Other:
            found.append(Other())
            return found[-1]

        send = Entrance(find, 0.5, ANY)
        send(1)
        send(2)
        assert [each.added for each in found] == [[((1,), 0.5)], [((2,), 0.5)]]

    def test_waits_for_room_as_long_as_it_is_told(self, producer: Producer) -> None:
        for wait in (None, 0.0, 2.5):
            Entrance(lambda: Lane(producer, "q", "t"), wait, ANY)(1)
        assert producer.asked == [None, 0.0, 2.5]
