"""Real processes for the system tests: started, watched, shown when a test fails, and ended."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgpack
import zmq

import zqueue

APPS = Path(__file__).parent / "apps"

QUICK = ("--heartbeat", "0.1", "--liveness", "0.5")
"""Broker options under which a silent peer is soon given up."""

DEADLINE_S = 15.0

SHOWN_CHARS = 6_000

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T],
    timeout: float = DEADLINE_S,
    *,
    every: float = 0.02,
    what: object = "the condition",
) -> T:
    """Poll until the condition holds, and return what it gave. Fails at the deadline."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            said = what() if callable(what) else what
            raise AssertionError(f"not within {timeout:g} s: {said}; the last value was {value!r}")
        time.sleep(every)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# --- the system's own view of processes ---


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    return _stat(pid)[0] not in ("", "Z", "X")


def children_of(pid: int) -> list[int]:
    """The processes whose parent this is."""
    everybody = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [other for other in everybody if _stat(other)[1] == pid]


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def cpu_s(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _birth(pid: int) -> str:
    """When a process began; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _stat(pid: int) -> tuple[str, int]:
    """State letter and parent."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", 0
    return fields[0], int(fields[1])


# --- processes of a test ---


class Process:
    """One process that a test started. Its output goes to files, so no pipe ever fills up."""

    def __init__(self, name: str, folder: Path, arguments: list[str], **options: Any) -> None:
        self.name = name
        self._out = folder / f"{name}.out"
        self._err = folder / f"{name}.err"
        options.setdefault("stdin", subprocess.DEVNULL)
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.popen = subprocess.Popen(arguments, stdout=out, stderr=err, **options)
        self._family: dict[int, str] = {}

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def out(self) -> str:
        return self._out.read_text(errors="replace")

    @property
    def err(self) -> str:
        return self._err.read_text(errors="replace")

    def children(self) -> list[int]:
        """Its living children; remembered, so that `end` ends them too."""
        found = children_of(self.pid)
        self.remember(found)
        return found

    def remember(self, pids: list[int]) -> None:
        """These, too, come from this process, and are to be ended with it."""
        for pid in pids:
            self._family.setdefault(pid, _birth(pid))

    def send(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def is_running(self) -> bool:
        return self.popen.poll() is None

    def wait(self, timeout: float = DEADLINE_S) -> int:
        """Its exit code; fails if it does not end."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {timeout:g} s") from None

    def kill(self) -> None:
        """SIGKILL, and see it gone."""
        self.children()
        self.popen.kill()
        self.popen.wait()

    def end(self) -> None:
        """End it and the children that were seen, whatever state they are in."""
        self.children()
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        for pid, birth in self._family.items():
            if birth and _birth(pid) == birth:  # A number may have been given to another.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


class Processes:
    """All processes of one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: list[Process] = []
        self._numbers = itertools.count(1)

    def start(self, name: str, *arguments: str, **options: Any) -> Process:
        """Start any program."""
        process = Process(f"{next(self._numbers)}-{name}", self.folder, list(arguments), **options)
        self.all.append(process)
        return process

    def zqueue(self, *arguments: str, **options: Any) -> Process:
        """Start ``zqueue …``."""
        return self.start(arguments[0], sys.executable, "-m", "zqueue", *arguments, **options)

    def python(self, program: str, *arguments: str, **options: Any) -> Process:
        """Start a Python program given as text."""
        return self.start("program", sys.executable, "-c", program, *arguments, **options)

    def end(self) -> None:
        for process in reversed(self.all):
            process.end()

    def shown(self) -> Iterator[tuple[str, str]]:
        """Name and error output of each."""
        for process in self.all:
            code = process.popen.poll()
            state = "running" if code is None else f"exit code {code}"
            yield f"stderr of {process.name} ({state})", process.err[-SHOWN_CHARS:]


class Broker:
    """A broker process, and what it tells over the wire."""

    def __init__(self, processes: Processes, url: str, options: tuple[str, ...]) -> None:
        self.url = url
        self._processes = processes
        self._options = options
        self.process: Process
        self.start()

    def start(self) -> None:
        """Start it (again, at the same address)."""
        self.process = self._processes.zqueue("broker", "--bind", self.url, *self._options)
        wait_until(self._is_up, what=lambda: f"a broker at {self.url}: {self.process.err}")

    def restart(self) -> None:
        """kill -9, and a new one at the same address."""
        self.process.kill()
        self.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def info(self, timeout: float = 10.0) -> dict[str, Any]:
        """Its answer to `Ask`."""
        state = ask(self.url, timeout=timeout)
        assert state is not None, f"no answer from the broker within {timeout:g} s"
        return state

    def dead(self) -> list[dict[str, Any]]:
        """Its newest dead letters: queue, task, reason, attempt, and the error's type."""
        answer = ask(self.url, "dead")
        assert answer is not None
        keys = ("queue", "task", "body", "reason", "error", "attempt")
        letters = [dict(zip(keys, letter, strict=True)) for letter in answer["letters"]]
        for letter in letters:
            letter["error"] = msgpack.unpackb(letter["error"])
            (letter["body"],) = msgpack.unpackb(letter["body"], strict_map_key=False)
        return letters

    def count(self, name: str) -> int:
        """One of its counters."""
        value: int = self.info()["counters"][name]
        return value

    def queue(self, name: str) -> dict[str, Any]:
        """What it says of a queue; nothing is there of one that it does not know."""
        found: dict[str, Any] = self.info()["queues"].get(name, {"ready": 0, "leased": 0})
        return found

    def worker_pids(self) -> list[int]:
        """The worker processes that it knows."""
        return [worker["pid"] for worker in self.info()["workers"]]

    def wait_idle(self, timeout: float = DEADLINE_S) -> dict[str, Any]:
        """Return its state once no task is ready or leased."""

        def idle() -> dict[str, Any] | None:
            state = self.info()
            busy = any(queue["ready"] or queue["leased"] for queue in state["queues"].values())
            return None if busy else state

        return wait_until(idle, timeout, what=lambda: f"an idle broker: {self.info()}")

    def _is_up(self) -> bool:
        assert self.process.is_running(), f"the broker ended: {self.process.err}"
        return ask(self.url, timeout=0.2) is not None


class Pool:
    """A supervisor and its worker processes."""

    def __init__(self, process: Process) -> None:
        self.process = process

    @property
    def pids(self) -> list[int]:
        """Its living workers."""
        return [pid for pid in self.process.children() if is_running(pid)]

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor and all its workers."""
        for pid in [self.process.pid, *self.pids]:
            os.kill(pid, number)


# --- the wire ---


def header(kind: int, *fields: object) -> bytes:
    """The first frame of a message."""
    packed: bytes = msgpack.packb([1, kind, *fields])
    return packed


HELLO, WELCOME, REFUSE, HEARTBEAT, PUBLISH, CONFIRM = 1, 2, 3, 4, 10, 11
ASK, TELL = 30, 31


@contextlib.contextmanager
def bare(kind: int, url: str, **options: int) -> Iterator[zmq.Socket[bytes]]:
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
        path.touch()

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
