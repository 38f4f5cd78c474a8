"""The sidecar's HTTP server: metrics, the page, and its figures. Read-only: no request changes
anything.

Theory of operation. One thread accepts connections, and each has a thread of its own. Beyond
`CONNECTIONS_MAX` a connection gets 503 and no thread. A connection is for one request. A stream
lasts until the client leaves, or takes less than `WRITE_BYTES` in `WRITE_S`. There are at most
`STREAMS_MAX` streams, so that Prometheus is served however many pages are open. All streams send
the same bytes (`board`).
"""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import json
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
from urllib.parse import parse_qs

from ..errors import ConfigError, ZQueueError
from ..net.sockets import AddressInUse
from .board import Board
from .dead_letter import letter_of
from .exposition import form_for
from .requests import BadRequest, Request, is_for_loopback, read_request
from .token import ASKS, Token
from .untrusted import line

logger = logging.getLogger("zqueue")

CONNECTIONS_MAX = 128
STREAMS_MAX = 64

WRITE_S = 5.0
WRITE_BYTES = 64 << 10
"""A client that does not take so many bytes in so many seconds is disconnected."""

STUCK_S = 10.0
"""After so many seconds without a tick `/livez` answers 503."""

IDLE_S = 15.0
"""After so many seconds without a snapshot a stream sends a comment, which keeps it open."""

RETRY_MS = 2000
"""When a page is to reconnect after it lost its stream."""

SEND_BUFFER_BYTES = 256 << 10
"""The kernel's buffer for one client: a slow one fills it."""

LINGER_S = 0.5
"""How long a client has to read the answer and leave before we close its connection, seconds."""

SHORTAGE_S = 0.1
"""How long to wait before accepting again when the process has no file descriptor left, seconds."""

OPEN = "/livez"
"""What needs no token: whoever restarts a sidecar asks for it, and it tells no figures."""

TEXT = "text/plain; charset=utf-8"

ALWAYS = (
    "X-Content-Type-Options: nosniff",
    "Referrer-Policy: no-referrer",
    "Cross-Origin-Resource-Policy: same-origin",
    "Connection: close",
)


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    kind: str
    body: bytes
    headers: tuple[str, ...] = ("Cache-Control: no-store",)


def sentence(status: int, text: str, *headers: str) -> Answer:
    """An answer of plain text, for people."""
    return Answer(status, TEXT, f"{text}\n".encode(), ("Cache-Control: no-store", *headers))


def load_page() -> Answer:
    """The page, with a content security policy that allows only its own script and style."""
    page = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
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

    def __init__(
        self, board: Board, host: str, port: int, *, ready_workers: int = 0,
        token: Token | None = None,
    ) -> None:  # fmt: skip
        self._board = board
        self._ready_workers = ready_workers
        self._token = token
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
            "/api/dead.json": self._dead,
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
                if error.errno in (errno.EMFILE, errno.ENFILE):  # Until a file is closed.
                    select.select([self._woken], [], [], SHORTAGE_S)
                continue  # Or the client left before its turn.
            if not self._start_serving(connection):
                _turn_away(connection)

    def _start_serving(self, connection: socket.socket) -> bool:
        """Serve a connection in a thread. False if there is no room."""
        with self._lock:
            if self._connections >= CONNECTIONS_MAX:
                return False
            self._connections += 1
        try:
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
        except RuntimeError:  # The system allows no more threads.
            with self._lock:
                self._connections -= 1
            return False
        return True

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
                self._serve_request(connection)
        except OSError:
            pass  # The client left, or is too slow: there is no one to answer.
        except Exception:
            logger.exception("a request failed")
        finally:
            with self._lock:
                self._connections -= 1

    def _serve_request(self, connection: socket.socket) -> None:
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
        """Why a request is refused, or None."""
        if self._is_loopback and not is_for_loopback(request):
            return sentence(403, "Only requests for localhost are answered here.")
        if self._token is not None and request.path != OPEN and not self._token.is_in(request):
            return sentence(401, "Show the token: Authorization: Bearer TOKEN.", ASKS)
        if request.path not in self._paths and request.path != "/api/stream":
            return sentence(
                404, f"No such path. There are {', '.join(self._paths)} and /api/stream."
            )
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
            return sentence(
                503, f"The sidecar is stuck: no tick for {self._board.since_tick_s:.0f} s."
            )
        return sentence(200, "The sidecar is alive.")

    def _readyz(self, request: Request) -> Answer:
        problems = self._board.problems(self._ready_workers)
        return sentence(503, "\n".join(problems)) if problems else sentence(200, "Ready.")

    def _dead(self, request: Request) -> Answer:
        """One dead letter: ``?broker=URL&number=N``."""
        asked = parse_qs(request.query)
        url, number = asked.get("broker", [""])[0], asked.get("number", [""])[0]
        if url not in self._board.urls or not re.fullmatch(r"\d{1,18}", number):
            return sentence(400, "Ask for /api/dead.json?broker=URL&number=N, of a watched broker.")
        try:
            letter = letter_of(url, int(number))
        except ZQueueError as error:
            return sentence(503, line(str(error)))
        if letter is None:
            return sentence(404, f"There is no dead letter {number} any more.")
        return Answer(200, "application/json", json.dumps(letter).encode())

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
                event = b": idle\n\n"
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
                f"another process listens at {place}: end it, or give another --listen"
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
    """Send an answer. Raises OSError (TimeoutError if the client does not take it in time)."""
    head = _head(answer.status, answer.kind, len(answer.body), answer.headers)
    _write(connection, head + answer.body if with_body else head)


def _write(connection: socket.socket, data: bytes) -> None:
    connection.settimeout(WRITE_S)
    left = memoryview(data)
    while left:
        connection.sendall(left[:WRITE_BYTES])
        left = left[WRITE_BYTES:]


def _end(connection: socket.socket) -> None:
    """End a connection so that the answer arrives even if we did not read all of the request."""
    connection.shutdown(socket.SHUT_WR)
    deadline = monotonic() + LINGER_S
    while (wait_s := deadline - monotonic()) > 0:
        connection.settimeout(wait_s)
        if not connection.recv(65536):
            return


def _turn_away(connection: socket.socket) -> None:
    """Answer 503 because there is no room, without waiting for the client."""
    answer = sentence(503, f"{CONNECTIONS_MAX} connections are open already.", "Retry-After: 5")
    head = _head(answer.status, answer.kind, len(answer.body), answer.headers)
    with connection, contextlib.suppress(OSError):
        connection.setblocking(False)
        connection.send(head + answer.body)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(65536)  # With input unread the kernel would reset, and drop the answer.
