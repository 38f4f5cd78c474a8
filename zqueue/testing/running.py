"""A broker that runs for a test, in threads or processes: its state, and the apps that use it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self

from ..app import App
from ..client.ask import ask
from ..core.dead import NUMBER_MAX
from ..errors import ZQueueError
from ..wire.unpacking import unpack_bodies
from .waiting import DEADLINE_S, wait_until

LEAVE_S = 0.5
"""How long an app may flush when the test is over, seconds."""


class Observed:
    """What a broker answers to questions. Its queues, workers and counters: docs/operations.md."""

    url: str

    def info(self, timeout: float = 10.0) -> dict[str, Any]:
        """Its state, as ``zqueue info --json`` prints it. Raises `BrokerLost` without an answer."""
        return ask(self.url, timeout=timeout)

    def count(self, name: str) -> int:
        """One of its counters: ``published``, ``done``, ``failed``, ``redelivered`` …"""
        value: int = self.info()["counters"][name]
        return value

    def queue(self, name: str) -> dict[str, Any]:
        """The state of a queue; an empty one's if the broker does not know it."""
        found: dict[str, Any] = self.info()["queues"].get(name, {"ready": 0, "leased": 0})
        return found

    def worker_pids(self) -> list[int]:
        """Pids of the workers that are connected."""
        return [worker["pid"] for worker in self.info()["workers"]]

    def dead(self) -> list[dict[str, Any]]:
        """The newest dead letters, each with ``queue``, ``task``, ``body``, ``reason``, ``error``
        (the type's name, its text, the traceback), ``deliveries`` and more (docs/protocol.md)."""
        letters: list[dict[str, Any]] = ask(self.url, "dead", {"before": NUMBER_MAX})["letters"]
        for letter in letters:
            letter["error"] = [letter["error"], letter.pop("text"), letter.pop("traceback")]
            (letter["body"],) = unpack_bodies(letter["body"])
        return letters

    def wait_idle(self, timeout: float = DEADLINE_S) -> dict[str, Any]:
        """Wait until no task is ready or leased, and return the broker's state then.

        Raises `Unmet` after ``timeout`` seconds.
        """

        def state_if_idle() -> dict[str, Any] | None:
            state = self.info()
            busy = any(queue["ready"] or queue["leased"] for queue in state["queues"].values())
            return None if busy else state

        return wait_until(state_if_idle, timeout, what=lambda: f"an idle broker: {self.info()}")


class Running(Observed):
    """Owns a folder and an address, and points apps there."""

    def __init__(self) -> None:
        self._leaving = contextlib.ExitStack()
        self._apps: list[App] = []
        # Not the test's own folder: the path of a socket must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="zqueue-"))
        self._leaving.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.url = f"ipc://{self.folder}/broker"

    def connect(self, app: App) -> None:
        """Let an app send here until the end: then it is closed, and has its old address again."""
        before = app._url
        app.url = self.url
        self._apps.append(app)

        def disconnect() -> None:
            self._apps.remove(app)
            try:
                app.close(LEAVE_S)
            except ZQueueError:
                pass  # The test left the broker dead, or a queue full, on purpose.
            app._url = before

        self._leaving.callback(disconnect)

    def wait_idle(self, timeout: float = DEADLINE_S) -> dict[str, Any]:
        """Wait until all that the connected apps have sent is over, and return the broker's state.

        That includes what their tasks sent in turn, if those run in this process. Raises
        `Unmet` after ``timeout`` seconds, or what `App.flush` raises.
        """
        deadline = monotonic() + timeout
        before = -1
        while True:
            for app in self._apps:
                app.flush(timeout)
            state = super().wait_idle(deadline - monotonic())
            if state["counters"]["published"] == before:
                return state  # Nobody had anything more to send.
            before = state["counters"]["published"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self._leaving.close()

    @contextlib.contextmanager
    def _left_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._leaving.close()
            raise
