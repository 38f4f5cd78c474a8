"""What clients may not do, whoever they are: with both parsers, by raw sockets."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.http.running import LIMITS, Running, read_all
from tests.system.harness import wait_until
from zqueue.http import connections, serving
from zqueue.http.asgi import Receive, Scope, Send, answer, live, sentence, until_gone

SMALL = dataclasses.replace(LIMITS, connections_max=8, head_bytes_max=8192)

ASK = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
ASK_ONCE = ASK[:-2] + b"Connection: close\r\n\r\n"


class Echo:
    """Tells how long a body is; ``/wait`` answers when it may; ``/much`` sends without end."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.gone = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await live(receive, send)
            return
        if scope["path"] == "/wait":
            gone = asyncio.ensure_future(until_gone(receive))
            while not (self.may.is_set() or gone.done()):
                await asyncio.wait({gone}, timeout=0.01)
            self.gone += gone.done()
            gone.cancel()
        elif scope["path"] == "/much":
            await self._send_much(receive, send)
            return
        elif scope["path"] == "/fail":
            raise RuntimeError("on purpose")
        length, more = 0, scope["method"] == "POST"
        while more:
            message = await receive()
            length += len(message.get("body", b""))
            more = message.get("more_body", False)
        await answer(send, sentence(200, f"{length} bytes"))

    async def _send_much(self, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        gone = asyncio.ensure_future(until_gone(receive))
        while not gone.done():
            part = {"type": "http.response.body", "body": b"x" * 100_000, "more_body": True}
            await send(part)
            await asyncio.sleep(0)
        self.gone += 1


@pytest.fixture(params=["h11", "httptools"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What reads requests."""
    if request.param == "h11":
        monkeypatch.setattr(connections, "HttpToolsProtocol", None)
    elif connections.HttpToolsProtocol is None:
        pytest.skip("httptools is not installed")
    monkeypatch.setattr(serving, "LOOK_S", 0.02)
    return str(request.param)


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def served(parser: str, echo: Echo) -> Iterator[Running]:
    with Running(echo, SMALL) as running:
        yield running
        echo.may.set()


@pytest.fixture
def impatient(parser: str, echo: Echo) -> Iterator[Running]:
    """A server that gives clients little time: on a busy machine even those who mean well."""
    with Running(echo, dataclasses.replace(SMALL, head_s=0.3, write_s=0.3)) as running:
        yield running
        echo.may.set()


def is_well(served: Running) -> bool:
    """Whether it answers, now or at once."""

    def answers() -> bool:
        with contextlib.suppress(OSError):
            return served.send(ASK_ONCE).endswith(b"\r\n\r\n0 bytes\n")
        return False

    return wait_until(answers)


def test_many_requests_on_a_connection(served: Running) -> None:
    with served.connect() as connection:
        for length in (0, 5, 100_000):
            connection.sendall(
                b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % length
                + b"x" * length
            )
            read = b""
            while not read.endswith(b" bytes\n"):
                read += connection.recv(65536)
            assert read.endswith(b"\r\n\r\n%d bytes\n" % length)
    wait_until(lambda: served.serving.connections == 0)


def test_pipelined_requests_are_answered_in_order(served: Running) -> None:
    posts = b"".join(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b"
                     % (length, b"x" * length) for length in range(5))  # fmt: skip
    read = served.send(posts + ASK_ONCE)
    assert re.findall(rb"(\d) bytes", read) == [b"0", b"1", b"2", b"3", b"4", b"0"]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"\x00" * 100 + b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"G" * 20_000,
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 5000 + b"\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: " + b"y" * 9000,
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n\x00\x01garbage\r\n\r\n",
    ],
    ids=["tls", "zeros", "no-line", "endless-line", "many-headers", "long-path", "endless-header",
         "length", "chunk", "behind"],
)  # fmt: skip
def test_garbage(served: Running, garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with contextlib.suppress(ConnectionResetError):
        answered = served.send(garbage)
        assert re.match(rb"HTTP/1\.1 (4\d\d|200|500) [^\r]*\r\n", answered)
    wait_until(lambda: served.serving.connections == 0)
    assert is_well(served)
    assert "Traceback" not in caplog.text


def test_half_a_head_is_not_waited_for(impatient: Running) -> None:
    """Though a byte comes now and then."""
    stopped = threading.Event()
    with impatient.connect() as connection:

        def drip() -> None:
            with contextlib.suppress(OSError):
                connection.sendall(b"GET / HTTP/1.1\r\nx: ")
                while not stopped.wait(0.01):
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        wait_until(lambda: impatient.serving.connections == 1)
        wait_until(lambda: impatient.serving.connections == 0)
        stopped.set()
        thread.join()
    assert is_well(impatient)


def test_nor_is_a_client_that_says_nothing(impatient: Running) -> None:
    with impatient.connect() as connection:
        assert read_all(connection) == b""


def test_nor_half_of_a_second_one(impatient: Running) -> None:
    with impatient.connect() as connection:
        connection.sendall(ASK)
        connection.recv(65536)
        with contextlib.suppress(OSError):
            connection.sendall(b"GET / HT")
            assert read_all(connection) == b""


def test_whoever_leaves_in_the_middle_leaves_nothing(served: Running, echo: Echo) -> None:
    for sent in (b"", b"GET /", ASK, b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n",
                 b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nx"):  # fmt: skip
        with served.connect() as connection:
            connection.sendall(sent)
    wait_until(lambda: served.serving.connections == 0)
    wait_until(lambda: echo.gone == 1)


def test_a_reader_that_takes_nothing_is_let_go(impatient: Running, echo: Echo) -> None:
    with impatient.connect() as connection:
        connection.sendall(b"GET /much HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: impatient.serving.connections == 1)
        wait_until(lambda: impatient.serving.connections == 0)
        wait_until(lambda: echo.gone == 1)
    assert is_well(impatient)


def test_a_fault_is_logged_and_fails_one_request(
    served: Running, caplog: pytest.LogCaptureFixture
) -> None:
    answered = served.send(ASK_ONCE.replace(b"/ ", b"/fail ", 1))
    assert answered.startswith(b"HTTP/1.1 500 ")
    assert "on purpose" in caplog.text
    assert b"on purpose" not in answered
    assert is_well(served)


def test_there_is_room_for_so_many_connections(parser: str, echo: Echo) -> None:
    with Running(echo, SMALL) as served, contextlib.ExitStack() as stack:
        for _ in range(SMALL.connections_max):
            busy = stack.enter_context(served.connect())
            busy.sendall(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: served.serving.connections == SMALL.connections_max)
        with served.connect() as connection:
            answered = read_all(connection)
        assert answered.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 5\r\n" in answered
        echo.may.set()


def test_an_idle_connection_makes_room(parser: str, echo: Echo) -> None:
    with Running(echo, SMALL) as served, contextlib.ExitStack() as stack:
        for _ in range(SMALL.connections_max):
            idle = stack.enter_context(served.connect())
            idle.sendall(ASK)
            assert idle.recv(65536)
        for _ in range(3):
            assert is_well(served)
        assert served.serving.connections <= SMALL.connections_max


def test_what_is_being_answered_when_it_stops_is_answered(parser: str, echo: Echo) -> None:
    with Running(echo, SMALL) as served:
        connection = served.connect()
        connection.sendall(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: served.serving.connections == 1)
        served.at_end = echo.may.set  # type: ignore[method-assign]
    with connection:
        assert read_all(connection).endswith(b"0 bytes\n")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(served.listener.address, 1)
