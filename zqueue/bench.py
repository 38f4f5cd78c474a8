"""``zqueue bench``: how fast an installation is, or a cluster as seen from this machine.

Tasks that do nothing go to a queue of the bench's own and are run by workers of its own, at the
broker of ``--url`` or at one started for it. Two ways are measured: *without results*, from the
call to the start of the handler, and *with results*, from the call to the result in the caller's
hands. Workers run on this machine, so that one monotonic clock times both ends.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import repeat
from pathlib import Path
from time import monotonic, monotonic_ns
from types import FrameType
from typing import Any, NamedTuple

import click

from .app import App
from .client.ask import Asker
from .errors import BrokerLost, TimedOut, ZQueueError
from .stats.histogram import Histogram
from .testing.processes import Process, Processes
from .version import __version__

TASKS = 500_000
"""Sent if no number is given, as fast as they are taken."""

PACED_S = 5.0
"""How long tasks are sent at a rate if no number is given."""

WARM_UP_TASKS = 2_000
START_TIMEOUT_S = 30.0
WORK_TIMEOUT_S = 60.0
"""How long nothing may come of the last tasks before the bench gives up."""

GIVE_UP_S = 5.0
"""The same after Ctrl-C."""

LOOK_EVERY_S = 0.005
"""Between two questions whether the broker's queue is empty: each takes the broker a moment."""

SHOW_EVERY_S = 0.2
PERCENTILES = (50, 90, 99)

# --- what workers run ---

QUEUE = "zqueue.bench"
"""One name for all runs: two at once are noticed, and no broker keeps a queue of each."""

NOTES = "ZQUEUE_BENCH_NOTES"
"""Environment variable: the folder where worker processes leave what they noted."""

app = App()
_noted = Histogram()
_loaded_ns = monotonic_ns()


@app.task(queue=QUEUE)
def note(sent_ns: int, payload: bytes) -> None:
    """Note how long ago it was sent, unless a bench before this one left it behind."""
    if sent_ns > _loaded_ns:
        _noted.record_ns(monotonic_ns() - sent_ns)


@app.task(queue=QUEUE)
def answer(sent_ns: int, payload: bytes) -> int:
    """Tell the caller when it was sent."""
    return sent_ns


def _save(folder: str) -> None:
    Path(folder, f"{os.getpid()}.json").write_text(json.dumps(_noted.to_wire()))


if NOTES in os.environ:
    atexit.register(_save, os.environ[NOTES])


def read_notes(folder: Path) -> Histogram:
    """What all workers noted; they must have ended."""
    noted = Histogram()
    for file in folder.glob("*.json"):
        noted.add(Histogram.from_wire(json.loads(file.read_text())))
    return noted


# --- the processes ---


