"""The sidecar's HTTP server: metrics, the page, and its figures. It only tells; there is nothing
that it could be made to do.

Theory of operation. One thread accepts connections, and each has a thread of its own, of which
there are `CONNECTIONS_MAX`; the next one is told to come again, and costs no thread. A connection
is for one request. A stream lasts until the client goes, or is slower than `WRITE_BYTES` in
`WRITE_S`; of streams there are `STREAMS_MAX`, so that room is left for Prometheus however many
pages are open. All are sent the same bytes (`board`).
"""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import logging
import re
import select
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from importlib.resources import files
from time import monotonic
from typing import NamedTuple

from ..errors import ConfigError
from ..net.sockets import AddressInUse
from .board import Board
from .exposition import form_for
from .requests import BadRequest, Request, is_for_loopback, read_request

logger = logging.getLogger("zqueue")

CONNECTIONS_MAX = 128
STREAMS_MAX = 64

WRITE_S = 5.0
WRITE_BYTES = 64 << 10
"""A client that does not take so many bytes in so many seconds is let go."""

STUCK_S = 10.0
"""Without a tick for so long the process is no longer alive, seconds."""

IDLE_S = 15.0
"""After so much silence a stream is sent a sign of life, seconds."""

RETRY_MS = 2000
"""When a page is to come again that lost its stream."""

SEND_BUFFER_BYTES = 256 << 10
"""What the kernel keeps for one client: a slow one is known by filling it."""

LINGER_S = 0.5
"""How long a client has to take the answer and leave before its connection is closed, seconds."""

SHORTAGE_S = 0.1
"""When to look again for a file number, if the process has none left, seconds."""

TEXT = "text/plain; charset=utf-8"

ALWAYS = (
    "X-Content-Type-Options: nosniff",
    "Referrer-Policy: no-referrer",
    "Cross-Origin-Resource-Policy: same-origin",
    "Connection: close",
)


class Answer(NamedTuple):
    """What to send back."""

    status: int
    kind: str
    body: bytes
    headers: tuple[str, ...] = ("Cache-Control: no-store",)


def sentence(status: int, text: str, *headers: str) -> Answer:
    """An answer for people."""
    return Answer(status, TEXT, f"{text}\n".encode(), ("Cache-Control: no-store", *headers))


