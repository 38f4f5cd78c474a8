"""Replies: futures, and batches that are unpacked when somebody asks."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.errors import ProtocolError, RemoteError, ResultLost
from zqueue.protocol.codec import pack
from zqueue.protocol.messages import DONE, FAILED, RESULTS
from zqueue.replies import BatchReply, FutureReply, Reply, TaskFuture

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

    @pytest.mark.parametrize("frame", [b"\xc1", b"", b"\x92\x01", b"\x92\x01\xc1"])
    def test_nonsense_fails_its_tasks(self, frame: bytes) -> None:
        made = futures(3)
        reply = FutureReply(made)
        reply.take(0, 2, RESULTS, frame, last=False)
        reply.take(2, 1, RESULTS, pack(["c"]), last=True)
        assert all(isinstance(future.exception(0), ProtocolError) for future in made[:2])
        assert made[2].result(0) == "c"

    @pytest.mark.parametrize(("first", "tasks"), [(1, 5), (7, 1)])
    def test_a_run_beyond_the_batch_harms_nothing(self, first: int, tasks: int) -> None:
        made = futures(2)
        FutureReply(made).take(first, tasks, DONE, b"", last=False)
        assert not made[0].done()


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
        reply = FutureReply(made)
        reply.progress(0, 1, 3)
        assert called == [], "from the next time on"
        reply.progress(0, 2, 3)
        assert called == [1]

    def test_of_a_batch_nobody_asks(self) -> None:
        BatchReply(3).progress(0, 1, 2)


class TestBatches:
    def test_in_order_once_all_are_there(self) -> None:
        reply = BatchReply(4)
        reply.take(2, 2, RESULTS, pack(["c", "d"]), last=False)
        reply.take(0, 1, FAILED, NO, last=False)
        reply.take(1, 1, DONE, b"", last=True)
        (failed, error), *rest = reply.wait()
        assert (failed, str(error)) == (False, "ValueError: no")
        assert rest == [(True, None), (True, "c"), (True, "d")]

    def test_failing_fails_the_rest(self) -> None:
        reply = BatchReply(3)
        reply.take(1, 1, RESULTS, pack(["b"]), last=False)
        lost = ResultLost("gone")
        reply.fail(lost)
        assert reply.wait() == [(False, lost), (True, "b"), (False, lost)]

    def test_the_first_result_counts(self) -> None:
        reply = BatchReply(3)
        reply.take(1, 1, RESULTS, pack(["first"]), last=False)
        reply.take(0, 3, RESULTS, pack(["a", "second", "c"]), last=True)
        assert reply.wait() == [(True, "a"), (True, "first"), (True, "c")]

    @pytest.mark.parametrize("frame", [b"\xc1", b"", b"\x92\x01", b"\x92\x01\xc1"])
    def test_nonsense_fails_its_tasks(self, frame: bytes) -> None:
        reply = BatchReply(3)
        reply.take(0, 2, RESULTS, frame, last=False)
        reply.take(2, 1, RESULTS, pack(["c"]), last=True)
        outcomes = reply.wait()
        assert [(ok, type(value)) for ok, value in outcomes[:2]] == [(False, ProtocolError)] * 2
        assert outcomes[2] == (True, "c")

    def test_waits_for_the_last(self) -> None:
        reply = BatchReply(2)
        reply.take(0, 2, DONE, b"", last=False)
        assert not reply._done.is_set()
        reply.take(0, 2, DONE, b"", last=True)
        assert reply.wait() == [(True, None)] * 2


def test_the_base_is_no_reply() -> None:
    with pytest.raises(NotImplementedError):
        Reply().take(0, 1, DONE, b"", last=True)
    with pytest.raises(NotImplementedError):
        Reply().fail(ResultLost())
