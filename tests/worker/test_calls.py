"""Calls: a batch's tasks in a row, what becomes of each, and that none is both run and returned."""

from __future__ import annotations

import gc
import sys
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgpack import ExtType

from zqueue.errors import ProtocolError
from zqueue.handlers import Handler
from zqueue.stats.meter import TaskMeter
from zqueue.wire.codec import COMPILED, pack
from zqueue.wire.messages import FAILED
from zqueue.wire.results import error_frame, pack_outcomes
from zqueue.wire.traced import TRACED, traced
from zqueue.wire.unpacking import unpack_bodies
from zqueue.worker.calls import Calls

LONG_S = 20.0
HERE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
THERE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


def calls_of(
    function: Any, frame: bytes, tasks: int, *, named: bool = True, keep: bool = True, **more: Any
) -> Calls:
    return Calls(Handler("t", "q", function), frame, tasks, named=named, keep=keep, **more)


def calls(function: Any, bodies: list[Any], **options: Any) -> Calls:
    return calls_of(function, pack(bodies), len(bodies), **options)


def run_all(c: Calls) -> None:
    """As a worker does: an exception ends a call of `run`, and it goes on behind it."""
    while c.position < c.total - c.given_up:
        try:
            c.run(c.total)
        except BaseException as error:
            c.fail(error)


def run_one_by_one(c: Calls, count: int = sys.maxsize) -> None:
    """As a worker does that has a clock at hand."""
    while count > 0 and (task := c.next_task()) is not None:
        count -= 1
        try:
            c.keep(task())
        except (TypeError, ValueError, ProtocolError) as error:
            c.fail(error)


def test_the_traceback_of_a_failure_begins_with_the_handler() -> None:
    """How a worker came to call it is of no use to its author."""

    def look_up(key: str) -> None:
        raise KeyError(key)

    c = calls(lambda key: look_up(key), [["name"]])
    run_all(c)
    ((_, error),) = c.take_outcomes()[3]
    frames = error.__traceback__
    assert frames is not None
    error = error.with_traceback(frames.tb_next)  # Without `run_all`, which is a test's.
    ((_, _, lines),) = unpack_bodies(error_frame(error))
    head, first, *rest = lines.splitlines()
    assert head.startswith("Traceback")
    assert first.endswith("in <lambda>")
    assert [line for line in rest if "in look_up" in line]


def kinds(failures: list[tuple[int, BaseException]]) -> list[tuple[int, type[BaseException]]]:
    return [(position, type(error)) for position, error in failures]


steps = st.lists(st.integers(0, 5) | st.sampled_from(["one", "take", "give up"]), max_size=20)


