"""`MemoryQueue`: the same rules as `queue.Queue`, and batches."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.core.memory_queue import MemoryQueue

LONG_S = 20.0
"""Nothing here takes this long; a test that does has failed."""

SHORT_S = 0.02

Kind = Callable[[int], Any]


@pytest.fixture(params=[MemoryQueue, queue.Queue])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Ours, and the one that it must equal."""
    made: Kind = request.param
    return made


def start(function: Callable[..., object], *arguments: object) -> Callable[[], Any]:
    """Run something in a thread. Returns what waits for its end, and gives its result."""
    result: list[Any] = []
    error: list[BaseException] = []

    def run() -> None:
        try:
            result.append(function(*arguments))
        except BaseException as caught:
            error.append(caught)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def join() -> Any:
        thread.join(LONG_S)
        assert not thread.is_alive(), "it hangs"
        if error:
            raise error[0]
        return result[0]

    return join


class TestAsInTheStandardLibrary:
    def test_first_in_first_out(self, kind: Kind) -> None:
        q = kind(0)
        for i in range(5):
            q.put(i)
        assert q.qsize() == 5
        assert [q.get() for _ in range(5)] == [0, 1, 2, 3, 4]
        assert q.empty()

    @pytest.mark.parametrize("maxsize", [0, -1])
    def test_no_bound(self, kind: Kind, maxsize: int) -> None:
        q = kind(maxsize)
        for i in range(1000):
            q.put_nowait(i)
        assert not q.full()

    def test_full(self, kind: Kind) -> None:
        q = kind(2)
        q.put(1)
        assert not q.full()
        q.put(2)
        assert q.full()
        for put in (q.put_nowait, lambda x: q.put(x, False), lambda x: q.put(x, timeout=0),
                    lambda x: q.put(x, True, SHORT_S)):  # fmt: skip
            with pytest.raises(queue.Full):
                put(3)
        assert q.qsize() == 2

    def test_empty(self, kind: Kind) -> None:
        q = kind(2)
        for get in (q.get_nowait, lambda: q.get(False), lambda: q.get(timeout=0),
                    lambda: q.get(True, SHORT_S)):  # fmt: skip
            with pytest.raises(queue.Empty):
                get()

    def test_a_negative_timeout(self, kind: Kind) -> None:
        q = kind(2)
        with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
            q.put(1, timeout=-1)
        with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
            q.get(timeout=-0.1)
        assert q.qsize() == 0

    def test_a_negative_timeout_does_not_matter_without_waiting(self, kind: Kind) -> None:
        q = kind(2)
        q.put(1, block=False, timeout=-1)
        assert q.get(block=False, timeout=-1) == 1

    def test_get_waits_for_put(self, kind: Kind) -> None:
        q = kind(2)
        got = start(q.get)
        q.put("came")
        assert got() == "came"

    def test_put_waits_for_get(self, kind: Kind) -> None:
        q = kind(1)
        q.put(1)
        put = start(q.put, 2, True, LONG_S)
        assert q.get(timeout=LONG_S) == 1
        put()
        assert q.get(timeout=LONG_S) == 2

    @given(st.integers(-1, 4), st.lists(st.booleans(), max_size=40))
    def test_the_same_answers(self, maxsize: int, puts: list[bool]) -> None:
        ours: MemoryQueue[int] = MemoryQueue(maxsize)
        theirs: queue.Queue[int] = queue.Queue(maxsize)
        for i, is_put in enumerate(puts):
            answers = []
            for q in (ours, theirs):
                try:
                    answers.append(q.put_nowait(i) if is_put else q.get_nowait())
                except (queue.Full, queue.Empty) as error:
                    answers.append(type(error))  # type: ignore[arg-type]
                answers.append((q.qsize(), q.full(), q.empty()))  # type: ignore[arg-type]
            assert answers[:2] == answers[2:]


