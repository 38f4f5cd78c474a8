"""What the system tests have beyond `zqueue.testing`: bare sockets, and what tasks left behind."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import msgpack
import pytest
import zmq

import zqueue
from zqueue.net.processes import children_of, is_running
from zqueue.testing import QUICK, Broker, Pool, Process, Processes, free_port, wait_until
from zqueue.testing.waiting import DEADLINE_S

__all__ = [
    "APPS", "ASK", "CONFIRM", "DEADLINE_S", "HEARTBEAT", "HELLO", "PUBLISH", "QUICK", "REFUSE",
    "TELL", "WELCOME", "BarePeer", "Broker", "Pool", "Process", "Processes", "Record", "ask",
    "bare", "calls_until_full", "children_of", "cpu_s", "free_port", "header", "is_running",
    "pairs_of", "receive", "rss_bytes", "skip_locally", "wait_until",
]  # fmt: skip

APPS = Path(__file__).parent / "apps"


def skip_locally(reason: str) -> NoReturn:
    """Where nobody reads why, a test that does not run is a failure."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def cpu_s(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- the wire ---


def header(kind: int, *fields: object) -> bytes:
    """The first frame of a message."""
    packed: bytes = msgpack.packb([1, kind, *fields])
    return packed


HELLO, WELCOME, REFUSE, HEARTBEAT, PUBLISH, CONFIRM = 1, 2, 3, 4, 10, 11
ASK, TELL = 30, 31


@contextlib.contextmanager
def bare(kind: int, url: str, **options: int | bytes) -> Iterator[zmq.Socket[bytes]]:
    """A bare ZeroMQ socket, connected."""
    with zmq.Context() as context, context.socket(kind) as opened:
        opened.setsockopt(zmq.LINGER, 0)
        for name, value in options.items():
            opened.setsockopt(getattr(zmq, name), value)
        opened.connect(url)
        yield opened


def receive(dealer: zmq.Socket[bytes], timeout: float = 5.0) -> list[bytes] | None:
    """The next message, or None."""
    return dealer.recv_multipart() if dealer.poll(int(timeout * 1000)) else None


def ask(url: str, what: str = "info", *, timeout: float = 10.0) -> dict[str, Any] | None:
    """A broker's answer to `Ask`, or None."""
    with bare(zmq.DEALER, url, RECONNECT_IVL=20) as dealer:
        dealer.send(header(ASK, what))
        answer = receive(dealer, timeout)
    if answer is None:
        return None
    state: dict[str, Any] = msgpack.unpackb(answer[1], strict_map_key=False)
    return state


def pairs_of(ranges: list[int]) -> Iterator[tuple[int, int]]:
    """``first, last, first, last, …`` as pairs."""
    return zip(ranges[::2], ranges[1::2], strict=True)


class BarePeer:
    """A producer of few words: greets, publishes, and reads what comes."""

    def __init__(self, dealer: zmq.Socket[bytes]) -> None:
        self.dealer = dealer
        self._next = itertools.count(1)
        self.confirmed = 0
        self.refused = 0
        dealer.send_multipart([header(HELLO, "producer", os.urandom(16)), msgpack.packb({})])
        answer = receive(dealer)
        assert answer is not None
        assert msgpack.unpackb(answer[0])[1] == WELCOME

    def publish(self, queue: str, batch: bytes, task: str = "") -> None:
        self.dealer.send_multipart([header(PUBLISH, next(self._next), queue, task, 0), batch])

    def read(self) -> None:
        """Count what the broker has said."""
        while self.dealer.poll(0):
            message = msgpack.unpackb(self.dealer.recv_multipart()[0])
            if message[1] == CONFIRM:
                ranges = message[2]
                self.confirmed += sum(b - a + 1 for a, b in pairs_of(ranges))
            elif message[1] == REFUSE:
                self.refused += 1


def calls_until_full(call: Callable[[int], object], most: int = 100_000) -> int:
    """Call with 0, 1, 2 … until it raises `QueueFull`; how many calls there was room for."""
    for count in range(most):
        try:
            call(count)
        except zqueue.QueueFull:
            return count
    raise AssertionError(f"there was room for {most:,}; the queue should have been full long ago")


# --- what tasks left behind ---


class Record:
    """The file to which the tasks of ``apps/jobs.py`` append, one line a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.gate = path.with_name(path.name + ".gate")
        """Tasks of ``apps/steps.py``, and ``run_slowly``, wait until this is there."""
        self.clear()

    def open_gate(self) -> None:
        """Let the tasks go on that wait."""
        self.gate.touch()

    def clear(self) -> None:
        """Nothing ran yet, and the gate is closed."""
        self.path.write_text("")
        self.gate.unlink(missing_ok=True)

    def lines(self) -> list[str]:
        return self.path.read_text().split("\n")[:-1]

    def ids(self) -> list[Any]:
        """What ran, in order; what ran twice is there twice."""
        return [json.loads(line)["id"] for line in self.lines()]

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]

    def wait_for(self, ids: Any, timeout: float = DEADLINE_S) -> list[Any]:
        """Return when all of these ran."""
        wanted = set(ids)
        wait_until(
            lambda: wanted <= set(self.ids()),
            timeout,
            what=lambda: f"runs of {sorted(wanted - set(self.ids()))[:20]} and so on",
        )
        return self.ids()
