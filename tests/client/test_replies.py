"""Replies: futures, and batches that are unpacked when somebody asks."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from zqueue.client import replies
from zqueue.client.replies import FutureReply, TaskFuture
from zqueue.current import Current, set_in_main
from zqueue.errors import (
    Closed,
    ProtocolError,
    RemoteError,
    ResultLost,
    TaskTimeout,
    TimedOut,
)
from zqueue.wire.codec import pack
from zqueue.wire.messages import DONE, FAILED, RESULTS

NO = pack([["ValueError", "no", ""]])


def futures(count: int) -> list[TaskFuture[Any]]:
    made: list[TaskFuture[Any]] = [TaskFuture() for _ in range(count)]
    for future in made:
        future.set_running_or_notify_cancel()
    return made


class TestFutures:
    def test_runs_in_any_order(self) -> None:
        made = futures(4)
        reply = FutureReply(made)
        reply.take(2, 2, RESULTS, pack(["c", "d"]), last=False)
        assert [future.done() for future in made] == [False, False, True, True]
        reply.take(0, 1, FAILED, NO, last=False)
        reply.take(1, 1, DONE, b"", last=True)
        assert isinstance(made[0].exception(0), RemoteError)
        assert [future.result(0) for future in made[1:]] == [None, "c", "d"]

    def test_failing_fails_the_rest(self) -> None:
        made = futures(3)
        reply = FutureReply(made)
        reply.take(1, 1, RESULTS, pack(["b"]), last=False)
        lost = ResultLost("gone")
        reply.fail(lost)
        assert [future.exception(0) for future in made] == [lost, None, lost]
        assert made[1].result(0) == "b"

    def test_the_first_result_counts(self) -> None:
        made = futures(3)
        reply = FutureReply(made)
        reply.take(1, 1, RESULTS, pack(["first"]), last=False)
        reply.take(0, 3, RESULTS, pack(["a", "second", "c"]), last=True)
        assert [future.result(0) for future in made] == ["a", "first", "c"]

    @pytest.mark.parametrize("frame", [b"\xc1", b"", b"\x92\x01"])
    def test_nonsense_fails_its_tasks(self, frame: bytes) -> None:
        made = futures(3)
        reply = FutureReply(made)
        reply.take(0, 2, RESULTS, frame, last=False)
        reply.take(2, 1, RESULTS, pack(["c"]), last=True)
        assert all(isinstance(future.exception(0), ProtocolError) for future in made[:2])
        assert made[2].result(0) == "c"


class TestProgress:
    def test_of_one_among_others(self) -> None:
        made = futures(3)
        reply = FutureReply(made)
        reply.progress(1, 3, 10)
        assert [future.progress for future in made] == [None, (3, 10), None]
        reply.progress(1, 4, 10)
        assert made[1].progress == (4, 10)

    @pytest.mark.parametrize("position", [3, 4, 1 << 62])
    def test_beyond_the_batch_harms_nothing(self, position: int) -> None:
        made = futures(3)
        FutureReply(made).progress(position, 1, 2)
        assert {future.progress for future in made} == {None}

    def test_what_comes_behind_the_result_is_passed_over(self) -> None:
        made = futures(1)
        reply = FutureReply(made)
        heard: list[Any] = []
        made[0].add_progress_callback(heard.append)
        reply.progress(0, 1, 2)
        reply.take(0, 1, DONE, b"", last=True)
        reply.progress(0, 2, 2)
        assert made[0].progress == (1, 2)
        assert heard == made

    def test_all_callbacks_are_called_in_order(self, caplog: pytest.LogCaptureFixture) -> None:
        (future,) = made = futures(1)
        called: list[str] = []
        future.add_progress_callback(lambda f: called.append(f"first {f.progress}"))
        future.add_progress_callback(lambda f: 1 / 0)
        future.add_progress_callback(lambda f: called.append(f"last {f.progress}"))
        FutureReply(made).progress(0, 1, 2)
        assert called == ["first (1, 2)", "last (1, 2)"]
        assert "a callback for the progress of a task failed" in caplog.text
        assert "ZeroDivisionError" in caplog.text

    def test_a_callback_may_add_another(self) -> None:
        (future,) = made = futures(1)
        called: list[int] = []
        future.add_progress_callback(lambda f: f.add_progress_callback(lambda g: called.append(1)))
        FutureReply(made).progress(0, 1, 3)
        assert called == [1], "told at once, as there has been news"

    def test_who_asks_late_hears_the_last_word(self) -> None:
        """A task may say something before its sender comes to ask."""
        (future,) = made = futures(1)
        reply = FutureReply(made)
        heard: list[Any] = []
        reply.progress(0, 1, 3)
        future.add_progress_callback(lambda f: heard.append(f.progress))
        assert heard == [(1, 3)]
        reply.progress(0, 2, 3)
        assert heard == [(1, 3), (2, 3)]


class Origin:
    """A lane, as far as a future knows."""

    queue, task = "q", "inner"

    def __init__(self) -> None:
        self.asides = 0

    def step_aside(self) -> None:
        self.asides += 1


class TestWaiting:
    def test_says_what_it_waited_for(self) -> None:
        (future,) = futures(1)
        with pytest.raises(TimedOut, match=r"^no result within 0\.01 s of a task$"):
            future.result(0.01)
        future._origin = Origin()
        for call in (future.result, future.exception):
            with pytest.raises(TimedOut, match="of task 'inner' in queue 'q': 'zqueue info' shows"):
                call(0)

    def test_a_timeout_of_the_task_itself_is_no_timed_out(self) -> None:
        (future,) = futures(1)
        future.set_exception(TaskTimeout(text="too long"))
        with pytest.raises(TaskTimeout):
            future.result(1)
        assert isinstance(future.exception(1), TaskTimeout)

    @pytest.mark.parametrize("timeout", [None, float("inf"), 1e12, 5], ids=repr)
    def test_as_long_as_it_takes(self, timeout: Any) -> None:
        (future,) = futures(1)
        future._origin = origin = Origin()
        threading.Timer(0.05, future.set_result, ("there",)).start()
        assert future.result(timeout) == "there"
        assert origin.asides == 1

    def test_a_handler_that_waits_long_is_named(
        self, caplog: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(replies, "NESTED_S", 0.05)
        (future,) = futures(1)
        future._origin = Origin()
        threading.Timer(0.2, future.set_result, (1,)).start()
        assert future.result(20) == 1
        assert "has waited" not in caplog.text, "this is no handler"
        (future,) = futures(1)
        future._origin = Origin()
        threading.Timer(0.2, future.set_result, (1,)).start()
        set_in_main(lambda: Current("outer"))
        try:
            assert future.result(20) == 1
        finally:
            set_in_main(None)
        assert "'outer' has waited 0.05 s for the result of task 'inner' in queue" in caplog.text


class TestForked:
    """In a child process, with locks that somebody held who is not there."""

    def test_a_future(self) -> None:
        made = futures(2)
        called: list[Any] = []
        for future in made:
            future.add_done_callback(called.append)
        made[1].set_result("before")
        made[0]._condition = threading.Condition(threading.Lock())
        made[0]._condition.acquire()
        FutureReply(made).forked(Closed("fork"))
        with pytest.raises(Closed, match="fork"):
            made[0].result(0)
        assert made[1].result(0) == "before"
        assert called == [made[1]], "callbacks are the parent's business"
