"""The HTTP server, with real connections and the statistics of a real broker machine."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.broker.conftest import Talk
from tests.system.harness import wait_until
from zqueue.errors import BrokerLost
from zqueue.metrics import server as server_module
from zqueue.metrics.board import Board
from zqueue.metrics.poller import Poller
from zqueue.metrics.server import CONNECTIONS_MAX, STREAMS_MAX, Server
from zqueue.net.sockets import AddressInUse
from zqueue.stats.pauses import Pauses

from .conftest import Got, get
from .test_poller import Scripted


class Served:
    """A server with a board that ticks when the test says so."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, **options: Any) -> None:
        talk = Talk()
        talk.worker()
        self.asker = Scripted(stats=talk.broker.teller.stats())
        self.poller = Poller("tcp://somewhere:1", self.asker)
        self.board = Board([self.poller], Pauses())
        self.server = Server(self.board, host, port, **options)
        self.server.start()
        self.poll()

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def address(self) -> tuple[str, int]:
        name: tuple[str, int] = self.server._listener.getsockname()[:2]
        return name

    def poll(self) -> None:
        self.poller.poll()
        self.board.tick()

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=10)

    def send(self, text: bytes) -> bytes:
        """All that is answered to this."""
        with self.connect() as connection:
            connection.sendall(text)
            return read_all(connection)

    def idle(self) -> bool:
        return self.server._connections == self.server._streams == 0


def read_all(connection: socket.socket) -> bytes:
    read = b""
    while part := connection.recv(65536):
        read += part
    return read


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.server.close()


# --- what there is ---


def test_metrics(served: Served) -> None:
    got = get(served.url + "/metrics")
    assert got.status == 200
    assert got.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'zqueue_up{broker="tcp://somewhere:1"} 1\n' in got.text
    assert got.headers["Cache-Control"] == "no-store"
    assert got.headers["Vary"] == "Accept"


def test_metrics_in_the_format_that_is_asked_for(served: Served) -> None:
    got = get(served.url + "/metrics", Accept="application/openmetrics-text;version=1.0.0")
    assert got.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert got.text.endswith("# EOF\n")


def test_alive(served: Served) -> None:
    served.asker.answers["stats"] = BrokerLost("x")
    served.poll()
    assert get(served.url + "/livez").status == 200


def test_not_alive(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "STUCK_S", -1.0)
    got = get(served.url + "/livez")
    assert (got.status, got.text) == (503, "The sidecar is stuck: no tick for 0 s.\n")


def test_ready(served: Served) -> None:
    assert get(served.url + "/readyz").status == 200
    served.asker.answers["stats"] = BrokerLost("x")
    served.poll()
    got = get(served.url + "/readyz")
    assert (got.status, got.text) == (503, "No broker answers at tcp://somewhere:1.\n")


def test_ready_with_workers() -> None:
    served = Served(ready_workers=2)
    try:
        got = get(served.url + "/readyz")
        assert (got.status, got.text) == (503, "tcp://somewhere:1 has 1 of 2 workers.\n")
    finally:
        served.server.close()


def test_the_snapshot(served: Served) -> None:
    got = get(served.url + "/api/stats.json")
    assert got.headers["Content-Type"] == "application/json"
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert got.headers["Cache-Control"] == "no-store"
    assert json.loads(got.text)["brokers"][0]["state"] == "ok"


def test_the_page_and_what_it_may(served: Served) -> None:
    """Its own script and style, in the words in which they are, and nothing else."""
    got = get(served.url + "/")
    assert got.headers["Content-Type"] == "text/html; charset=utf-8"
    assert got.text.startswith("<!")
    policy = got.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", got.text, re.S)
        assert f"{tag}-src {server_module._hash_of(text)}" in policy
    assert not re.search(r"<[^>]*\s(style|on\w+)=", re.sub(r"<script>.*</script>", "", got.text,
                                                           flags=re.S))  # fmt: skip


def test_a_dead_letter_is_asked_of_a_watched_broker(served: Served) -> None:
    for query in ("", "?number=1", "?broker=tcp://else:1&number=1",
                  "?broker=tcp://somewhere:1&number=-1", "?broker=tcp://somewhere:1&number=x",
                  "?" + "&".join("a" * 9)):  # fmt: skip
        assert get(f"{served.url}/api/dead.json{query}").status == 400, query
    got = get(f"{served.url}/api/dead.json?broker=tcp%3A%2F%2Fsomewhere%3A1&number=1")
    assert got.status == 503
    assert "no broker answers at tcp://somewhere:1" in got.text


def test_head_is_answered_without_a_body(served: Served) -> None:
    for path in ("/", "/metrics", "/livez", "/api/stats.json", "/api/stream", "/nothing"):
        answer = served.send(b"HEAD %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 ")
        assert body == b""


@pytest.mark.parametrize("path", ["/x", "//", "/../etc/passwd", "/metrics/", "/page.html"])
def test_nothing_else(served: Served, path: str) -> None:
    got = get(served.url + path)
    assert got.status == 404
    assert got.headers["Content-Type"].startswith("text/plain")
    assert "/metrics" in got.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
def test_it_can_only_be_read(served: Served, method: str) -> None:
    body = b"x" * 100_000
    answer = served.send(
        b"%b /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b"
        % (method.encode(), len(body), body)
    )
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nAllow: GET, HEAD\r\n" in answer


def test_other_names_than_loopbacks_are_not_answered(served: Served) -> None:
    for path in (b"/api/stats.json", b"/api/stream", b"/"):
        answer = served.send(b"GET %b HTTP/1.1\r\nHost: evil.example\r\n\r\n" % path)
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"localhost" in answer


