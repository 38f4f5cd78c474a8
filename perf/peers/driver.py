"""What the drivers share. Needs nothing but the standard library.

Theory of operation. A driver is a process that `compare.py` starts with the Python of the
system under test. It reads one JSON object a line from standard input and answers each with
one line on standard output::

    {"do": "start", "workers": 2, "bodies": 1}      {"ready": "Celery 5.7.0, Redis 7.0.15"}
    {"do": "throughput", "tasks": 1000}             {"tasks": 1000, "seconds": 0.8}
    {"do": "latency", "tasks": 200, "rate": 200}    {"latencies_ns": [[due, call], ...]}
    {"do": "wordcount", "tasks": 500}               {"tasks": 500, "seconds": 0.6, "words": 9}

or with ``{"error": ...}``. It starts the system's server and workers at ``start``, and ends
them when its standard input ends, or on SIGTERM.

The report's lab (`lab.systems`) drives zqueue and raw pyzmq in the same way, with further orders.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import mmap
import os
import random
import signal
import socket
import sys
import sysconfig
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from time import monotonic, monotonic_ns
from typing import Any, NoReturn

from lab.bodies import body

from peers import working
from peers.processes import POLL_S, Processes

PORT = "PEERS_PORT"

DEADLINE_S = 120.0
"""For anything that is waited for. Calls of `compare.py` are made to last a few seconds."""


# Where things are.


def port() -> int:
    """The loopback port of the system's server."""
    return int(os.environ[PORT])


def redis_url() -> str:
    """Where the system's Redis is."""
    return f"redis://127.0.0.1:{port()}/0"


def choose_port() -> None:
    """Decide where the server will listen; all processes started later know it."""
    os.environ[PORT] = str(free_port())
    os.environ.setdefault(working.FOLDER, os.getcwd())


def free_port() -> int:
    """A TCP port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# Texts and time.


def texts(tasks: int) -> list[str]:
    """So many pieces of 1 to 4 KB of the standard library's sources, always the same."""
    while len(_texts) < tasks:
        _texts.append(next(_pieces))
    return _texts[:tasks]


def _cut() -> Iterator[str]:
    sizes = random.Random(1)
    library = Path(sysconfig.get_path("stdlib"))
    sources = sorted(p for p in library.rglob("*.py") if "site-packages" not in p.parts)
    while True:
        for source in sources:
            text = source.read_text(errors="ignore")
            while len(text) > 4096:
                size = sizes.randint(1024, 4096)
                yield text[:size]
                text = text[size:]


_texts: list[str] = []
_pieces = _cut()


def instants(tasks: int, rate: float) -> Iterator[int]:
    """When the tasks are to be sent, in nanoseconds, however long sending takes."""
    began = monotonic_ns() + 1_000_000
    return (began + int(i * 1e9 / rate) for i in range(tasks))


def pace(tasks: int, rate: float, send: Callable[[int], object]) -> None:
    """Call ``send(due_ns)`` at a steady rate."""
    for due_ns in instants(tasks, rate):
        time.sleep(max(0, due_ns - monotonic_ns()) / 1e9)
        send(due_ns)


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop, the fastest that is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


# The driver.


