"""Failures in a worker's log: what nobody else is told of, and not too much of it."""

from __future__ import annotations

import logging

import pytest

from zqueue.current import Current
from zqueue.errors import Cancelled, ProtocolError, Retry, UnknownTask
from zqueue.handlers import Handler
from zqueue.testing import FakeClock
from zqueue.worker.failures import LOGGED_FAILURES, FailureLog
from zqueue.worker.leases import LeasedBatch


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock(1000.0)
    monkeypatch.setattr("zqueue.worker.failures.monotonic", clock)
    return clock


HANDLER = Handler("send", "mail", print, retry_on=(Exception,), no_retry_on=(KeyError,))


def batch(
    task: str = "send", *, reply: bool = False, attempt: int = 1, left: int = 0
) -> LeasedBatch:
    return LeasedBatch("mail", task, reply, 5, attempt, 0, b"", retries_left=left)


def raised(text: str = "no such user") -> ValueError:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def test_says_what_failed_where(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    FailureLog().add(batch(attempt=2), raised(), 3)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == (
        "3 of task 'send' in queue 'mail' failed (attempt 2): ValueError: no such user"
    )
    assert "raise ValueError(text)" in caplog.text, "with a traceback"


def test_the_log_can_know_which_task_it_was(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    log, task = FailureLog(), Current("send", "mail", "0a-1-2")
    log.add(batch(), raised(), 1, None, task)
    log.add(batch(), raised(), 1)
    assert [vars(record)["current"] for record in caplog.records] == [task, None]


def test_what_the_submitter_gets_is_not_logged(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    FailureLog().add(batch(reply=True), raised(), 1)
    assert not caplog.records


@pytest.mark.parametrize("error", [ProtocolError("malformed", "torn"), UnknownTask("U", "none")])
def test_our_own_errors_have_no_traceback(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    FailureLog().add(batch(task=""), error, 5)
    (record,) = caplog.records
    assert record.getMessage().startswith("5 of task '-' in queue 'mail' failed (attempt 1): ")
    assert record.exc_info is None


def test_many_are_counted(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    log = FailureLog()
    for _ in range(LOGGED_FAILURES + 7):
        log.add(batch(), raised(), 1)
    assert len(caplog.records) == LOGGED_FAILURES
    clock.advance(1.0)
    log.add(batch(), raised("one more"), 1)
    assert len(caplog.records) == LOGGED_FAILURES + 2
    assert caplog.records[-2].getMessage() == "7 more tasks failed"
    assert caplog.records[-1].getMessage().endswith("one more")


def test_few_are_not_counted(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    log = FailureLog()
    for _ in range(3):
        log.add(batch(), raised(), 1)
        clock.advance(1.5)
    assert len(caplog.records) == 3


def test_an_error_that_cannot_say_what_it_is(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    FailureLog().add(batch(), Mute(), 1)
    (record,) = caplog.records
    assert "Mute" in record.getMessage()


@pytest.mark.parametrize("reply", [False, True])
def test_what_is_tried_again_is_one_line(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, reply: bool
) -> None:
    caplog.set_level(logging.INFO)
    FailureLog().add(batch(attempt=2, left=1, reply=reply), raised(), 1, HANDLER)
    (record,) = caplog.records
    assert (record.levelno, record.exc_info) == (logging.WARNING, None)
    assert record.getMessage() == (
        "1 of task 'send' in queue 'mail' failed (attempt 2, will be tried again): "
        "ValueError: no such user"
    )


def test_what_its_handler_wants_to_try_again_is_no_warning(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    FailureLog().add(batch(left=1), Retry("not yet"), 1, HANDLER)
    (record,) = caplog.records
    assert (record.levelno, record.exc_info) == (logging.INFO, None)
    assert record.getMessage() == (
        "1 of task 'send' in queue 'mail' asked for another attempt (attempt 1): Retry: not yet"
    )


@pytest.mark.parametrize("error", [raised(), Retry("not yet")], ids=repr)
def test_who_debugs_sees_all_tracebacks(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    caplog.set_level(logging.DEBUG, "zqueue.worker.failures")
    FailureLog().add(batch(left=1), error, 1, HANDLER)
    (record,) = caplog.records
    assert record.exc_info


@pytest.mark.parametrize(
    ("error", "left"), [(raised(), 0), (Retry("not yet"), 0), (KeyError("never"), 3)], ids=repr
)
def test_the_last_attempt_is_an_error(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, error: Exception, left: int
) -> None:
    FailureLog().add(batch(left=left), error, 1, HANDLER)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info
    assert record.getMessage().endswith(f"(attempt 1): {type(error).__name__}: {error}")


def test_attempts_do_not_hide_errors(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    log = FailureLog()
    for _ in range(LOGGED_FAILURES + 1):
        log.add(batch(left=1), raised(), 3, HANDLER)
    log.add(batch(), raised("for good"), 1, HANDLER)
    assert caplog.records[-1].levelno == logging.ERROR
    clock.advance(1.0)
    log.add(batch(left=1), raised(), 1, HANDLER)
    assert caplog.record_tuples[-2][1:] == (logging.WARNING, "3 more tasks failed")


def test_what_was_cancelled_is_not_logged(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    FailureLog().add(batch(left=1), Cancelled(), 1, HANDLER)
    assert not caplog.records
