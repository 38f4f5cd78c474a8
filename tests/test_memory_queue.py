"""`MemoryQueue`: the same rules as `queue.Queue`, which is asked too, and batches."""

from __future__ import annotations

import gc
import inspect
import itertools
import queue
import signal
import sys
import threading
import tracemalloc
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from time import monotonic
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue import memory_queue
from zqueue.memory_queue import MemoryQueue, ShutDown

LONG_S = 20.0
"""Nothing here takes this long; a test that does has failed."""

SHORT_S = 0.02

COMPILED = not str(memory_queue.__file__).endswith(".py")

Kind = Callable[..., Any]
Join = Callable[[], Any]


@pytest.fixture(params=[MemoryQueue, queue.Queue])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Ours, and the one that it must equal."""
    made: Kind = request.param
    return made


@pytest.fixture
def kind_313(kind: Kind) -> Kind:
    """The same, where there is what came with Python 3.13."""
    if not hasattr(kind, "shutdown"):
        pytest.skip("this Python's queue.Queue cannot be shut down")
    return kind


def start(function: Callable[..., object], *arguments: object) -> Join:
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


def in_line(q: Any) -> int:
    """How many threads stand in the lines of a queue."""
    if isinstance(q, queue.Queue):
        return sum(len(c._waiters) for c in (q.not_empty, q.not_full, q.all_tasks_done))
    lists = gc.get_referents(q)
    for thing in lists:
        if type(thing) is dict:
            lists += thing.values()
    kind_of_lock = type(threading.Lock())
    return sum(type(x) is kind_of_lock for line in lists if type(line) is list for x in line)


def waiting(q: Any, function: Callable[..., object], *arguments: object) -> Join:
    """Start a call that has to wait for a queue, and see that it does."""
    before = in_line(q)
    join = start(function, *arguments)
    deadline = monotonic() + LONG_S
    while in_line(q) == before:
        assert monotonic() < deadline, "it does not wait"
        threading.Event().wait(0.001)
    return join


class TestAsInTheStandardLibrary:
    @pytest.mark.parametrize("maxsize", [2, 2.0, 1.5, Fraction(3, 2), Decimal(2)])
    def test_full(self, kind: Kind, maxsize: int) -> None:
        q = kind(maxsize)
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
        for call in (lambda: q.put(1, timeout=-1), lambda: q.get(timeout=-0.1),
                     lambda: (q.put(1), q.get(timeout=-1))):  # fmt: skip
            with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
                call()
        assert q.qsize() == 1

    def test_wrong_types(self, kind: Kind) -> None:
        q = kind(2)
        q.put(1)
        for call in (lambda: q.put(1, timeout="1"), lambda: q.get(timeout="1"),
                     lambda: q.get(timeout=Decimal(1)), lambda: q.put(),
                     lambda: q.put(1, True, None, 4), lambda: q.get(True, None, 3),
                     lambda: q.put(1, wait=True), lambda: q.put_nowait(1, 2),
                     lambda: kind(None).put(1), lambda: kind("2").put(1)):  # fmt: skip
            with pytest.raises(TypeError):
                call()
        q.put(2, timeout=1e20)
        with pytest.raises(OverflowError):
            q.put(3, timeout=1e20)
        assert (q.get(timeout=True), q.get(timeout=Fraction(1)), q.qsize()) == (1, 2, 0)

    def test_signatures(self) -> None:
        for name in ("put", "get", "put_nowait", "get_nowait", "task_done", "join"):
            ours, theirs = (
                inspect.signature(getattr(q(), name)).parameters for q in (MemoryQueue, queue.Queue)
            )
            assert [(p, ours[p].default) for p in ours] == [(p, theirs[p].default) for p in theirs]

    def test_one_waits_for_the_other(self, kind: Kind) -> None:
        q = kind(1)
        got = waiting(q, q.get)
        q.put("came")
        assert got() == "came"
        q.put(1)
        put = waiting(q, q.put, 2)
        assert q.get() == 1
        put()
        assert q.get(timeout=LONG_S) == 2

    def test_what_comes_before_one_sleeps_is_seen(self) -> None:
        q: MemoryQueue[int] = MemoryQueue()

        class Long(float):
            def __radd__(self, now: float) -> Long:
                return self

            def __sub__(self, now: float) -> float:
                """Asked for just before."""
                q.put(1)
                return 1e6

        assert start(q.get, True, Long(1))() == 1

    def test_maxsize_can_be_changed(self, kind: Kind) -> None:
        q = kind(3)
        assert q.maxsize == 3
        for i in range(3):
            q.put_nowait(i)
        q.maxsize = 2
        for left in (3, 2):
            with pytest.raises(queue.Full):
                q.put_nowait(9)
            assert q.qsize() == left
            q.get()
        assert not q.full()
        q.maxsize = 200
        for i in range(199):
            q.put_nowait(i)
        assert q.full()
        q.maxsize = -1
        q.put_nowait(9)
        assert (q.maxsize, q.qsize(), q.get()) == (-1, 201, 2)

    def test_what_leaves_the_queue_is_let_go(self, kind: Kind) -> None:
        q = kind(1)
        for _ in range(10):
            q.put(set())
            reference = weakref.ref(q.get())
            assert reference() is None
        q.put([q])
        reference = weakref.ref(q)
        assert reference() is q
        del q
        gc.collect()
        assert reference() is None

    def test_subclasses(self, kind: Any) -> None:
        class Twice(kind[int]):  # type: ignore[misc]
            def put(self, item: int, block: bool = True, timeout: float | None = None) -> None:
                super().put(item, block, timeout)
                super().put(item, block, timeout)

            def get(self, block: bool = True, timeout: float | None = None) -> object:
                return super().get(block, timeout), super().get(block, timeout)

        q = Twice(8)
        q.name = "it has attributes"
        q.put_nowait(1)
        assert q.qsize() == 2
        assert q.get_nowait() == (1, 1)

    def test_it_can_be_begun_anew(self, kind: Kind) -> None:
        q = kind(2)
        q.put(1)
        q.__init__(1)
        assert (q.maxsize, q.qsize(), q.unfinished_tasks) == (1, 0, 0)
        q.put_nowait(2)
        assert q.full()

    @given(
        st.integers(-1, 4),
        st.lists(st.sampled_from(["put", "put", "get", "done", "maxsize"]), max_size=60),
    )
    def test_the_same_answers(self, maxsize: int, steps: list[str]) -> None:
        def answer(q: Any, i: int, step: str) -> object:
            try:
                match step:
                    case "put":
                        q.put_nowait(i)
                    case "get":
                        return q.get_nowait()
                    case "done":
                        q.task_done()
                    case "maxsize":
                        q.maxsize = i % 7
            except (queue.Full, queue.Empty, ValueError) as error:
                return repr(error)
            return None

        both = MemoryQueue[int](maxsize), queue.Queue[int](maxsize)
        for i, step in enumerate(steps):
            ours, theirs = (
                (answer(q, i, step), q.qsize(), q.full(), q.empty(), q.unfinished_tasks)
                for q in both
            )
            assert ours == theirs


class TestTasks:
    def test_join_waits_for_all_tasks_to_be_done(self, kind: Kind) -> None:
        q = kind()
        for i in range(3):
            q.put(i)
        joined = [waiting(q, q.join) for _ in range(2)]
        for left in (2, 1, 0):
            q.get()
            q.task_done()
            assert q.unfinished_tasks == left
        for join in joined:
            join()


class TestShutDown:
    def test_what_is_there_can_still_be_got(self, kind_313: Kind) -> None:
        q = kind_313(3)
        for i in range(3):
            q.put(i)
        assert not q.is_shutdown
        q.shutdown()
        assert q.is_shutdown
        for put in (q.put, q.put_nowait, lambda x: q.put(x, False), lambda x: q.put(x, timeout=-1)):
            with pytest.raises(ShutDown):
                put(9)
        assert [q.get(), q.get_nowait(), q.get(timeout=LONG_S)] == [0, 1, 2]
        for get in (q.get, q.get_nowait, lambda: q.get(timeout=-1)):
            with pytest.raises(ShutDown):
                get()
        assert q.unfinished_tasks == 3

    def test_immediate(self, kind_313: Kind) -> None:
        q = kind_313()
        for i in range(5):
            q.put(i)
        q.get()
        q.get()
        q.task_done()
        joined = waiting(q, q.join)
        q.shutdown(immediate=True)
        assert (q.qsize(), q.unfinished_tasks) == (0, 1)
        for call in (q.get, q.get_nowait, lambda: q.put(1)):
            with pytest.raises(ShutDown):
                call()
        q.task_done()
        joined()

    @pytest.mark.parametrize("immediate", [False, True])
    def test_those_who_wait_are_told(self, kind_313: Kind, immediate: bool) -> None:
        empty, full = kind_313(), kind_313(1)
        full.put(1)
        calls = [waiting(empty, empty.get) for _ in range(3)]
        calls += [waiting(full, full.put, i, True, LONG_S) for i in range(3)]
        empty.shutdown(immediate)
        full.shutdown(immediate)
        for call in calls:
            with pytest.raises(ShutDown):
                call()
        assert full.qsize() == (not immediate)

    def test_batches(self) -> None:
        q: MemoryQueue[int] = MemoryQueue(4)
        put = waiting(q, q.put_batch, range(6))
        q.shutdown()
        with pytest.raises(ShutDown) as caught:
            put()
        assert caught.value.args == (4,)
        with pytest.raises(ShutDown):
            q.put_batch([4])
        assert q.get_batch(9) == [0, 1, 2, 3]
        with pytest.raises(ShutDown):
            q.get_batch(9, timeout=0)

    def test_what_is_dropped_may_use_the_queue(self) -> None:
        q: MemoryQueue[object] = MemoryQueue()
        seen: list[object] = []

        class Last:
            def __del__(self) -> None:
                seen.append(q.qsize())
                try:
                    q.put(1)
                except ShutDown:
                    seen.append("shut")

        q.put(Last())
        q.shutdown(immediate=True)
        gc.collect()
        assert seen == [0, "shut"]


class TestBatches:
    def test_what_was_done_when_the_time_is_up(self) -> None:
        q: MemoryQueue[int] = MemoryQueue(3)
        assert q.get_batch(10, timeout=0) == q.get_batch(10, timeout=SHORT_S) == []
        with pytest.raises(queue.Full) as caught:
            q.put_batch(range(5), timeout=SHORT_S)
        assert caught.value.args == (3,)
        assert q.get_batch(10) == [0, 1, 2]

    def test_what_is_being_put_cannot_be_changed(self) -> None:
        q: MemoryQueue[int] = MemoryQueue(2)
        items = [0, 1, 2, 3]
        put = waiting(q, q.put_batch, items, LONG_S)
        items.clear()
        assert [q.get(timeout=LONG_S) for _ in range(4)] == [0, 1, 2, 3]
        put()

    @pytest.mark.parametrize("by", ["get_batch", "maxsize"])
    def test_all_who_wait_for_room_are_woken(self, by: str) -> None:
        q: MemoryQueue[int] = MemoryQueue(4)
        q.put_batch(range(4))
        puts = [waiting(q, q.put, i) for i in range(4, 8)]
        got = []
        if by == "maxsize":
            q.maxsize = 8
        else:
            got += q.get_batch(4)
        for put in puts:
            put()
        got += q.get_batch(9)
        assert (got[:4], sorted(got[4:])) == ([0, 1, 2, 3], [4, 5, 6, 7])

    def test_numbers(self) -> None:
        q: MemoryQueue[int] = MemoryQueue(1)
        for call in (lambda: q.put_batch([1], timeout=-1), lambda: q.get_batch(1, timeout=-1)):
            with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
                call()
        q.put(1)
        for count in (0, -1):
            with pytest.raises(ValueError, match="'max_items' must be at least 1"):
                q.get_batch(count)
        with pytest.raises(TypeError):
            q.get_batch(1.5)  # type: ignore[arg-type]
        assert q.get_batch(1 << 100) == [1]

    @given(
        st.sampled_from([0, 1, 3, 64, 65, 200]),
        st.lists(st.tuples(st.booleans(), st.integers(0, 130)), max_size=30),
    )
    def test_any_sequence(self, maxsize: int, steps: list[tuple[bool, int]]) -> None:
        """Against a deque: the ring grows, wraps around, is filled and emptied."""
        q: MemoryQueue[int] = MemoryQueue(maxsize)
        expected: deque[int] = deque()
        number = itertools.count()
        for is_put, count in steps:
            if is_put:
                items = list(itertools.islice(number, count))
                fits = items[: max(0, (maxsize or 1 << 20) - len(expected))]
                expected += fits
                if fits == items:
                    q.put_batch(items, timeout=0)
                else:
                    with pytest.raises(queue.Full) as caught:
                        q.put_batch(items, timeout=0)
                    assert caught.value.args == (len(fits),)
            elif count:
                wanted = [expected.popleft() for _ in range(min(count, len(expected)))]
                assert q.get_batch(count, timeout=0) == wanted
            assert q.qsize() == len(expected)


class Alarm(Exception):
    pass


def interrupted(wait: Callable[[], object]) -> None:
    """Wait, and let the alarm ring meanwhile."""
    signal.setitimer(signal.ITIMER_REAL, SHORT_S)
    wait()


class TestInterrupted:
    @pytest.fixture(autouse=True)
    def _alarm(self) -> Iterator[None]:
        """A signal that comes when a wait has begun, and raises as Ctrl-C does."""

        def ring(*_: object) -> None:
            raise Alarm

        before = signal.signal(signal.SIGALRM, ring)
        yield
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    @pytest.mark.parametrize("timeout", [None, LONG_S])
    def test_every_wait_can_be(self, kind: Kind, timeout: float | None) -> None:
        q = kind(1)
        q.put(1)
        for wait in (lambda: q.put(2, True, timeout), q.join):
            with pytest.raises(Alarm):
                interrupted(wait)
        assert q.get() == 1
        with pytest.raises(Alarm):
            interrupted(lambda: q.get(True, timeout))
        q.task_done()
        q.put(3)
        assert (q.get(), q.qsize()) == (3, 0)

    def test_who_left_the_line_is_not_woken(self, kind: Kind) -> None:
        q = kind(1)
        for _ in range(3):
            with pytest.raises(Alarm):
                interrupted(q.get)
            with pytest.raises(queue.Empty):
                q.get(timeout=SHORT_S)
        got = waiting(q, q.get)
        q.put(1)
        assert got() == 1

    def test_who_gives_up_though_woken_wakes_the_next_one(self) -> None:
        """Where `queue.Queue` would leave that one in_line beside an item."""
        q: MemoryQueue[int] = MemoryQueue()
        other: list[Join] = []

        def ring(*_: object) -> None:
            other.append(waiting(q, q.get))
            q.put(1)
            raise Alarm

        signal.signal(signal.SIGALRM, ring)
        with pytest.raises(Alarm):
            interrupted(q.get)
        assert other[0]() == 1


class TestMemory:
    def test_steady_state_allocates_nothing(self) -> None:
        q: MemoryQueue[object] = MemoryQueue(64)
        item = object()

        def pairs(count: int) -> None:
            for _ in itertools.repeat(None, count):
                q.put(item)
                q.get()

        pairs(100)
        blocks = sys.getallocatedblocks()
        pairs(10_000)
        assert sys.getallocatedblocks() - blocks < 10
        tracemalloc.start()
        try:
            pairs(100)
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            pairs(10_000)
            # Not even for a moment; the interpreter allocates the counts.
            assert tracemalloc.get_traced_memory()[1] - before < (300 if COMPILED else 2000)
        finally:
            tracemalloc.stop()


@pytest.mark.skipif(not COMPILED, reason="a lock that is held cannot be acquired")
def test_finalizers_may_use_it_at_any_time() -> None:
    """They run inside of calls to the queue, where the garbage collector is set off."""
    q: MemoryQueue[int]
    number, turn = itertools.count(), itertools.count()
    got: list[int] = []

    class Cycle:
        def __init__(self, most: int) -> None:
            self.me, self.most = self, most

        def __del__(self) -> None:
            q.put_batch(itertools.islice(number, self.most))
            got.extend(q.get_batch(100, timeout=0))

    def use(size: int) -> None:
        items = list(itertools.islice(number, size))
        lists: list[object] = []
        for call in (lambda: q.put_batch(items), lambda: q.get_batch(size, timeout=0)):
            # Lists that are used again set off nothing. And each time it is another one's turn.
            for _ in range(100 + next(turn) % 7):
                lists.append([])
            Cycle(size * 7 % 500)
            got.extend(call() or ())

    before = gc.get_threshold()
    gc.set_threshold(3)
    try:
        for size in range(1, 150):
            q = MemoryQueue()
            gc.enable()
            use(size)
            gc.disable()
            got += q.get_batch(1 << 30, timeout=0)
    finally:
        gc.set_threshold(*before)
        gc.enable()
    assert sorted(got) == list(range(next(number)))


END = (-1, -1)
EACH = 1000
"""Items of one producer."""

Item = tuple[int, int]


def in_time(call: Callable[[float], Any], error: type[Exception]) -> Any:
    """Try until it does not take too long."""
    timeouts = itertools.cycle([0, 1e-6, 1e-4])
    while True:
        try:
            return call(next(timeouts))
        except error:
            pass


def produce(q: MemoryQueue[Item], name: int, way: str) -> None:
    items = [(name, i) for i in range(EACH)]
    while items:
        size = 1 + len(items) % 13 if way == "batches" else 1
        if way == "batches":
            q.put_batch(items[:size], timeout=LONG_S)
        elif way == "hasty" and name % 2:
            in_time(lambda timeout: q.put(items[0], timeout=timeout), queue.Full)
        else:
            q.put(items[0], timeout=LONG_S)
        del items[:size]


def consume(q: MemoryQueue[Item], name: int, way: str) -> list[Item]:
    got: list[Item] = []
    while True:
        if way == "batches":
            batch = q.get_batch(5, timeout=LONG_S)
        elif way == "hasty" and name % 2:
            batch = [in_time(lambda timeout: q.get(timeout=timeout), queue.Empty)]
        else:
            batch = [q.get(timeout=LONG_S)]
        assert 0 < len(batch) <= 5
        assert q.maxsize <= 0 or q.qsize() <= q.maxsize
        ends = batch.count(END)
        got += [item for item in batch if item != END]
        for _ in batch:
            q.task_done()
        if ends:
            for _ in range(ends - 1):  # Somebody else's.
                q.put(END, timeout=LONG_S)
            return got


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("way", ["singles", "batches", "hasty"])
@pytest.mark.parametrize("maxsize", [0, 1, 7, 100])
def test_four_producers_and_four_consumers(maxsize: int, way: str) -> None:
    """Nothing is lost or doubled; what one producer put, one consumer gets in its order.

    The hasty ones give up waiting all the time, and that leaves nobody else in_line.
    """
    q: MemoryQueue[Item] = MemoryQueue(maxsize)
    consumers = [start(consume, q, name, way) for name in range(4)]
    producers = [start(produce, q, name, way) for name in range(4)]
    for join in producers:
        join()
    for _ in consumers:
        q.put(END, timeout=LONG_S)
    start(q.join)()
    got = [join() for join in consumers]
    assert q.empty()
    assert sorted(itertools.chain(*got)) == [(name, i) for name in range(4) for i in range(EACH)]
    for items in got:
        for name in range(4):
            mine = [i for producer, i in items if producer == name]
            assert mine == sorted(mine)
