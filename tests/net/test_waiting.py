"""Waiting for sockets and descriptors: what wakes, what does not, and when it ends."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import zmq

from zqueue.net.waiting import Waiter

PATIENCE_S = 20.0
"""No wait takes anywhere near as long; it only ends tests that would hang."""

Socket = zmq.Socket[bytes]


@pytest.fixture
def context() -> Iterator[zmq.Context[Socket]]:
    context: zmq.Context[Socket] = zmq.Context()
    yield context
    context.destroy(0)


@pytest.fixture(params=["inproc", "ipc"])
def url(request: Any, tmp_path: Path) -> str:
    return "inproc://here" if request.param == "inproc" else f"ipc://{tmp_path}/socket"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def receive(socket: Socket) -> bytes | None:
    try:
        return socket.recv(zmq.NOBLOCK)
    except zmq.Again:
        return None


def next_of(waiter: Waiter, socket: Socket) -> bytes:
    """Wait as it must be done: use the socket up first, then wait, then look again."""
    deadline = monotonic() + PATIENCE_S
    while (frame := receive(socket)) is None:
        assert monotonic() < deadline, "nothing came"
        assert not waiter.wait(deadline), "no descriptor has input"
    return frame


def test_a_message_wakes(context: zmq.Context[Socket], url: str) -> None:
    waiter = Waiter()
    with context.socket(zmq.PULL) as pull, context.socket(zmq.PUSH) as push:
        pull.bind(url)
        waiter.add(pull)
        push.connect(url)
        for i in range(3):
            push.send(b"%d" % i)
            assert next_of(waiter, pull) == b"%d" % i


def test_a_message_wakes_from_without_end(context: zmq.Context[Socket], url: str) -> None:
    """The waiting thread has no deadline at all; another one sends."""
    waiter = Waiter()
    got: list[bytes] = []

    def wait() -> None:
        while (frame := receive(pull)) is None:
            waiter.wait(None)
        got.append(frame)

    with context.socket(zmq.PULL) as pull, context.socket(zmq.PUSH) as push:
        pull.bind(url)
        waiter.add(pull)
        push.connect(url)
        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        push.send(b"late")
        thread.join(PATIENCE_S)
        assert got == [b"late"]


def test_every_message_is_found_by_who_uses_the_socket_up(
    context: zmq.Context[Socket], url: str
) -> None:
    waiter = Waiter()
    with context.socket(zmq.PULL) as pull, context.socket(zmq.PUSH) as push:
        pull.bind(url)
        waiter.add(pull)
        push.connect(url)
        for i in range(100):
            push.send(b"%d" % i)
        assert [next_of(waiter, pull) for _ in range(100)] == [b"%d" % i for i in range(100)]


def test_one_of_several_sockets_wakes(context: zmq.Context[Socket], url: str) -> None:
    waiter = Waiter()
    with (
        context.socket(zmq.PULL) as quiet,
        context.socket(zmq.PULL) as pull,
        context.socket(zmq.PUSH) as push,
    ):
        quiet.bind(f"{url}-quiet")
        pull.bind(url)
        for socket in (quiet, pull):
            waiter.add(socket)
        push.connect(url)
        push.send(b"here")
        assert next_of(waiter, pull) == b"here"
        assert receive(quiet) is None


def test_a_descriptor_wakes_and_is_told(
    context: zmq.Context[Socket], url: str, pipe: tuple[int, int]
) -> None:
    reader, writer = pipe
    waiter = Waiter(reader)
    with context.socket(zmq.PULL) as pull:
        pull.bind(url)
        waiter.add(pull)
        assert receive(pull) is None
        os.write(writer, b"!")
        deadline = monotonic() + PATIENCE_S
        while not waiter.wait(deadline):
            assert receive(pull) is None  # Binding may have changed something.
            assert monotonic() < deadline
        assert waiter.wait(None), "until it is read"
        os.read(reader, 1)
        assert not waiter.wait(monotonic())


def test_a_descriptor_is_told_beside_a_socket(
    context: zmq.Context[Socket], url: str, pipe: tuple[int, int]
) -> None:
    reader, writer = pipe
    waiter = Waiter(reader)
    with context.socket(zmq.PULL) as pull, context.socket(zmq.PUSH) as push:
        pull.bind(url)
        waiter.add(pull)
        push.connect(url)
        push.send(b"both")
        os.write(writer, b"!")
        assert waiter.wait(monotonic() + PATIENCE_S)
        os.read(reader, 1)
        assert next_of(waiter, pull) == b"both"


@pytest.mark.parametrize("ahead_s", [-1e9, -1.0, 0.0, 0.02])
def test_an_instant_ends_it_and_never_too_early(ahead_s: float) -> None:
    until = monotonic() + ahead_s
    assert not Waiter().wait(until)
    assert monotonic() >= until


class TestGathering:
    def test_a_message_does_not_end_it(self, context: zmq.Context[Socket], url: str) -> None:
        waiter = Waiter()
        with context.socket(zmq.PULL) as pull, context.socket(zmq.PUSH) as push:
            pull.bind(url)
            waiter.add(pull)
            push.connect(url)
            for i in range(3):
                push.send(b"%d" % i)
            began = monotonic()
            assert not waiter.gather(0.02)
            assert monotonic() - began >= 0.02
            assert [next_of(waiter, pull) for _ in range(3)] == [b"0", b"1", b"2"]

    def test_a_descriptor_ends_it(self, pipe: tuple[int, int]) -> None:
        reader, writer = pipe
        waiter = Waiter(reader)
        assert not waiter.gather(0.001)
        os.write(writer, b"!")
        began = monotonic()
        assert waiter.gather(PATIENCE_S)
        assert monotonic() - began < PATIENCE_S
