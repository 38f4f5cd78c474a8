"""Waiting for a condition, and time that only the test moves."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

from ..errors import ZQueueError

DEADLINE_S = 60.0
"""How long to wait for anything, by default: a machine that is busy with other tests is slow."""

LOOK_EVERY_S = 0.02

PORT_LOW, PORT_HIGH = 12_000, 32_000
"""Below ``net.ipv4.ip_local_port_range``, which begins at 32,768, and above most known services."""

T = TypeVar("T")


class Unmet(ZQueueError, AssertionError):
    """What was waited for did not come. A test fails by it, and a command says it."""


def wait_until(
    condition: Callable[[], T | None],
    timeout: float = DEADLINE_S,
    *,
    every: float = LOOK_EVERY_S,
    what: object = "the condition",
) -> T:
    """Call ``condition`` until it returns something true, and return that.

    Parameters:
        timeout, every: seconds in all, and between two calls.
        what: for the error's text; may be a function that returns it.

    Raises `Unmet`, an AssertionError, when the time is over.
    """
    pause = threading.Event()
    deadline = monotonic() + timeout
    while not (value := condition()):
        if monotonic() > deadline:
            said = what() if callable(what) else what
            raise Unmet(f"not within {timeout:g} s: {said}; the last value was {value!r}")
        pause.wait(every)
    return value


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now.

    None of those that Linux gives to whoever connects: until the test's process listens there,
    another's connection could have taken it.
    """
    while True:
        port = random.randrange(PORT_LOW, PORT_HIGH)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class FakeClock:
    """A clock that only `advance` moves, for code that takes a function for the time.

    Calling it returns ``now``, in seconds.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> float:
        """Let time pass. Returns the new time."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self.now += seconds
        return self.now