class TestArguments:
    def test_named(self) -> None:
        def add(a: int, b: int = 10) -> int:
            return a + b

        c = calls(add, [[1], [1, 2], {"a": 5}, {"*": [7], "b": 1}, {"*": [3, 4]}])
        run_all(c)
        assert c.values == [11, 3, 15, 8, 7]
        assert c.failures == []

    @pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 15, 16, 300])
    def test_so_many(self, count: int) -> None:
        args = tuple(range(count))
        named = {f"k{i}": i for i in args}
        c = calls(lambda *args, **kwargs: (args, kwargs), [args, named, {"*": args, "k": 1}])
        run_all(c)
        assert c.values == [(args, {}), ((), named), (args, {"k": 1})]

    def test_plain_bodies_are_the_one_argument(self) -> None:
        bodies = [[1, 2], {"a": 1}, {"*": [1]}, None, 7, "text"]
        c = calls(lambda body: body, bodies, named=False)
        run_all(c)
        assert c.values == bodies

    @pytest.mark.parametrize("function", [len, str, int, dict, [].append, "{} {}".format, Handler])
    def test_any_callable_can_be_a_handler(self, function: Callable[..., Any]) -> None:
        c = calls(function, [["12"], ["a", "b"], []])
        expected: list[Any] = []
        for args in (["12"], ["a", "b"], []):
            try:
                expected.append(function(*args))
            except Exception as error:
                expected.append(str(error))
        run_all(c)
        assert c.values is not None
        failed = {position: str(error) for position, error in c.failures}
        assert [failed.get(i, value) for i, value in enumerate(c.values)] == expected

    def test_bodies_that_are_no_calls_fail_alone(self) -> None:
        c = calls(lambda: "ok", [[], 7, {}, None, {"*": 1}, {1: 2}, []])
        run_all(c)
        assert c.values == ["ok", None, "ok", None, None, None, "ok"]
        assert kinds(c.failures) == [(i, ProtocolError) for i in (1, 3, 4, 5)]

    def test_a_body_is_gone_when_its_task_is_over(self) -> None:
        """Each is unpacked when it is its turn: of many large ones, there is only one at a time."""
        seen: list[int] = []

        def take(body: list[str]) -> None:
            seen.append(sys.getrefcount(body))

        run_all(calls(take, [[["x" * 100]] for _ in range(3)]))
        assert len(set(seen)) == 1

    @pytest.mark.parametrize("count", [1, 8, 9])
    def test_arguments_are_let_go_however_it_ends(self, count: int) -> None:
        kept: list[Any] = []

        def fail(*arguments: Any) -> None:
            kept.extend(arguments)
            if len(kept) == count:
                raise ValueError

        run_all(calls(fail, [[[i, j] for j in range(count)] for i in range(2)]))
        gc.collect()
        assert [kept.count(each) for each in kept] == [1] * 2 * count
        assert {sys.getrefcount(kept[i]) for i in range(count, 2 * count)} == {2}
        broken = b"\x92" + pack([["text" * 10] * 3, 1]) + b"\x93" + pack(["text" * 10]) + b"\xc1"
        tracemalloc.start()
        for turn in range(200):
            if turn == 50:
                gc.collect()
                before, _ = tracemalloc.get_traced_memory()
            run_all(calls_of(print, broken, 2, keep=False))
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert after - before < 5_000


class TestOutcomes:
    def test_values_nobody_wants_are_not_kept(self) -> None:
        seen: list[int] = []
        c = calls(seen.append, [[1], [2], []], keep=False)
        run_all(c)
        assert seen == [1, 2]
        assert c.values is None
        _, _, values, failures = c.take_outcomes()
        assert (values, kinds(failures)) == (None, [(2, TypeError)])
        assert c.take_outcomes() == (3, 0, None, [])

    def test_goes_on_behind_an_exception(self) -> None:
        def divide(a: int, b: int) -> float:
            return a / b

        c = calls(divide, [[6, 2], [1, 0], [8, 2], [1, "x"], {"a": 9, "b": 3}, [1]])
        run_all(c)
        assert c.values == [3.0, None, 4.0, None, 3.0, None]
        assert kinds(c.failures) == [(1, ZeroDivisionError), (3, TypeError), (5, TypeError)]

    @pytest.mark.parametrize(
        "error", [StopIteration("mine"), StopAsyncIteration(), GeneratorExit(), KeyboardInterrupt(),
                  SystemExit(3), BaseException("any"), MemoryError(), RecursionError()], ids=repr
    )  # fmt: skip
    def test_any_exception_is_an_ordinary_failure(self, error: BaseException) -> None:
        """Even one that ends an iterator, or a process, elsewhere."""

        def fail(i: int) -> int:
            if i in (0, 2, 3):
                raise error
            return i

        c = calls(fail, [[i] for i in range(5)])
        with pytest.raises(type(error)) as caught:
            c.run(5)
        assert caught.value is error
        assert c.position == 1
        c.fail(error)
        run_all(c)
        assert c.values == [None, 1, None, None, 4]
        assert c.failures == [(0, error), (2, error), (3, error)]

    def test_so_many_at_a_time(self) -> None:
        c = calls(lambda x: x, [[i] for i in range(5)])
        c.run(2)
        assert (c.total, c.position, c.values) == (5, 2, [0, 1])
        c.run(0)
        c.run(2)
        assert (c.position, c.values) == (4, [0, 1, 2, 3])
        c.run(2)
        assert (c.position, c.values) == (5, [0, 1, 2, 3, 4])
        c.run(1)
        assert (c.total, c.position, c.given_up) == (5, 5, 0)

    def test_are_taken_as_they_come(self) -> None:
        c = calls(lambda x: 1 / x, [[1], [0], [2], [0], [4]])
        c.run(1)
        assert c.take_outcomes() == (0, 1, [1.0], [])
        with pytest.raises(ZeroDivisionError) as caught:
            c.run(4)
        c.fail(caught.value)
        c.run(1)
        assert c.take_outcomes() == (1, 2, [None, 0.5], [(1, caught.value)])
        assert c.take_outcomes() == (3, 0, None, [])
        run_all(c)
        _, _, values, failures = c.take_outcomes()
        assert (values, kinds(failures)) == ([None, 0.25], [(3, ZeroDivisionError)])

    @given(st.lists(st.booleans(), min_size=1, max_size=30), steps)
    def test_every_task_has_one(self, good: list[bool], steps: list[Any]) -> None:
        """However they are run: many, one at a time, or until the rest is given up."""

        def task(i: int) -> int:
            if not good[i]:
                raise ValueError(i)
            return i

        c = calls(task, [[i] for i in range(len(good))])
        values: list[Any] = []
        failures: list[tuple[int, BaseException]] = []
        for step in [*steps, *["one"] * len(good), "take"]:
            if step == "one":
                run_one_by_one(c, 1)
            elif step == "give up":
                c.give_up()
            elif step == "take":
                _, _, taken, failed = c.take_outcomes()
                values += taken or []
                failures += failed
            else:
                try:
                    c.run(step)
                except ValueError as error:
                    c.fail(error)
        assert c.position == c.total - c.given_up
        ran = good[: c.position]
        assert values == [i if ok else None for i, ok in enumerate(ran)]
        assert [(i, error.args) for i, error in failures] == [
            (i, (i,)) for i, ok in enumerate(ran) if not ok
        ]


