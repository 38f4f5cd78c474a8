"""The soft time-out of a handler."""

from __future__ import annotations

import signal
import time

import pytest

from zqueue.errors import TaskTimeout
from zqueue.worker.alarm import call_with_alarm

LONG_S = 20.0


class TestAlarm:
    def test_in_time(self) -> None:
        before = signal.getsignal(signal.SIGALRM)
        assert call_with_alarm(lambda: 7, LONG_S) == 7
        assert signal.getsignal(signal.SIGALRM) is before
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)

    def test_too_long(self) -> None:
        def forever() -> None:
            while True:
                pass

        before = signal.getsignal(signal.SIGALRM)
        with pytest.raises(TaskTimeout) as caught:
            call_with_alarm(forever, 0.01)
        assert str(caught.value) == "TaskTimeout: ran longer than 0.01 s"
        assert signal.getsignal(signal.SIGALRM) is before
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)

    def test_its_own_errors_pass_through(self) -> None:
        with pytest.raises(ZeroDivisionError):
            call_with_alarm(lambda: 1 / 0, LONG_S)
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)

    def test_rings_again_if_python_swallows_it(self) -> None:
        """An exception that is raised in a finalizer harms nobody, so the handler would go on."""

        class Slow:
            def __del__(self) -> None:
                until = time.monotonic() + 0.05
                while time.monotonic() < until:
                    pass

        def forever() -> None:
            slow = Slow()
            del slow
            until = time.monotonic() + LONG_S
            while time.monotonic() < until:
                pass

        with pytest.raises(TaskTimeout):
            call_with_alarm(forever, 0.01)
