"""A client that asks for more than it reads."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

LINE = b'"' + b"x" * 500 + b'"\n'
LINES_A_CHUNK = 100
CHUNK = b"%x\r\n%s\r\n" % (len(LINE) * LINES_A_CHUNK, LINE * LINES_A_CHUNK)
READ_BYTES = 512
READ_EVERY_S = 0.2
HEAD = (
    b"POST /v1/tasks/echo HTTP/1.1\r\nHost: localhost\r\nAccept: application/x-ndjson\r\n"
    b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
)


class SlowReader:
    """Streams calls without end, as fast as it is let, and reads the results slowly."""

    def __init__(self, port: int) -> None:
        self.sent_bytes = self.read_bytes = 0
        self._ended = threading.Event()
        self._socket = socket.create_connection(("127.0.0.1", port), 10)
        self._socket.settimeout(None)
        self._threads = [threading.Thread(target=run) for run in (self._send, self._read)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Close the connection in the middle."""
        self._ended.set()
        with contextlib.suppress(OSError):  # The gateway has closed it.
            self._socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def _send(self) -> None:
        with contextlib.suppress(OSError):
            for data in self._request():
                self._socket.sendall(data)
                self.sent_bytes += len(data)

    def _request(self) -> Iterator[bytes]:
        yield HEAD
        while not self._ended.is_set():
            yield CHUNK

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while not self._ended.wait(READ_EVERY_S) and (data := self._socket.recv(READ_BYTES)):
                self.read_bytes += len(data)
