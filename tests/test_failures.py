"""Failures in a worker's log: what nobody else is told of, and not too much of it."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from zqueue.current import Current
from zqueue.errors import ProtocolError, UnknownTask
from zqueue.failures import LOGGED_FAILURES, FailureLog
from zqueue.protocol.worker import LeasedBatch


class Clock:
    """Tells the time that a test says it is."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("zqueue.failures.monotonic", clock)
    return clock


def batch(task: str = "send", *, reply: bool = False, attempt: int = 1) -> LeasedBatch:
    return LeasedBatch("mail", task, reply, 5, attempt, 0, b"")


def raised(text: str = "no such user") -> ValueError:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def test_says_what_failed_where(clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    FailureLog().add(batch(attempt=2), raised(), 3)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == (
        "3 of task 'send' in queue 'mail' failed (attempt 2): ValueError: no such user"
    )
    assert "raise ValueError(text)" in caplog.text, "with a traceback"


def test_the_log_can_know_which_task_it_was(clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    log, task = FailureLog(), Current("send", "mail", "0a-1-2")
    log.add(batch(), raised(), 1, task)
    log.add(batch(), raised(), 1)
    assert [vars(record)["current"] for record in caplog.records] == [task, None]


def test_what_the_submitter_gets_is_not_logged(
    clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    FailureLog().add(batch(reply=True), raised(), 1)
    assert not caplog.records


@pytest.mark.parametrize("error", [ProtocolError("malformed", "torn"), UnknownTask("U", "none")])
def test_our_own_errors_have_no_traceback(
    clock: Any, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    FailureLog().add(batch(task=""), error, 5)
    (record,) = caplog.records
    assert record.getMessage().startswith("5 of task '-' in queue 'mail' failed (attempt 1): ")
    assert record.exc_info is None


def test_many_are_counted(clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    log = FailureLog()
    for _ in range(LOGGED_FAILURES + 7):
        log.add(batch(), raised(), 1)
    assert len(caplog.records) == LOGGED_FAILURES
    clock.now += 1.0
    log.add(batch(), raised("one more"), 1)
    assert len(caplog.records) == LOGGED_FAILURES + 2
    assert caplog.records[-2].getMessage() == "7 more tasks failed"
    assert caplog.records[-1].getMessage().endswith("one more")


def test_few_are_not_counted(clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    log = FailureLog()
    for _ in range(3):
        log.add(batch(), raised(), 1)
        clock.now += 1.5
    assert len(caplog.records) == 3


def test_an_error_that_cannot_say_what_it_is(clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    FailureLog().add(batch(), Mute(), 1)
    (record,) = caplog.records
    assert "Mute" in record.getMessage()