class TestMeasuring:
    def meter(self) -> TaskMeter:
        """A meter that has something to tell."""
        meter = TaskMeter()
        meter.done = 1
        return meter

    @pytest.mark.parametrize("keep", [False, True])
    def test_each_task_that_ran_is_measured_once(self, keep: bool) -> None:
        meter = self.meter()
        c = calls(lambda i: 1 // i, [[1], [0], [2], {}, 7, [3], [4]], keep=keep, meter=meter)
        run_one_by_one(c, 1)
        with pytest.raises(ZeroDivisionError) as caught:
            c.run(2)
        c.fail(caught.value)
        for _ in range(4):
            try:
                c.run(1)
            except Exception as error:
                c.fail(error)
        assert c.give_up() == 1
        assert (meter.run.count, meter.total.count) == (6, 6)

    @pytest.mark.parametrize("how", [run_all, run_one_by_one])
    def test_from_its_beginning_and_from_when_it_was_sent(
        self, how: Callable[[Calls], None]
    ) -> None:
        def spin(wanted_s: float) -> None:
            until = time.monotonic() + wanted_s
            while time.monotonic() < until:
                pass

        meter = self.meter()
        began = time.monotonic()
        how(calls(spin, [[0.0], [0.02], [0.0]], meter=meter, sent_at=began - 100.0))
        took = time.monotonic() - began
        assert 0.02 <= meter.run.max <= took
        assert 100.0 <= meter.total.max <= 100.0 + took


class TestTraced:
    """Bodies with a trace context: it is taken off, and told while its task runs."""

    @pytest.mark.parametrize("how", [run_all, run_one_by_one])
    @pytest.mark.parametrize("named", [True, False])
    def test_each_finds_its_own(self, how: Callable[[Calls], None], named: bool) -> None:
        def see(number: Any) -> Any:
            return (number if named else number[0], c.traceparent)

        bodies = [[0], traced([1], HERE), [2], traced([3], THERE), traced([4], HERE), [5]]
        c = calls(see, bodies, named=named)
        assert c.traceparent == ""
        how(c)
        assert c.values == [(0, ""), (1, HERE), (2, ""), (3, THERE), (4, HERE), (5, "")]
        assert c.failures == []

    @pytest.mark.parametrize("how", [run_all, run_one_by_one])
    @pytest.mark.parametrize("data", [b"", b"x" * 25, b"x" * 26, b"x" * 26 + b"\xc1",
                                      b"x" * 26 + b"\x01\x02"])  # fmt: skip
    def test_a_broken_one_fails_alone(self, how: Callable[[Calls], None], data: bytes) -> None:
        c = calls(lambda x: x, [[0], ExtType(TRACED, data), traced([2], HERE), [3]])
        how(c)
        assert c.values == [0, None, 2, 3]
        assert kinds(c.failures) == [(1, ProtocolError)]

    def test_a_failure_keeps_no_context(self) -> None:
        seen: list[str] = []

        def fail(number: int) -> None:
            seen.append(c.traceparent)
            raise ValueError

        c = calls(fail, [traced([0], HERE), [1]])
        run_all(c)
        assert seen == [HERE, ""]

    def test_extensions_of_the_users_own_stay(self) -> None:
        own = ExtType(5, b"own")
        c = calls(lambda x: x, [own, [own]], named=False)
        run_all(c)
        assert c.values == [own, [own]]


class TestOutcomesTakenMeanwhile:
    """By another thread, while a task is running."""

    def test_all_but_the_task_that_runs(self) -> None:
        taken: list[Any] = []

        def task(i: int) -> int:
            if i == 1:
                raise ValueError("mine")
            if i == 3:
                taken.append(c.take_outcomes(running=True))
                taken.append(c.take_outcomes(running=True))
            return i * 10

        c = calls(task, [[i] for i in range(5)])
        run_all(c)
        (first, tasks, values, failures), again = taken
        assert (first, tasks, values, kinds(failures)) == (0, 3, [0, None, 20], [(1, ValueError)])
        assert again[1] == 0
        assert c.take_outcomes() == (3, 2, [30, 40], [])

    def test_in_the_next_slice(self) -> None:
        taken: list[Any] = []

        def task(i: int) -> int:
            if i in (1, 4):
                taken.append(c.take_outcomes(running=True))
            return i

        c = calls(task, [[i] for i in range(6)])
        c.run(3)
        rest = c.take_outcomes()
        c.run(3)
        assert taken == [(0, 1, [0], []), (3, 1, [3], [])]
        assert rest == (1, 2, [1, 2], [])
        assert c.take_outcomes() == (4, 2, [4, 5], [])


class TestUnusable:
    """What a handler returns whose body has not run is no outcome."""

    def test_fails(self) -> None:
        async def coroutine(*_: object) -> None: ...

        def generator(*_: object) -> Iterator[int]:
            yield 1

        async def agen(*_: object) -> AsyncIterator[int]:
            yield 1

        for function, kind in [
            (coroutine, "coroutine"), (generator, "generator"), (agen, "async generator"),
        ]:  # fmt: skip
            for bodies in ([[1], [2]], [[1, 2], [3, 4]], [{"*": [1]}]):
                for keep in (True, False):
                    for run in (run_all, run_one_by_one):
                        c = calls(lambda *a, f=function: f(*a), bodies, keep=keep)
                        run(c)
                        outcomes = pack_outcomes(*c.take_outcomes())
                        assert [status for _, _, status, _, _ in outcomes] == [FAILED] * len(bodies)
                        for _, _, _, frame, _ in outcomes:
                            ((name, text, _),) = unpack_bodies(frame)
                            assert name == "TypeError"
                            assert f"returned a {kind} and did not run" in text


class TestOneAtATime:
    def test_is_called_by_whoever_claimed_it(self) -> None:
        c = calls(lambda x: x * 2, [[1], {"x": 2}, ["a"]])
        first = c.next_task()
        assert first is not None
        assert c.position == 1
        assert first() == 2
        c.keep(2)
        second = c.next_task()
        assert second is not None
        assert c.position == 2
        c.keep(second())
        c.run(1)
        assert c.next_task() is None
        assert c.values == [2, 4, "aa"]

    def test_fails(self) -> None:
        c = calls(lambda x: 1 // x, [[1], [0], [1]])
        c.run(1)
        task = c.next_task()
        assert task is not None
        with pytest.raises(ZeroDivisionError) as caught:
            task()
        c.fail(caught.value)
        c.run(1)
        assert c.take_outcomes() == (0, 3, [1, None, 1], [(1, caught.value)])

    def test_what_was_claimed_is_not_given_up(self) -> None:
        c = calls(lambda x: x, [[0], [1], [2]])
        task = c.next_task()
        assert task is not None
        assert c.give_up() == 2
        assert task() == 0
        assert c.next_task() is None


class TestMalformed:
    @pytest.mark.parametrize("tasks", [1, 3, 0, 4096])
    def test_another_number_than_it_says(self, tasks: int) -> None:
        with pytest.raises(ProtocolError, match="does not hold what it says") as caught:
            calls_of(print, pack([[1], [2]]), tasks)
        assert caught.value.code == "malformed"

    @pytest.mark.parametrize("frame", [b"", b"\x80", b"\x90", b"\xc1", b"\x93\x01", b"\xdc"])
    def test_not_an_array_of_bodies(self, frame: bytes) -> None:
        with pytest.raises(ProtocolError):
            calls_of(print, frame, 1)

    @pytest.mark.parametrize(
        ("bad", "others"),
        [
            (b"\xc1", []), (b"\xdd\xff\xff\xff\xff", []),
            (b"\x91\xa1\xff", [3, 4]), (b"\x81\x90\1", [3, 4]),
        ],
    )  # fmt: skip
    def test_in_the_middle(self, bad: bytes, others: list[int]) -> None:
        """It fails, and so does all behind it, unless it can be seen where it ends."""
        frame = b"\x95" + pack([0]) + pack([1]) + bad + pack([3]) + pack([4])
        seen: list[int] = []
        c = calls_of(seen.append, frame, 5)
        run_all(c)
        assert seen == [0, 1, *others]
        assert c.values == [None] * 5
        failed = [2] if others else [2, 3, 4]
        assert kinds(c.failures) == [(i, ProtocolError) for i in failed]

    def test_in_the_middle_one_at_a_time(self) -> None:
        c = calls_of(lambda x: x, b"\x93" + pack([0]) + b"\xc1" + pack([2]), 3)
        for i in range(3):
            task = c.next_task()
            assert task is not None
            try:
                c.keep(task())
            except ProtocolError as error:
                c.fail(error)
            assert c.position == i + 1
        assert c.next_task() is None
        assert c.values == [0, None, None]
        assert [i for i, _ in c.failures] == [1, 2]

    def test_more_behind_the_last(self) -> None:
        """What was read as the last body may be anything."""
        seen: list[int] = []
        c = calls_of(seen.append, pack([[0], [1]]) + b"\x91\x02", 2)
        run_all(c)
        assert seen == [0]
        assert kinds(c.failures) == [(1, ProtocolError)]


class TestGivingUp:
    def test_the_rest(self) -> None:
        c = calls(lambda x: x, [[i] for i in range(5)])
        c.run(2)
        assert c.give_up() == 3
        assert (c.position, c.given_up) == (2, 3)
        c.run(9)
        assert c.values == [0, 1]
        assert c.give_up() == 0
        assert (c.position, c.given_up) == (2, 3)

    def test_all(self) -> None:
        c = calls(lambda x: x, [[i] for i in range(5)])
        assert c.give_up() == 5
        run_all(c)
        assert c.values == []
        assert c.next_task() is None

    def test_from_within(self) -> None:
        c = calls(lambda x: c.give_up() if x == 1 else x, [[i] for i in range(5)])
        run_all(c)
        assert c.values == [0, 3]
        assert c.position == 2

    def test_from_within_one_that_fails(self) -> None:
        def fail(i: int) -> None:
            c.give_up()
            raise ValueError

        c = calls(fail, [[i] for i in range(5)])
        run_all(c)
        assert (c.values, kinds(c.failures), c.given_up) == ([None], [(0, ValueError)], 4)


class Race:
    """Tasks that run in this thread, and are given up by another in the middle of it."""

    def __init__(self, frame: bytes, tasks: int, pause: int, fails: bool) -> None:
        self.ran: list[int] = []
        self.given: list[int] = []
        self.calls = calls_of(self.task, frame, tasks)
        self._pause = pause
        self._fails = fails
        self._begin = threading.Event()
        self._is_awake = False
        self._thread = threading.Thread(target=self.give_up)

    def fate(self, i: int) -> int | None:
        """The value of a task, or None if it fails."""
        return None if self._fails and i % 3 == 0 else i

    def task(self, i: int) -> int:
        self.ran.append(i)
        if i == 10:
            self._begin.set()
            deadline = time.monotonic() + LONG_S
            while not self._is_awake and time.monotonic() < deadline:
                pass  # Both are running when it goes on, and neither has to be woken.
        if self.fate(i) is None:
            raise ValueError(i)
        return i

    def give_up(self) -> None:
        self._begin.wait(LONG_S)
        self._is_awake = True
        for _ in range(self._pause):
            pass
        self.given.extend(self.calls.give_up() for _ in range(3))

    def run(self, how: Callable[[Calls], None]) -> int:
        """Run it, and check who had what. Returns how many tasks were given up."""
        self._thread.start()
        how(self.calls)
        self._thread.join(LONG_S)
        c, given = self.calls, sum(self.given)
        assert self.ran == list(range(c.total - given)), "the first of them, and no others"
        assert (c.position, c.given_up) == (len(self.ran), given)
        assert c.values == [self.fate(i) for i in self.ran]
        assert [i for i, _ in c.failures] == [i for i in self.ran if self.fate(i) is None]
        return given


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("how", [run_all, run_one_by_one])
@pytest.mark.parametrize("fails", [False, True])
def test_no_task_is_both_run_and_given_up(how: Callable[[Calls], None], fails: bool) -> None:
    """Another thread gives up what nobody has claimed, at any moment."""
    tasks, rounds = 3000, 100
    frame = pack([[i] for i in range(tasks)])
    given = [Race(frame, tasks, turn * 150, fails).run(how) for turn in range(rounds)]
    assert sum(map(bool, given)) > rounds // 10, "otherwise nothing was tried"


@pytest.mark.skipif(COMPILED, reason="there are no lines to stop at")
@pytest.mark.parametrize("line", range(1, 13))
@pytest.mark.parametrize("first", ["_claim", "give_up"])
def test_claiming_and_giving_up_are_one_step_each(first: str, line: int) -> None:
    """One begins, and is stopped before some line of it; the other comes in if it can."""
    c = calls(lambda i: i, [[0], [1]])
    c.run(1)
    one, other = (c.next_task, c.give_up) if first == "_claim" else (c.give_up, c.next_task)
    thread = threading.Thread(target=lambda: came.append(other()))
    came: list[Any] = []
    code = getattr(Calls, first).__code__

    def trace(frame: Any, event: str, _: object) -> Any:
        if frame.f_code is not code:
            return trace if event == "call" else None
        if event == "line" and frame.f_lineno == code.co_firstlineno + line:
            sys.settrace(None)
            thread.start()
            thread.join(0.05)  # Where it must wait, it does not end.
        return trace

    sys.settrace(trace)
    try:
        came.append(one())
    finally:
        sys.settrace(None)
    if thread.ident is not None:
        thread.join(LONG_S)
    claimed = [task for task in came if callable(task)]
    assert len(claimed) + c.given_up == 1
    assert (c.position, c.total) == (1 + len(claimed), 2)


class TestLimit:
    """A run of tasks that turn out to be slow ends before all of them have run."""

    def test_no_task_begins_once_the_time_is_over(self) -> None:
        began: list[float] = []

        def slow(number: int) -> int:
            began.append(time.monotonic())
            while time.monotonic() < began[-1] + 0.002:
                pass
            return number

        c = calls(slow, [[n] for n in range(1_000)])
        c.run(1_000, 0.02)
        assert 0 < c.position < 1_000
        assert began[-1] - began[0] < 0.02, "the last one began in time"
        assert c.position == len(began)
        _, _, values, failures = c.take_outcomes()
        assert values == list(range(c.position))
        assert not failures
        c.run(10)
        assert c.position == len(began) == len(values) + 10, "what is left runs later"
