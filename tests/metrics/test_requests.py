"""Heads of requests, over real sockets, whoever sends them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zqueue.metrics import requests
from zqueue.metrics.requests import (
    BadRequest,
    Request,
    is_for_loopback,
    read_request,
)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection."""
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def read(sent: bytes) -> Request:
    """What is read when this is sent and nothing follows."""
    near, far = socket.socketpair()
    with near, far:
        far.sendall(sent)
        far.shutdown(socket.SHUT_WR)
        return read_request(near)


def status_of(sent: bytes) -> int | None:
    with pytest.raises(BadRequest) as caught:
        read(sent)
    return caught.value.status


def test_a_request() -> None:
    request = read(b"GET /metrics?x=1 HTTP/1.1\r\nHost: a:1\r\nAccept: b\r\naccept: c\r\n\r\nbody")
    assert (request.method, request.path) == ("GET", "/metrics")
    assert request.header("ACCEPT") == "b,c"
    assert request.header("nothing") == ""


def test_in_pieces(ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    read_: list[Request] = []
    thread = threading.Thread(target=lambda: read_.append(read_request(near)))
    thread.start()
    for byte in b"GET / HTTP/1.1\r\n\r\n":
        far.send(bytes([byte]))
    thread.join(5)
    assert read_[0].path == "/"


@pytest.mark.parametrize(
    "sent",
    [b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/2.0\r\n\r\n", b"get / HTTP/1.1\r\n\r\n",
     b"GET  / HTTP/1.1\r\n\r\n", b"GET /\x00 HTTP/1.1\r\n\r\n", b"GET http://x/ HTTP/1.1\r\n\r\n",
     b"GET * HTTP/1.1\r\n\r\n", b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/1.1 \r\n\r\n"],
)  # fmt: skip
def test_what_is_no_request(sent: bytes) -> None:
    assert status_of(sent) == 400


@pytest.mark.parametrize(
    "sent",
    [b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 2000 + b"\r\n", b"G" * 9000,
     b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n",
     b"GET / HTTP/1.1\r\na: " + b"b" * 9000 + b"\r\n\r\n"],
)  # fmt: skip
def test_too_much(sent: bytes) -> None:
    assert status_of(sent) == 431


def test_whoever_goes_away_is_not_answered() -> None:
    assert status_of(b"") is None
    assert status_of(b"GET / HTTP/1.1\r\n") is None


def test_whoever_takes_too_long(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "HEAD_S", 0.05)
    near, far = ends
    far.send(b"GET / ")
    with pytest.raises(BadRequest) as caught:
        read_request(near)
    assert caught.value.status == 408


@given(st.binary(max_size=300))
@example(b"GET / HTTP/1.1\r\n\xff: \xff\r\n: \r\n \r\n\r\n")
def test_garbage_raises_nothing_else(sent: bytes) -> None:
    for head in (sent, b"GET / HTTP/1.1\r\n" + sent + b"\r\n\r\n"):
        try:
            request = read(head)
            is_for_loopback(request)
            request.header("Accept")
        except BadRequest:
            pass


@pytest.mark.parametrize(
    ("host", "ok"),
    [("localhost", True), ("localhost:9464", True), ("LOCALHOST.:1", True),
     ("127.0.0.1:9464", True), ("[::1]:9464", True), ("[::1]", True),
     ("evil.example", False), ("evil.example:9464", False), ("localhost.evil.example", False),
     ("127.0.0.1.evil.example", False), ("", False), ("[::2]:9464", False), ("a:b:c", False),
     ("localhost:1@evil.example", False)],
)  # fmt: skip
def test_names_of_loopback(host: str, ok: bool) -> None:
    assert is_for_loopback(read(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())) is ok