def start_zqueue(processes: Processes, *arguments: str, **more: str) -> Process:
    """Start ``zqueue …`` as it comes: no configuration file, nothing from the environment but
    ``more``. Ctrl-C in a terminal does not reach it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ZQUEUE_")}
    env = {**clean, "ZQUEUE_CONFIG": os.devnull, **more}
    return processes.zqueue(*arguments, env=env, process_group=0)


def wait_until(
    condition: Callable[[], Any], what: str, timeout_s: float, *processes: Process
) -> None:
    """Look again and again until something is so. Raises `TimedOut`, or `ZQueueError` if one of
    the processes ends meanwhile."""
    pause = threading.Event()
    deadline = monotonic() + timeout_s
    while not condition():
        for process in processes:
            if not process.is_running():
                code = process.popen.returncode
                raise ZQueueError(f"a process ended with code {code}; no {what}: {process.err}")
        if monotonic() > deadline:
            raise TimedOut(f"no {what} within {timeout_s:g} s")
        pause.wait(LOOK_EVERY_S)


# --- the run ---


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """What a user wants measured."""

    url: str | None = None
    """A running broker; None starts one."""
    tasks: int | None = None
    size: int = 32
    """Bytes of payload in each task."""
    rate: float | None = None
    """Tasks a second; None sends them as fast as they are taken."""
    workers: int = 1
    results: bool | None = None
    """With or without results; None measures both."""
    as_json: bool = False

    @property
    def count(self) -> int:
        """Tasks to send, each way."""
        return self.tasks or (max(1, round(self.rate * PACED_S)) if self.rate else TASKS)


class Measured(NamedTuple):
    """What came of one way."""

    tasks: int
    """Done, of those that were sent."""
    seconds: float
    latency: Histogram
    left: int = 0
    """Tasks still in the queue, after Ctrl-C."""

    def as_data(self) -> dict[str, Any]:
        """As it is printed with ``--json``."""
        latency_ms = {f"p{p}": round(self.latency.percentile(p) * 1e3, 3) for p in PERCENTILES}
        return {
            "tasks": self.tasks,
            "seconds": round(self.seconds, 3),
            "tasks_per_s": round(self.tasks / self.seconds, 1),
            "latency_ms": {**latency_ms, "max": round(self.latency.max * 1e3, 3)},
            "left": self.left,
        }


class Interrupt:
    """Ctrl-C and SIGTERM: the first ends the sending, if there is any, the next one everything."""

    def __init__(self) -> None:
        self.number = 0
        """Of the signal that came, 0 for none."""
        self.is_sending = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.number or not self.is_sending:
            raise SystemExit(128 + number)
        self.number = number


class Load:
    """Sends the tasks of one way and measures what comes of them."""

    def __init__(
        self, options: Options, asker: Asker, pool: Process, interrupt: Interrupt, title: str
    ) -> None:
        self._options = options
        self._asker = asker
        self._pool = pool
        self._interrupt = interrupt
        self._title = title
        self._shown = sys.stderr.isatty() and not options.as_json
        self._show_at = 0.0
        self._payload = b"x" * options.size
        self._latency = Histogram()
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._sent = self._done = 0
        self._began = monotonic()

    def without_results(self) -> Measured:
        """Until workers have acknowledged all. The latencies are with the workers."""
        note.send_many(repeat(0, WARM_UP_TASKS), repeat(self._payload))
        self._wait_until_idle()
        if self._options.rate is None:
            note.send_many(self._instants(), repeat(self._payload))
        else:
            for due_ns in self._instants():
                note.send(due_ns, self._payload)
        app.flush(WORK_TIMEOUT_S)
        left = self._wait_until_idle()
        return self._end(self._sent - left, left)

    def with_results(self) -> Measured:
        """Until the results of all are here."""
        for _ in answer.map(repeat(0, WARM_UP_TASKS), repeat(self._payload)):
            pass
        if self._options.rate is None:
            for sent_ns in answer.map(self._instants(), repeat(self._payload)):
                self._take(sent_ns)
        else:
            for due_ns in self._instants():
                answer.submit(due_ns, self._payload).add_done_callback(self._take_future)
            self._wait_until(lambda: self._error or self._done == self._sent, "last result")
        if self._error is not None:
            raise self._error
        return self._end(self._done, self._sent - self._done)

    def _instants(self) -> Iterator[int]:
        """When each task is sent or, at a rate, was due: who is late must not hide it."""
        rate, pause = self._options.rate, threading.Event()
        self._interrupt.is_sending = True
        self._began, began_ns = monotonic(), monotonic_ns()
        for i in range(self._options.count):
            instant_ns = monotonic_ns() if rate is None else began_ns + int((i + 1) * 1e9 / rate)
            while (left_ns := instant_ns - monotonic_ns()) > 0 and not self._interrupt.number:
                pause.wait(min(left_ns / 1e9, SHOW_EVERY_S))
            if self._interrupt.number:
                return
            self._sent = i + 1
            if rate is not None or not i % 1024:
                self._show()
            yield instant_ns

    def _take(self, sent_ns: int) -> None:
        self._latency.record_ns(monotonic_ns() - sent_ns)
        self._done += 1

    def _take_future(self, future: Future[int]) -> None:
        """In whichever thread brings the result."""
        with self._lock:
            self._error = self._error or future.exception()
            if self._error is None:
                self._take(future.result())

    def _wait_until_idle(self) -> int:
        """Wait until the queue is empty. Returns how many tasks are left after Ctrl-C."""
        left = 0

        def is_idle() -> bool:
            nonlocal left
            with contextlib.suppress(BrokerLost):  # A busy one may be late.
                queue = self._asker.ask(timeout=1.0)["queues"][QUEUE]
                left = queue["ready"] + queue["leased"]
                return not left
            return False

        self._wait_until(is_idle, "end of the work")
        return left

    def _wait_until(self, condition: Callable[[], Any], what: str) -> None:
        timeout_s = GIVE_UP_S if self._interrupt.number else WORK_TIMEOUT_S
        try:
            wait_until(condition, what, timeout_s, self._pool)
        except TimedOut:
            if not self._interrupt.number:
                raise

    def _show(self) -> None:
        now = monotonic()
        if self._shown and now >= self._show_at:
            self._show_at = now + SHOW_EVERY_S
            rate = self._sent / max(now - self._began, 1e-9)
            text = f"{self._title}: {self._sent:,} of {self._options.count:,} tasks, {rate:,.0f}/s"
            click.echo(f"\r\x1b[K{text}", err=True, nl=False)

    def _end(self, tasks: int, left: int) -> Measured:
        seconds = monotonic() - self._began
        if self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)
        return Measured(tasks, seconds, self._latency, left)


WAYS = {"without results": False, "with results": True}


def measure(options: Options, interrupt: Interrupt) -> tuple[bool, dict[str, Measured]]:
    """Measure each way that is wanted, with processes that are gone afterwards. Also returns
    whether the broker runs compiled.

    Raises `BrokerLost` if there is no broker, `ZQueueError` if it cannot be measured.
    """
    found: dict[str, Measured] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zqueue-")))
        url = options.url or f"ipc://{folder}/broker"
        asker = stack.enter_context(Asker(url))
        processes = Processes(folder)
        stack.callback(processes.end)
        if options.url is None:
            broker = start_zqueue(processes, "broker", "--bind", url)
            wait_until(lambda: _answers(asker), "broker", START_TIMEOUT_S, broker)
        pool = _start_pool(options, asker, processes)
        stack.callback(pool.stop)  # So that a broker of `--url` is told.
        wait_until(lambda: _workers(asker) >= options.workers, "workers", START_TIMEOUT_S, pool)
        is_compiled: bool = asker.ask()["compiled"]
        app.url = url
        stack.callback(_close_app)
        for title, results in WAYS.items():
            if options.results in (None, results) and not interrupt.number:
                load = Load(options, asker, pool, interrupt, title)
                found[title] = load.with_results() if results else load.without_results()
        pool.stop()
        if "without results" in found:
            noted = read_notes(folder)
            found["without results"] = found["without results"]._replace(latency=noted)
    return is_compiled, found


def _answers(asker: Asker) -> bool:
    with contextlib.suppress(BrokerLost):
        return bool(asker.ask(timeout=0.2))
    return False


def _workers(asker: Asker) -> int:
    queue = asker.ask()["queues"].get(QUEUE)
    return queue["workers"] if queue else 0


def _start_pool(options: Options, asker: Asker, processes: Processes) -> Process:
    if _workers(asker):
        raise ZQueueError(f"another bench is at work at {asker.url}: queue {QUEUE!r} has workers")
    return start_zqueue(
        processes, "worker", f"{__name__}:app", "-p", str(options.workers), "--url", asker.url,
        "--drain-timeout", "5", **{NOTES: str(processes.folder)},
    )  # fmt: skip


def _close_app() -> None:
    with contextlib.suppress(ZQueueError):
        app.close(1)


# --- the report ---


def describe(options: Options, found: dict[str, Measured]) -> str:
    """What was measured, for people."""
    where = options.url or "a broker of its own"
    pace = f"{options.rate:,g} tasks/s" if options.rate else "as fast as they are taken"
    names = "".join(f"{name:>9}" for name in (*(f"p{p}" for p in PERCENTILES), "max"))
    lines = [
        f"{where}, workers: {options.workers}, {options.size:,} bytes a task, sent {pace}",
        f"{'':16}{'tasks':>12}{'seconds':>9}{'tasks/s':>12}{names}  ms",
    ]
    for title, measured in found.items():
        data = measured.as_data()
        latencies = "".join(f"{ms:9,.2f}" for ms in data["latency_ms"].values())
        lines.append(
            f"{title:16}{data['tasks']:12,}{data['seconds']:9.2f}{data['tasks_per_s']:12,.0f}"
            f"{latencies}"
        )
    lines.append("latency: from the call to the handler; with results, to the result here")
    if not options.rate:
        lines.append("Under full load tasks wait for one another: --rate measures latency without.")
    if left := sum(measured.left for measured in found.values()):
        lines.append(f"{left:,} tasks are left in queue {QUEUE!r}: the next bench runs them first")
    return "\n".join(lines)


def run_bench(options: Options) -> int:
    """Measure and print. Returns the exit code: that of a signal if one ended it early."""
    interrupt = Interrupt()
    is_compiled, found = measure(options, interrupt)
    if options.as_json:
        data = {
            "version": __version__,
            "compiled": is_compiled,
            "url": options.url,
            "workers": options.workers,
            "size": options.size,
            "rate": options.rate,
            "interrupted": bool(interrupt.number),
            **{title.replace(" ", "_"): measured.as_data() for title, measured in found.items()},
        }
        click.echo(json.dumps(data))
    else:
        build = "compiled" if is_compiled else "interpreted"
        click.echo(f"zqueue {__version__}, {build}; {describe(options, found)}")
    return 128 + interrupt.number if interrupt.number else 0
