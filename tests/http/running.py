"""An ASGI application, served as it is in production, in a thread of the test's process."""

from __future__ import annotations

import asyncio
import socket
import threading
from types import TracebackType
from typing import Any

from zqueue.http.asgi import Application
from zqueue.http.listening import Listener
from zqueue.http.patience import Limits
from zqueue.http.serving import Serving

LIMITS = Limits(connections_max=128)


class Running:
    """Serves while it is entered. ``at_end`` is called in the loop, before it stops."""

    def __init__(
        self, application: Application, limits: Limits = LIMITS, listener: Listener | None = None,
        **options: Any,
    ) -> None:  # fmt: skip
        self.listener = listener or Listener("127.0.0.1", 0)
        self.url = self.listener.url
        self.serving = Serving(application, self.listener, limits, **options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self.serving.run, args=(self._wait(),))

    def at_end(self) -> None:
        """To be replaced."""

    async def _wait(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._started.set()
        await self._stop.wait()
        self.at_end()

    def call(self, function: object) -> None:
        """Have a function called in the loop, soon."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(function)  # type: ignore[arg-type]

    def __enter__(self) -> Running:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self.call(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    def connect(self) -> socket.socket:
        """A connection."""
        return socket.create_connection(self.listener.address, timeout=10)

    def send(self, *parts: bytes) -> bytes:
        """All that is answered to this."""
        with self.connect() as connection:
            for part in parts:
                connection.sendall(part)
            return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    """What comes until the other end closes."""
    read = b""
    while part := connection.recv(65536):
        read += part
    return read
