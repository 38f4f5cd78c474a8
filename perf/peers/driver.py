"""What the drivers share. Needs nothing but the standard library.

Theory of operation. A driver is a process that `compare.py` starts with the Python of the
system under test. It reads one JSON object a line from standard input and answers each with
one line on standard output::

    {"do": "start", "workers": 2, "bodies": 1}      {"ready": "Celery 5.7.0, Redis 7.0.15"}
    {"do": "throughput", "tasks": 1000}             {"tasks": 1000, "seconds": 0.8}
    {"do": "latency", "tasks": 200, "rate": 200}    {"tasks": 200, "latencies_ns": [...]}
    {"do": "wordcount", "tasks": 500}               {"tasks": 500, "seconds": 0.6, "words": 9}

or with ``{"error": ...}``. It starts the system's server and workers at ``start``, and ends
them when its standard input ends, or on SIGTERM.

What workers have to tell (that they are there, how late a task was, how many tasks they have
run) they leave in files of the driver's folder, so that it costs every system the same and
never goes through the system that is measured. The monotonic clock is one for all processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import mmap
import os
import random
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from time import monotonic, monotonic_ns
from typing import Any, NoReturn

FOLDER = "PEERS_FOLDER"
PORT = "PEERS_PORT"

DEADLINE_S = 120.0
"""For anything that is waited for. Calls of `compare.py` are made to last a few seconds."""

POLL_S = 0.002
"""Between two looks at whether the last task is done: less than a hundredth of a run."""


# What workers call.


class _Worker(threading.local):
    """What one thread of a worker process has opened."""

    latencies: int | None = None
    executed: memoryview | None = None


_worker = _Worker()


def _forget() -> None:
    global _worker
    _worker = _Worker()


os.register_at_fork(after_in_child=_forget)


def mark_ready() -> None:
    """This worker process runs tasks."""
    _mark("ready").touch()


def hello() -> None:
    """The body of a task by which workers show themselves. Long enough for all to get one."""
    time.sleep(0.02)
    mark_ready()


def note_latency(due_ns: int) -> None:
    """The handler of a task that was to be sent at ``due_ns`` has started, now."""
    latency_ns = monotonic_ns() - due_ns
    if _worker.latencies is None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        _worker.latencies = os.open(_mark("latencies"), flags, 0o600)
    os.write(_worker.latencies, b"%d\n" % latency_ns)


def executed_slot() -> memoryview:
    """Where this thread counts the tasks that it has run: ``slot[0] += 1``."""
    if _worker.executed is None:
        path = _mark("executed")
        path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            _worker.executed = memoryview(mmap.mmap(file.fileno(), 8)).cast("q")
    return _worker.executed


def executed() -> None:
    """One task was run."""
    executed_slot()[0] += 1


def words(text: str) -> int:
    """The work of W3."""
    return len(text.split())


def _mark(kind: str) -> Path:
    return folder() / f"{kind}-{os.getpid()}-{threading.get_native_id()}"


# Where things are.


def folder() -> Path:
    """The folder of this driver and its workers."""
    return Path(os.environ[FOLDER])


def port() -> int:
    """The loopback port of the system's server."""
    return int(os.environ[PORT])


def redis_url() -> str:
    """Where the system's Redis is."""
    return f"redis://127.0.0.1:{port()}/0"


def choose_port() -> None:
    """Decide where the server will listen; all processes started later know it."""
    os.environ[PORT] = str(free_port())
    os.environ.setdefault(FOLDER, os.getcwd())


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


# Processes.


def end_with_parent() -> None:
    """The process that calls this ends on SIGTERM, and gets it when its parent dies (on Linux)."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def end_group(process: subprocess.Popen[Any], timeout: float) -> None:
    """End a process that leads a group of its own, and whoever is left of the group.

    The leader is not waited for until its group is gone: so long nobody else can get its id.
    """
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGTERM)
    deadline = monotonic() + timeout
    flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
    while os.waitid(os.P_PID, process.pid, flags) is None and monotonic() < deadline:
        time.sleep(POLL_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Processes:
    """What a driver started, and ends.

    Each leads a group of its own, in our session: Linux shares processors out between sessions
    first, and with a session for each process some systems do half as much.
    """

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: object) -> None:
        """Start a process; what it prints goes to the driver's log."""
        self._started.append(
            subprocess.Popen(
                [str(argument) for argument in arguments],
                stdin=subprocess.DEVNULL,
                process_group=0,
                preexec_fn=end_with_parent,
            )
        )

    def start_python(self, *arguments: object) -> None:
        """Start this Python, as in ``start_python("-m", "celery")``."""
        self.start(sys.executable, *arguments)

    def check(self) -> None:
        """Raise `RuntimeError` if one of them is gone."""
        for process in self._started:
            if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
                raise RuntimeError(f"{process.args!r} ended by itself")

    def end(self) -> None:
        """End all, the last one first."""
        while self._started:
            end_group(self._started.pop(), 10)


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
            "redis-server", "--bind", "127.0.0.1", "--port", port(), "--dir", folder(),
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
                with (folder() / name).open("rb") as file, contextlib.suppress(ValueError):
                    mapped = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
                    self._slots[name] = memoryview(mapped).cast("q")
        return sum(slot[0] for slot in self._slots.values())

    def _are_ready(self) -> bool:
        return len({name.split("-")[1] for name in self._marks("ready")}) >= self.workers

    def _marks(self, kind: str) -> list[str]:
        return [name for name in os.listdir(folder()) if name.startswith(f"{kind}-")]

    def _latencies(self) -> list[int]:
        files = (folder() / name for name in self._marks("latencies"))
        return [int(line) for file in files for line in file.read_bytes().split(b"\n")[:-1]]

    # Orders.

    def obey_start(self) -> dict[str, Any]:
        """Everything is up when this returns."""
        return {"ready": self.start()}

    def obey_throughput(self, tasks: int) -> dict[str, Any]:
        """W1."""
        began = monotonic()
        self.throughput(tasks)
        return {"tasks": tasks, "seconds": monotonic() - began}

    def obey_latency(self, tasks: int, rate: float) -> dict[str, Any]:
        """W2."""
        for name in self._marks("latencies"):
            os.truncate(folder() / name, 0)
        self.pace(tasks, rate)
        self.wait_until(lambda: len(self._latencies()) >= tasks, "the last task's start")
        return {"tasks": tasks, "latencies_ns": self._latencies()}

    def obey_wordcount(self, tasks: int) -> dict[str, Any]:
        """W3. `RuntimeError` if the system's sum is not that of a direct count."""
        chunks = texts(tasks)
        began = monotonic()
        counted = self.count(chunks)
        seconds = monotonic() - began
        if counted != sum(map(words, chunks)):
            raise RuntimeError(f"counted {counted} words, not {sum(map(words, chunks))}")
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