@pytest.mark.parametrize(
    "garbage",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"\x00" * 100 + b"\r\n\r\n",
     b"GET\r\n\r\n", b"G" * 20_000, b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 5000 + b"\r\n",
     b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n"],
)  # fmt: skip
def test_garbage(served: Served, garbage: bytes) -> None:
    answer = served.send(garbage)
    assert re.match(rb"HTTP/1\.1 4\d\d [^\r]*\r\n", answer)
    assert b"text/plain" in answer
    assert get(served.url + "/livez").status == 200
    wait_until(served.idle)


def test_whoever_leaves_in_the_middle_leaves_nothing(served: Served) -> None:
    for sent in (b"", b"GET /", b"GET /metrics HTTP/1.1\r\n\r\n"):
        with served.connect() as connection:
            connection.sendall(sent)
    wait_until(served.idle)


def test_a_fault_is_logged_and_ends_one_connection(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(served.board, "problems", lambda _: 1 / 0)
    assert served.send(b"GET /readyz HTTP/1.1\r\n\r\n") == b""
    wait_until(served.idle)
    assert "ZeroDivisionError" in caplog.text
    assert get(served.url + "/livez").status == 200


# --- streams ---


class Stream:
    """A client of ``/api/stream``."""

    def __init__(self, served: Served) -> None:
        self.connection = served.connect()
        self.connection.sendall(b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.file = self.connection.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.headers = list(iter(self.file.readline, b"\r\n"))

    def event(self) -> bytes:
        """The next one, without its end."""
        return b"".join(iter(self.file.readline, b"\n")).rstrip(b"\n")

    def close(self) -> None:
        self.file.close()
        self.connection.close()


@pytest.fixture
def streams() -> Iterator[list[Stream]]:
    opened: list[Stream] = []
    yield opened
    for stream in opened:
        stream.close()


def test_a_stream(served: Served, streams: list[Stream]) -> None:
    streams.append(stream := Stream(served))
    assert stream.status == 200
    assert b"Content-Type: text/event-stream; charset=utf-8\r\n" in stream.headers
    assert stream.event() == b"retry: 2000"
    first = stream.event()
    assert first == b"data: " + served.board.as_json()
    served.poll()
    second = stream.event()
    assert second == b"data: " + served.board.as_json()
    assert second != first


def test_a_stream_whose_reader_left_ends(served: Served) -> None:
    stream = Stream(served)
    stream.event()
    stream.close()

    def ended() -> bool:
        served.poll()
        return served.idle()

    wait_until(ended)


def test_70_streams_of_which_64_are_served_and_a_scrape_beside(
    served: Served, streams: list[Stream]
) -> None:
    for _ in range(70):
        streams.append(Stream(served))
    statuses = [stream.status for stream in streams]
    assert (statuses.count(200), statuses.count(503)) == (STREAMS_MAX, 6)
    refused = streams[statuses.index(503)]
    assert b"Retry-After: 5\r\n" in refused.headers
    assert get(served.url + "/metrics").status == 200
    served.poll()
    for stream in streams[:STREAMS_MAX]:
        assert stream.event() == b"retry: 2000"
        assert stream.event().startswith(b"data: ")
    for stream in streams:
        stream.close()
    streams.clear()

    def has_room() -> bool:
        served.poll()
        return served.idle()

    wait_until(has_room)
    streams.append(stream := Stream(served))
    assert stream.status == 200


def test_a_reader_that_is_too_slow_is_let_go(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "WRITE_S", 0.1)
    monkeypatch.setattr(served.board, "as_json", lambda: b"x" * 1_000_000)
    stream = Stream(served)

    def let_go() -> bool:
        served.poll()
        return served.idle()

    wait_until(let_go)
    assert get(served.url + "/livez").status == 200
    stream.close()


def test_a_scraper_that_is_too_slow_is_let_go(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "WRITE_S", 0.1)
    monkeypatch.setattr(served.board, "exposed", lambda form: b"x" * 50_000_000)
    with served.connect() as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        wait_until(lambda: not served.idle())
        wait_until(served.idle)


def test_there_is_room_for_so_many_connections(served: Served) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS_MAX):
            stack.enter_context(served.connect())
        wait_until(lambda: served.server._connections == CONNECTIONS_MAX)
        threads = threading.active_count()
        with served.connect() as connection:
            answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 5\r\n" in answer
        assert threading.active_count() == threads
    wait_until(served.idle)
    assert get(served.url + "/livez").status == 200


def test_whoever_goes_on_sending_is_not_listened_to_for_long(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(b"POST /metrics HTTP/1.1\r\n\r\n")
        stopped = threading.Event()

        def drip() -> None:
            with contextlib.suppress(OSError):
                while not stopped.wait(0.01):
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        wait_until(served.idle, 5)
        stopped.set()
        thread.join()


# --- where it listens ---


def test_a_port_that_is_taken(served: Served) -> None:
    with pytest.raises(AddressInUse, match=r"another process listens at "):
        Server(served.board, *served.address)


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


@pytest.mark.skipif(not has_ipv6(), reason="there is no IPv6 here")
def test_ipv6() -> None:
    served = Served("::1")
    try:
        assert re.fullmatch(r"http://\[::1\]:\d+", served.url)
        assert get(served.url + "/livez") == Got(
            200, get(served.url + "/livez").headers, "The sidecar is alive.\n"
        )
    finally:
        served.server.close()


def test_elsewhere_than_at_loopback_every_name_is_answered() -> None:
    served = Served("0.0.0.0")
    try:
        with socket.create_connection(("127.0.0.1", served.address[1]), 10) as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: sidecar.example\r\n\r\n")
            assert read_all(connection).startswith(b"HTTP/1.1 200 ")
    finally:
        served.server.close()
