"""Each service tells systemd that it is ready, that it lives, and that it stops."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .harness import APPS, Processes, free_port, wait_until

pytestmark = pytest.mark.system

WATCHDOG_S = 0.9


@pytest.mark.parametrize("verb", ["broker", "worker", "metrics"])
def test_a_service_tells(verb: str, tmp_path: Path) -> None:
    url = f"ipc://{tmp_path}/broker"
    arguments = {
        "broker": ("--bind", url),
        "worker": (str(APPS / "jobs.py"), "--url", url),
        "metrics": ("--listen", f"127.0.0.1:{free_port()}", "--url", url),
    }[verb]
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        environment = os.environ | {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6)),
        }
        processes = Processes(tmp_path)
        try:
            service = processes.start(
                verb, sys.executable, "-m", "zqueue", verb, *arguments, env=environment
            )

            def has_heard(text: str, times: int = 1) -> Callable[[], bool]:
                def look() -> bool:
                    while True:
                        try:
                            heard.append(manager.recv(4096).decode())
                        except BlockingIOError:
                            return heard.count(text) >= times

                return look

            wait_until(has_heard("READY=1"), what=lambda: (heard, service.err))
            heard.clear()
            wait_until(has_heard("WATCHDOG=1", 3), what=lambda: (heard, service.err))
            service.send(signal.SIGTERM)
            wait_until(has_heard("STOPPING=1"), what=lambda: (heard, service.err))
        finally:
            processes.end()
    assert "READY=1" not in heard, "it is said once"
