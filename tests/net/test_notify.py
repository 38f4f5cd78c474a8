"""What systemd hears, at a real socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from zqueue.net.notify import Notifier


class Manager:
    """The end of the socket that systemd holds."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + path[1:] if path.startswith("@") else path)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        texts = []
        while True:
            try:
                texts.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return texts

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    name = f"@zqueue-test-{os.getpid()}-{os.urandom(4).hex()}"
    manager = Manager(str(tmp_path / "n") if request.param == "file" else name)
    yield manager
    manager.close()


def test_it_tells_of_each_turn_once(manager: Manager) -> None:
    environment = {"NOTIFY_SOCKET": manager.path, "HOME": "/"}
    notifier = Notifier(environment)
    assert environment == {"HOME": "/"}, "what it starts would speak for it"
    notifier.ready()
    notifier.ready()
    notifier.alive(5.0)
    notifier.stopping()
    notifier.stopping()
    assert manager.heard() == ["READY=1", "STOPPING=1"]
    assert notifier.next_deadline is None


def test_it_says_that_it_lives_thrice_in_the_time_that_the_watchdog_waits(manager: Manager) -> None:
    environment = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "3000000"}
    notifier = Notifier(environment | {"WATCHDOG_PID": str(os.getpid())})
    for now in (100.0, 100.1, 100.9, 101.0, 101.5, 102.1):
        notifier.alive(now)
    assert manager.heard() == ["WATCHDOG=1"] * 3
    assert notifier.next_deadline == pytest.approx(103.1)


def test_a_watchdog_for_another_process_is_none_for_this_one(manager: Manager) -> None:
    environment = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}
    notifier = Notifier(environment)
    notifier.alive(100.0)
    assert (notifier.next_deadline, manager.heard()) == (None, [])


def test_without_a_manager_nothing_is_said() -> None:
    notifier = Notifier({"WATCHDOG_USEC": "3000000"})
    notifier.ready()
    notifier.alive(100.0)
    assert notifier.next_deadline is None


def test_a_manager_that_is_gone_does_no_harm(manager: Manager) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.path})
    manager.close()
    notifier.ready()
    notifier.stopping()
