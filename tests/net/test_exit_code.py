"""How a child has ended, before it is waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from zqueue.net.processes import exit_code, rss_bytes


@pytest.mark.parametrize(
    ("program", "code"),
    [("pass", 0), ("raise SystemExit(70)", 70), ("import os; os.kill(os.getpid(), 9)", -9)],
)
def test_it_is_that_of_popen(program: str, code: int) -> None:
    with subprocess.Popen([sys.executable, "-c", program], process_group=0) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert exit_code(process) == exit_code(process) == code
        os.killpg(process.pid, signal.SIGKILL)  # The number is nobody else's yet.
        assert process.wait() == code
        assert exit_code(process) == code


def test_one_that_runs() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert exit_code(process) is None
        assert rss_bytes(process.pid) > 0
        process.communicate(b"\n")
    assert rss_bytes(process.pid) == 0
