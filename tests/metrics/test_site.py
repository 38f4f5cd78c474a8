"""The site, with real connections and the statistics of a real broker machine."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.broker.conftest import Talk
from tests.http.running import Running, read_all
from tests.system.harness import wait_until
from zqueue.errors import BrokerLost
from zqueue.http.listening import Listener
from zqueue.metrics import board as board_module
from zqueue.metrics import site as site_module
from zqueue.metrics.board import Board
from zqueue.metrics.poller import Poller
from zqueue.metrics.process import LIMITS
from zqueue.metrics.site import STREAMS_MAX, Site
from zqueue.stats.pauses import Pauses

from .conftest import get
from .test_poller import Scripted

QUICK = dataclasses.replace(LIMITS, write_s=0.1)


class Served:
    """A site with a board that ticks when the test says so."""

    def __init__(self, host: str = "127.0.0.1", **options: Any) -> None:
        talk = Talk()
        talk.worker()
        self.asker = Scripted(stats=talk.broker.teller.stats())
        self.poller = Poller("tcp://somewhere:1", self.asker)
        self.board = Board([self.poller], Pauses())
        listener = Listener(host, 0)
        self.site = Site(self.board, is_loopback=listener.is_loopback, **options)
        self.running = Running(self.site, QUICK, listener)
        self.running.at_end = self.site.close  # type: ignore[method-assign]
        self.address = listener.address
        self.url = listener.url
        self.send = self.running.send
        self.connect = self.running.connect

    def poll(self) -> None:
        self.poller.poll()
        self.running.call(self.site.tick)

    def idle(self) -> bool:
        return self.running.serving.connections == self.site._streams == 0

    def __enter__(self) -> Served:
        self.poller.poll()
        self.board.tick()
        self.running.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.running.__exit__(*error)


@pytest.fixture
def served() -> Iterator[Served]:
    with Served() as made:
        yield made


# --- what there is ---


def test_metrics(served: Served) -> None:
    got = get(served.url + "/metrics")
    assert got.status == 200
    assert got.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'zqueue_up{broker="tcp://somewhere:1"} 1.0\n' in got.text
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
    monkeypatch.setattr(site_module, "STUCK_S", -1.0)
    got = get(served.url + "/livez")
    assert (got.status, got.text) == (503, "The sidecar is stuck: no tick for 0 s.\n")


def test_ready(served: Served) -> None:
    assert get(served.url + "/readyz").status == 200
    served.asker.answers["stats"] = BrokerLost("x")
    served.poll()
    got = get(served.url + "/readyz")
    assert (got.status, got.text) == (503, "No broker answers at tcp://somewhere:1.\n")


def test_ready_with_workers() -> None:
    with Served(ready_workers=2) as served:
        got = get(served.url + "/readyz")
        assert (got.status, got.text) == (503, "tcp://somewhere:1 has 1 of 2 workers.\n")


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
        assert f"{tag}-src {site_module._hash_of(text)}" in policy
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
        answer = served.send(
            b"HEAD %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path.encode()
        )
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
    assert b"\r\nallow: GET, HEAD\r\n" in answer


def test_other_names_than_loopbacks_are_not_answered(served: Served) -> None:
    for path in (b"/api/stats.json", b"/api/stream", b"/"):
        answer = served.send(b"GET %b HTTP/1.1\r\nHost: evil.example\r\n\r\n" % path)
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"localhost" in answer


def test_a_fault_is_logged_and_fails_one_request(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(served.board, "problems", lambda _: 1 / 0)
    assert get(served.url + "/readyz").status == 500
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
        self.read = b""
        self.status = int(self.file.readline().split()[1])
        self.headers = [line.lower() for line in iter(self.file.readline, b"\r\n")]
        assert b"transfer-encoding: chunked\r\n" in self.headers or self.status != 200

    def event(self) -> bytes:
        """The next one, without its end."""
        while b"\n\n" not in self.read:
            length = int(self.file.readline(), 16)
            self.read += self.file.read(length)
            self.file.readline()
        event, _, self.read = self.read.partition(b"\n\n")
        return event

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
    assert b"content-type: text/event-stream; charset=utf-8\r\n" in stream.headers
    assert stream.event() == b"retry: 2000"
    first = stream.event()
    assert first == b"data: " + served.board.as_json()
    served.poll()
    second = stream.event()
    assert second == b"data: " + served.board.as_json()
    assert second != first


def test_a_stream_ends_with_the_site(served: Served, streams: list[Stream]) -> None:
    streams.append(stream := Stream(served))
    stream.event()
    stream.event()
    served.running.call(served.site.close)
    assert stream.file.readline() == b"0\r\n"


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
    assert b"retry-after: 5\r\n" in refused.headers
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


def test_streams_are_rendered_once_a_tick_and_beside_the_loop(
    served: Served, streams: list[Stream], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    expose = board_module.expose

    def exposed(*arguments: Any) -> bytes:
        threads.append(threading.current_thread().name)
        return expose(*arguments)

    monkeypatch.setattr(board_module, "expose", exposed)
    texts = {get(served.url + "/metrics").text for _ in range(3)}
    assert (len(texts), len(threads)) == (1, 1)
    assert threads[0].startswith("render")


def test_a_reader_that_is_too_slow_is_let_go(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.board, "as_json", lambda: b"x" * 8_000_000)
    stream = Stream(served)

    def let_go() -> bool:
        served.poll()
        return served.idle()

    wait_until(let_go)
    assert get(served.url + "/livez").status == 200
    stream.close()


# --- where it listens ---


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


@pytest.mark.skipif(not has_ipv6(), reason="there is no IPv6 here")
def test_ipv6() -> None:
    with Served("::1") as served:
        assert re.fullmatch(r"http://\[::1\]:\d+", served.url)
        assert get(served.url + "/livez").text == "The sidecar is alive.\n"


def test_elsewhere_than_at_loopback_every_name_is_answered() -> None:
    with Served("0.0.0.0") as served:
        ask = b"GET /livez HTTP/1.1\r\nHost: sidecar.example\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", served.address[1]), 10) as connection:
            connection.sendall(ask)
            assert read_all(connection).startswith(b"HTTP/1.1 200 ")