class Driver:
    """One system. Subclasses say how it is started and how each task is sent.

    Parameters:
        workers: worker processes.
        bodies: 1 sends one body a call; more sends that many in one message, or all at once
            where the system has a call for it.
    """

    def __init__(self, *, workers: int, bodies: int, **options: Any) -> None:
        self.workers = workers
        self.bodies = bodies
        self.options = options
        self.processes = Processes()
        self.pids = {"producer": [os.getpid()]}
        """Who does what, as far as somebody wants to know."""
        self.make: Callable[[int], Any] = body
        """The body of W1's tasks, by their number."""
        self.pauses = Pauses()
        self._slots: dict[str, memoryview] = {}

    # For subclasses to define.

    def start(self) -> str:
        """Start servers and workers; returns the system's name and version."""
        raise NotImplementedError

    def hello(self) -> None:
        """Send one task that calls `hello`."""
        raise NotImplementedError

    def throughput(self, tasks: int) -> None:
        """Send no-op tasks; return when the last one is acknowledged, or executed."""
        raise NotImplementedError

    def naps(self, tasks: int) -> None:
        """Send tasks that call `nap`; return when the last one is acknowledged."""
        raise NotImplementedError

    def probe(self, due_ns: int) -> None:
        """Send one task that calls `note_latency`."""
        raise NotImplementedError

    def count(self, chunks: list[str]) -> int:
        """Have the words of each counted by a task of its own; return the sum of the results."""
        raise NotImplementedError

    def close(self) -> None:
        """Disconnect. Servers and workers are ended afterwards."""

    # For subclasses to use.

    def pace(self, tasks: int, rate: float) -> None:
        """Call `probe` at a steady rate."""
        pace(tasks, rate, self.probe)

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition. `TimeoutError` if it does not come."""
        deadline = monotonic() + DEADLINE_S
        while not condition():
            self.pause()
            self.processes.check()
            if monotonic() > deadline:
                raise TimeoutError(f"{what}: not within {DEADLINE_S:.0f} s")

    def pause(self) -> None:
        """Pass some time between two looks."""
        time.sleep(POLL_S)

    def start_redis(self) -> str:
        """Start a Redis of our own, all in memory, and return its name and version."""
        self.processes.start(
            "redis-server", "--bind", "127.0.0.1", "--port", port(), "--dir", working.folder(),
            "--save", "", "--appendonly", "no", "--loglevel", "warning",
        )  # fmt: skip
        self.wait_until(lambda: _exchange(b"PING\r\n").startswith(b"+PONG"), "Redis")
        version = _exchange(b"INFO server\r\n").partition(b"redis_version:")[2].split()[0]
        return f"Redis {version.decode()}"

    def wait_for_workers(self) -> None:
        """Send tasks until every worker process has run one."""
        again = monotonic()

        def show_themselves() -> bool:
            nonlocal again
            if monotonic() >= again:  # Those sent before may all have gone to one of them.
                for _ in range(4 * self.workers):
                    self.hello()
                again = monotonic() + 0.5
            return self._are_ready()

        self.wait_until(show_themselves, f"{self.workers} workers")

    def wait_for_marks(self) -> None:
        """Wait until every worker process has called `mark_ready` by itself."""
        self.wait_until(self._are_ready, f"{self.workers} workers")

    def executed(self) -> int:
        """Tasks that the workers have counted since they started."""
        for name in self._marks("executed"):
            if name not in self._slots:
                # A file that was just made may be empty still.
                with (working.folder() / name).open("rb") as file, contextlib.suppress(ValueError):
                    mapped = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
                    self._slots[name] = memoryview(mapped).cast("q")
        return sum(slot[0] for slot in self._slots.values())

    def _are_ready(self) -> bool:
        return len({name.split("-")[1] for name in self._marks("ready")}) >= self.workers

    def _marks(self, kind: str) -> list[str]:
        return [name for name in os.listdir(working.folder()) if name.startswith(f"{kind}-")]

    def _latencies(self) -> list[list[int]]:
        files = (working.folder() / name for name in self._marks("latencies"))
        lines = (line for file in files for line in file.read_bytes().split(b"\n")[:-1])
        return [list(map(int, line.split())) for line in lines]

    # Orders.

    def obey_start(self) -> dict[str, Any]:
        """Everything is up when this returns."""
        return {"ready": self.start(), "pids": self.pids, "url": f"tcp://127.0.0.1:{port()}"}

    def obey_throughput(self, tasks: int, size: int = 0, **options: Any) -> dict[str, Any]:
        """W1; with ``size``, of bodies that are so many bytes."""
        payload = b"x" * size
        self.make = (lambda i: payload) if size else body
        self.options |= options
        before = self.pauses.count, self.pauses.total_s
        began = monotonic()
        self.throughput(tasks)
        seconds = monotonic() - began
        return {"tasks": tasks, "seconds": seconds, "gc": self.pauses.since(*before)}

    def obey_waits(self, tasks: int) -> dict[str, Any]:
        """Tasks that wait, in threads: see `perf/waiting.py`."""
        began = monotonic()
        self.naps(tasks)
        return {"tasks": tasks, "seconds": monotonic() - began}

    def obey_latency(self, tasks: int, rate: float) -> dict[str, Any]:
        """W2. Of each task, the time since it was due and since the call, where a driver notes
        that, too."""
        for name in self._marks("latencies"):
            os.truncate(working.folder() / name, 0)
        self.pace(tasks, rate)
        self.wait_until(lambda: len(self._latencies()) >= tasks, "the last task's start")
        return {"latencies_ns": self._latencies()}

    def obey_wordcount(self, tasks: int) -> dict[str, Any]:
        """W3. `RuntimeError` if the system's sum is not that of a direct count."""
        chunks = texts(tasks)
        began = monotonic()
        counted = self.count(chunks)
        seconds = monotonic() - began
        if counted != sum(map(working.words, chunks)):
            raise RuntimeError(f"counted {counted} words, not {sum(map(working.words, chunks))}")
        return {"tasks": tasks, "seconds": seconds, "words": counted}