class TestBatches:
    def test_in_and_out(self) -> None:
        q: MemoryQueue[int] = MemoryQueue()
        q.put_batch(range(5))
        assert q.get_batch(3) == [0, 1, 2]
        assert q.get_batch(3) == [3, 4]
        assert repr(q) == "<MemoryQueue 0 of 0>"

    def test_an_empty_batch(self) -> None:
        q: MemoryQueue[int] = MemoryQueue(1)
        q.put(1)
        q.put_batch([])
        assert q.qsize() == 1

    def test_get_does_not_wait_for_more_than_one(self) -> None:
        q: MemoryQueue[int] = MemoryQueue()
        got = start(q.get_batch, 10)
        q.put(1)
        assert got() == [1]

    def test_get_in_vain_is_an_empty_list(self) -> None:
        q: MemoryQueue[int] = MemoryQueue()
        assert q.get_batch(10, timeout=0) == []
        assert q.get_batch(10, timeout=SHORT_S) == []

    def test_put_says_how_many_were_added(self) -> None:
        q: MemoryQueue[int] = MemoryQueue(3)
        with pytest.raises(queue.Full) as caught:
            q.put_batch(range(5), timeout=SHORT_S)
        assert caught.value.args == (3,)
        assert q.get_batch(10) == [0, 1, 2]

    def test_put_waits_for_room_as_often_as_it_must(self) -> None:
        q: MemoryQueue[int] = MemoryQueue(2)
        put = start(q.put_batch, range(11), LONG_S)
        assert [q.get(timeout=LONG_S) for _ in range(11)] == list(range(11))
        put()
        assert q.empty()

    def test_one_put_wakes_all_who_wait(self) -> None:
        q: MemoryQueue[int] = MemoryQueue()
        gets = [start(q.get, True, LONG_S) for _ in range(4)]
        q.put_batch(range(4))
        assert sorted(get() for get in gets) == [0, 1, 2, 3]

    def test_one_get_wakes_all_who_wait(self) -> None:
        q: MemoryQueue[int] = MemoryQueue(4)
        q.put_batch(range(4))
        puts = [start(q.put, i, True, LONG_S) for i in range(4, 8)]
        got = q.get_batch(4)
        for put in puts:
            put()
        assert got == [0, 1, 2, 3]
        assert sorted(q.get_batch(9)) == [4, 5, 6, 7]

    @pytest.mark.parametrize("count", [0, -1])
    def test_a_batch_of_nothing_cannot_be_got(self, count: int) -> None:
        with pytest.raises(ValueError, match="'max_items' must be at least 1"):
            MemoryQueue[int]().get_batch(count)

    def test_negative_timeouts(self) -> None:
        q: MemoryQueue[int] = MemoryQueue(1)
        with pytest.raises(ValueError, match="non-negative"):
            q.put_batch([1], timeout=-1)
        with pytest.raises(ValueError, match="non-negative"):
            q.get_batch(1, timeout=-1)
        assert q.empty()


END = (-1, -1)
EACH = 1200
"""Items of one producer."""


def produce(q: MemoryQueue[tuple[int, int]], name: int, batched: bool) -> None:
    items = [(name, i) for i in range(EACH)]
    while items:
        size = 1 + len(items) % 13 if batched else 1
        if batched:
            q.put_batch(items[:size], timeout=LONG_S)
        else:
            q.put(items[0], timeout=LONG_S)
        del items[:size]


def consume(q: MemoryQueue[tuple[int, int]], batched: bool) -> list[tuple[int, int]]:
    got: list[tuple[int, int]] = []
    while True:
        batch = q.get_batch(5, timeout=LONG_S) if batched else [q.get(timeout=LONG_S)]
        assert 0 < len(batch) <= 5
        assert q.maxsize <= 0 or q.qsize() <= q.maxsize
        ends = batch.count(END)
        got += [item for item in batch if item != END]
        if ends:
            for _ in range(ends - 1):  # Somebody else's.
                q.put(END, timeout=LONG_S)
            return got


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("maxsize", [0, 1, 7, 100])
def test_four_producers_and_four_consumers(maxsize: int, batched: bool) -> None:
    """Nothing is lost or doubled; what one producer put, one consumer gets in its order."""
    q: MemoryQueue[tuple[int, int]] = MemoryQueue(maxsize)
    consumers = [start(consume, q, batched) for _ in range(4)]
    producers = [start(produce, q, name, batched) for name in range(4)]
    for join in producers:
        join()
    for _ in consumers:
        q.put(END, timeout=LONG_S)
    got = [join() for join in consumers]
    assert q.empty()
    assert sorted(itertools.chain(*got)) == [(name, i) for name in range(4) for i in range(EACH)]
    for items in got:
        for name in range(4):
            mine = [i for producer, i in items if producer == name]
            assert mine == sorted(mine)