def load_page() -> Answer:
    """The page, with a policy that allows its own script and style and nothing else."""
    page = files(__package__).joinpath("page.html").read_text()
    hashes = {
        tag: " ".join(_hash_of(text) for text in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S))
        for tag in ("script", "style")
    }
    policy = (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    headers = ("Cache-Control: no-cache", f"Content-Security-Policy: {policy}")
    return Answer(200, "text/html; charset=utf-8", page.encode(), headers)


def _hash_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


class Server:
    """Answers requests from a board. Not to be started twice.

    Raises `ConfigError` if it cannot listen there (`net.sockets.AddressInUse` if the port is
    taken).
    """

    def __init__(self, board: Board, host: str, port: int, *, ready_workers: int = 0) -> None:
        self._board = board
        self._ready_workers = ready_workers
        self._page = load_page()
        self._listener = _listen(host, port)
        found = self._listener.getsockname()
        self._is_loopback = found[0] == "::1" or found[0].startswith("127.")
        self.url = f"http://[{found[0]}]" if ":" in found[0] else f"http://{found[0]}"
        self.url += f":{found[1]}"
        self._lock = threading.Lock()
        self._connections = 0
        self._streams = 0
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._accept, name="http", daemon=True)
        self._paths: dict[str, Callable[[Request], Answer]] = {
            "/": lambda _: self._page,
            "/metrics": self._metrics,
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/api/stats.json": lambda _: Answer(200, "application/json", board.as_json()),
        }

    def __repr__(self) -> str:
        return f"<Server at {self.url}: {self._connections} connections, {self._streams} streams>"

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def close(self) -> None:
        """Accept no more. Threads of connections end with the process."""
        self._wake.send(b"\0")
        self._thread.join()
        for opened in (self._listener, self._wake, self._woken):
            opened.close()

    # --- connections ---

    def _accept(self) -> None:
        while True:
            ready, _, _ = select.select([self._listener, self._woken], [], [])
            if self._woken in ready:
                return
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):  # It waits until a file is closed.
                    select.select([self._woken], [], [], SHORTAGE_S)
                continue  # Or it went away before its turn.
            if not self._start_serving(connection):
                _turn_away(connection)

    def _start_serving(self, connection: socket.socket) -> bool:
        """Have a thread serve a connection. False if there is no room."""
        with self._lock:
            if self._connections >= CONNECTIONS_MAX:
                return False
            self._connections += 1
        try:
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
        except RuntimeError:  # The system gives no more threads.
            with self._lock:
                self._connections -= 1
            return False
        return True

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
                self._converse(connection)
        except OSError:
            pass  # The client went away, or is too slow: there is nobody to tell.
        except Exception:
            logger.exception("a request met a fault")
        finally:
            with self._lock:
                self._connections -= 1

    def _converse(self, connection: socket.socket) -> None:
        try:
            request = read_request(connection)
        except BadRequest as error:
            if error.status is not None:
                _send(connection, sentence(error.status, str(error)))
                _end(connection)
            return
        if request.path == "/api/stream" and self._refusal(request) is None:
            self._stream(connection, request)
            return
        answer = self._refusal(request) or self._answer(request)
        _send(connection, answer, with_body=request.method != "HEAD")
        _end(connection)

    # --- answers ---

    def _refusal(self, request: Request) -> Answer | None:
        """Why a request is not answered, if so."""
        if self._is_loopback and not is_for_loopback(request):
            return sentence(403, "Ask for localhost: no other name is answered here.")
        if request.path not in self._paths and request.path != "/api/stream":
            return sentence(404, f"There are {', '.join(self._paths)} and /api/stream.")
        if request.method not in ("GET", "HEAD"):
            return sentence(405, "Only GET and HEAD are answered.", "Allow: GET, HEAD")
        return None

    def _answer(self, request: Request) -> Answer:
        return self._paths[request.path](request)

    def _metrics(self, request: Request) -> Answer:
        form = form_for(request.header("Accept"))
        headers = ("Cache-Control: no-store", "Vary: Accept")
        return Answer(200, form.value, self._board.exposed(form), headers)

    def _livez(self, request: Request) -> Answer:
        if self._board.since_tick_s > STUCK_S:
            return sentence(503, f"Nothing has moved for {self._board.since_tick_s:.0f} s.")
        return sentence(200, "The sidecar is alive.")

    def _readyz(self, request: Request) -> Answer:
        problems = self._board.problems(self._ready_workers)
        return sentence(503, "\n".join(problems)) if problems else sentence(200, "All is ready.")

    # --- streams ---

    def _stream(self, connection: socket.socket, request: Request) -> None:
        with self._lock:
            has_room = self._streams < STREAMS_MAX
            self._streams += has_room
        if not has_room:
            text = f"{STREAMS_MAX} streams are open already: ask for /api/stats.json."
            _send(connection, sentence(503, text, "Retry-After: 5"))
            _end(connection)
            return
        try:
            self._send_stream(connection, with_body=request.method != "HEAD")
        finally:
            with self._lock:
                self._streams -= 1

    def _send_stream(self, connection: socket.socket, *, with_body: bool) -> None:
        kind = "text/event-stream; charset=utf-8"
        head = _head(200, kind, None, ("Cache-Control: no-store",))
        _write(connection, head + f"retry: {RETRY_MS}\n\n".encode() * with_body)
        seen = -1
        while with_body:
            ticks = self._board.wait(seen, IDLE_S)
            if ticks > seen:
                event = b"data: %b\n\n" % self._board.as_json()
            else:
                event = b": nothing new\n\n"
            seen = ticks
            _write(connection, event)


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `ConfigError`."""
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"cannot listen at {place}: {error.strerror}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(CONNECTIONS_MAX)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(
                f"somebody listens at {place} already: end that process, or give another --listen"
            ) from None
        raise ConfigError(f"cannot listen at {place}: {error.strerror}") from None
    return listener


def _head(status: int, kind: str, length: int | None, headers: tuple[str, ...]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Content-Type: {kind}",
        *([] if length is None else [f"Content-Length: {length}"]),
        *headers,
        *ALWAYS,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def _send(connection: socket.socket, answer: Answer, *, with_body: bool = True) -> None:
    """Send an answer. Raises OSError (TimeoutError if it is not taken in time)."""
    head = _head(answer.status, answer.kind, len(answer.body), answer.headers)
    _write(connection, head + answer.body if with_body else head)


def _write(connection: socket.socket, data: bytes) -> None:
    connection.settimeout(WRITE_S)
    left = memoryview(data)
    while left:
        connection.sendall(left[:WRITE_BYTES])
        left = left[WRITE_BYTES:]


def _end(connection: socket.socket) -> None:
    """End a connection so that the answer arrives, also if not all of the request was read."""
    connection.shutdown(socket.SHUT_WR)
    deadline = monotonic() + LINGER_S
    while (wait_s := deadline - monotonic()) > 0:
        connection.settimeout(wait_s)
        if not connection.recv(65536):
            return


def _turn_away(connection: socket.socket) -> None:
    """There is no room: say so, as far as that costs no time."""
    answer = sentence(503, f"{CONNECTIONS_MAX} connections are open already.", "Retry-After: 5")
    head = _head(answer.status, answer.kind, len(answer.body), answer.headers)
    with connection, contextlib.suppress(OSError):
        connection.setblocking(False)
        connection.send(head + answer.body)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(65536)  # What is not read makes the kernel take back the answer.