class AsyncDriver(Driver):
    """A system with a client for asyncio."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.loop = new_loop()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run it in the loop. `TimeoutError` if it does not end."""
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, DEADLINE_S))

    def pause(self) -> None:
        """The client goes on meanwhile."""
        self.run(asyncio.sleep(POLL_S))

    def pace(self, tasks: int, rate: float) -> None:
        """Await `probe_async` at a steady rate, in the loop."""

        async def run() -> None:
            for due_ns in instants(tasks, rate):
                await asyncio.sleep(max(0, due_ns - monotonic_ns()) / 1e9)
                await self.probe_async(due_ns)

        self.run(run())

    async def probe_async(self, due_ns: int) -> None:
        """Send one task that calls `note_latency`."""
        raise NotImplementedError


class Pauses:
    """The garbage collections of this process: how many, and how long in all, seconds."""

    def __init__(self) -> None:
        self.count, self.total_s, self.longest_s = 0, 0.0, 0.0
        self._began = 0.0
        gc.callbacks.append(self.note)

    def note(self, phase: str, about: dict[str, int]) -> None:
        if phase == "start":
            self._began = monotonic()
        elif self._began:
            pause_s = monotonic() - self._began
            self.count += 1
            self.total_s += pause_s
            self.longest_s = max(self.longest_s, pause_s)

    def since(self, count: int, total_s: float) -> dict[str, float]:
        """What came since then; the longest pause is that of all times."""
        return {"count": self.count - count, "total": (self.total_s - total_s) * 1e3,
                "max": self.longest_s * 1e3}  # fmt: skip


def _exchange(request: bytes) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port()), timeout=1) as connection:
            connection.sendall(request)
            return connection.recv(4096)
    except OSError:
        return b""


def serve(kind: type[Driver]) -> None:
    """Obey orders until standard input ends."""
    # Whatever prints must not speak in our name.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    signal.signal(signal.SIGTERM, _leave)
    driver: Driver | None = None
    try:
        for line in sys.stdin:
            try:
                order = json.loads(line)
                verb = order.pop("do")
                if verb == "start":
                    driver, order = kind(**order), {}
                answer = getattr(driver, f"obey_{verb}")(**order)
            except Exception as error:
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=answers, flush=True)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if driver is not None:
            try:
                driver.close()
            except Exception:
                traceback.print_exc()
            driver.processes.end()


def _leave(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)
