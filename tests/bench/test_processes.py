"""Conversations between processes, and waiting for them."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from zqueue.bench.processes import Line, all_stopped, stop, wait_until
from zqueue.errors import TimedOut, ZQueueError


@pytest.fixture
def lines() -> Iterator[tuple[Line, Line]]:
    here, there = map(Line, socket.socketpair())
    yield here, there
    here.close()
    there.close()


class TestLine:
    def test_what_is_told_is_heard(self, lines: tuple[Line, Line]) -> None:
        here, there = lines
        assert not there.has_heard()
        here.tell(kind="many", tasks=3)
        here.tell(latencies=list(range(10_000)))
        assert there.has_heard()
        assert there.hear() == {"kind": "many", "tasks": 3}
        assert there.hear()["latencies"][-1] == 9_999

    def test_nothing_is_said(self, lines: tuple[Line, Line]) -> None:
        with pytest.raises(TimedOut):
            lines[0].hear(0.01)

    def test_nobody_is_there(self, lines: tuple[Line, Line]) -> None:
        here, there = lines
        there.close()
        with pytest.raises(ZQueueError, match="ended"):
            here.hear()


def start(program: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)


class TestWaiting:
    def test_until_it_is_so(self) -> None:
        looks = iter([False, False, True])
        assert wait_until(lambda: next(looks), "third look", timeout_s=5) > 0

    def test_it_never_is(self) -> None:
        with pytest.raises(TimedOut, match="no miracle within"):
            wait_until(lambda: False, "miracle", timeout_s=0.01)

    def test_a_process_ends_meanwhile(self) -> None:
        process = start("raise SystemExit(7)")
        with process, pytest.raises(ZQueueError, match="ended with code 7; no broker"):
            wait_until(lambda: False, "broker", timeout_s=10, processes=[process])


def test_processes_are_stopped_the_last_one_first() -> None:
    endless = "import signal; print('here', flush=True); signal.pause()"
    with all_stopped() as started:
        started += [start(endless), start(endless)]
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == b"here\n"
    for process in started:
        assert process.returncode is not None
        assert process.stdout is not None
        process.stdout.close()
    stop(started[0])  # Once more is no error.
