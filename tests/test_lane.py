"""Lanes: what gathers, when a batch is full, and who is asked for room."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.lane import BATCH_BYTES, BATCH_TASKS, BIG_BODY, Lane
from zqueue.protocol.codec import pack, unpack_bodies


class Producer:
    """Gives room, and counts how often it was asked for that and for service."""

    def __init__(self) -> None:
        self.asked: list[float | None] = []
        self.served = 0

    def make_room(self, lane: Lane, timeout: float | None) -> None:
        self.asked.append(timeout)
        lane.limit = BATCH_TASKS

    def service(self, lane: Lane | None = None) -> None:
        assert lane is not None
        self.served += 1


@pytest.fixture
def producer() -> Producer:
    return Producer()


@pytest.fixture
def lane(producer: Producer) -> Lane:
    """A busy lane, with room."""
    lane = Lane(producer, "q", "t")
    lane.limit = BATCH_TASKS
    lane.idle = False
    return lane


def body_of(nbytes: int) -> bytes:
    """A body of so many bytes when it is packed."""
    for head in (2, 3, 5):
        body = bytes(max(0, nbytes - head))
        if len(pack(body)) == nbytes:
            return body
    raise AssertionError(nbytes)


def test_the_first_body_asks_for_a_broker(producer: Producer) -> None:
    lane = Lane(producer, "q", "t")
    lane.add(1, 0.5)
    assert producer.asked == [0.5]
    assert producer.served == 1
    lane.add(2)
    assert producer.asked == [0.5]


def test_an_idle_lane_is_served_at_once(producer: Producer, lane: Lane) -> None:
    lane.add(1)
    assert producer.served == 0
    lane.idle = True
    lane.add(2)
    assert producer.served == 1


def test_what_cannot_be_packed_does_not_gather(lane: Lane) -> None:
    with pytest.raises(TypeError):
        lane.add(object())
    assert not lane.parts


def test_is_full_by_number(producer: Producer, lane: Lane) -> None:
    for i in range(BATCH_TASKS):
        assert not lane.is_full
        lane.add(i)
    assert lane.is_full
    assert (producer.asked, producer.served) == ([], 1)
    lane.add("one more")
    assert producer.asked == [None]


def test_is_full_by_size(producer: Producer, lane: Lane) -> None:
    half = body_of(BATCH_BYTES // 2)
    lane.add(half)
    lane.add(half)
    assert (lane.is_full, lane.limit, producer.served) == (False, BATCH_TASKS, 0)
    lane.add(body_of(BIG_BODY + 1))
    assert (lane.is_full, lane.limit, producer.served) == (True, 0, 1)
    lane.add("small")
    assert producer.asked == [None]


def test_small_bodies_are_only_counted(lane: Lane) -> None:
    for _ in range(BATCH_TASKS - 1):
        lane.add(body_of(BIG_BODY))
    assert not lane.is_full
    body, tasks = lane.cut()
    assert tasks == BATCH_TASKS - 1
    assert len(body) <= BATCH_BYTES


def test_cutting_makes_room(lane: Lane) -> None:
    for _ in range(3):
        lane.add(body_of(BATCH_BYTES // 2))
    assert lane.is_full
    body, tasks = lane.cut()
    assert tasks == 2
    assert len(body) <= BATCH_BYTES + 5
    assert not lane.is_full
    assert lane.cut()[1] == 1
    assert (lane.parts, lane.is_full) == ([], False)


def test_a_body_larger_than_a_batch_is_one(lane: Lane) -> None:
    big = body_of(3 * BATCH_BYTES)
    lane.add(big)
    lane.add("small")
    assert lane.cut() == (pack([big]), 1)
    assert lane.cut() == (pack(["small"]), 1)
    assert not lane.is_full


def test_a_batch_that_leaves_in_between_does_not_fill_the_lane(producer: Producer) -> None:
    """`add` takes no lock: a confirm may come, in another thread, between count and append."""

    class Interrupted(Lane):
        def grew(self, data: bytes) -> None:
            super().grew(data)
            self.cut()

    lane = Interrupted(producer, "q", "t")
    lane.limit = BATCH_TASKS
    lane.idle = False
    lane.add("small")
    lane.add(body_of(BATCH_BYTES + 1000))
    assert len(lane.parts) == 1
    assert lane.cut()[1] == 1
    assert not lane.is_full, "nothing is there to be sent, so nothing will ever make room"


@given(st.lists(st.sampled_from([1, 10, 32, 33, 40, 500, 20_000, 70_000]), max_size=60))
def test_nothing_is_lost_or_out_of_order(sizes: list[int]) -> None:
    lane = Lane(Producer(), "q", "t")
    lane.limit = BATCH_TASKS
    lane.idle = False
    for i, size in enumerate(sizes):
        lane.add([i, bytes(size)])
    came: list[int] = []
    while lane.parts:
        frame, tasks = lane.cut()
        bodies = unpack_bodies(frame)
        assert len(bodies) == tasks >= 1
        assert tasks == 1 or len(frame) <= BATCH_BYTES + 5
        came += [body[0] for body in bodies]
    assert came == list(range(len(sizes)))
    assert not lane.is_full
