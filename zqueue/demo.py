"""``zqueue demo``: the main job on real input, with a worker killed in the middle.

Counts the words of real text through a real broker and real worker processes, and compares with
a direct count in this process.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any, NamedTuple

import click
from click.termui import progressbar

from .app import App
from .ask import ask
from .core.pauses import PauseStats
from .errors import BrokerLost, ZQueueError
from .net.processes import start_python
from .producer import Producer

CHUNK_CHARS = 4_000
"""Text in one task, about; a task ends at the end of a line."""

AHEAD_TASKS = 1_000
"""Tasks submitted ahead of the results. More would only wait longer in the queue."""

START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 15.0
RESULT_TIMEOUT_S = 60.0

KILL_AT = 0.4
"""How much of the text is counted when a worker is killed."""

LOOKS = 20
"""How often to look for a worker that is busy, before an idle one is killed."""

SNIFF_BYTES = 8192
TOP_WORDS = 8

WORD = re.compile(r"[^\W\d_]+")

QUEUE, TASK = "words", "count_words"

app = App()


@app.task(queue=QUEUE, name=TASK)
def count_words(text: str) -> dict[str, int]:
    """How often each word occurs in a text."""
    return dict(Counter(WORD.findall(text.lower())))


class Outcome(NamedTuple):
    """What a run of the demo found."""

    verified: bool
    files: int
    tasks: int
    seconds: float
    words: int
    different_words: int
    top_words: list[tuple[str, int]]
    latency_ms: dict[str, float]
    gc_pause_ms: dict[str, PauseStats]
    redelivered: int
    killed_pid: int | None

    @property
    def tasks_per_s(self) -> float:
        """Tasks done in one second."""
        return self.tasks / self.seconds

    def as_data(self) -> dict[str, Any]:
        """As it is printed with ``--json``."""
        data = {**self._asdict(), "tasks_per_s": round(self.tasks_per_s, 1)}
        data["top_words"] = dict(self.top_words)
        data["seconds"] = round(self.seconds, 3)
        return data


# --- the text ---


def text_files(path: str | None) -> list[Path]:
    """Every text file under a path; by default the standard library's sources."""
    root = Path(path or sysconfig.get_paths()["stdlib"])
    if root.is_file():
        return [root]
    found: list[Path] = []
    for folder, folders, names in os.walk(root):
        if path is None and "site-packages" in folders:
            folders.remove("site-packages")  # Installed packages are not the library's own.
        found += [file for name in names if _is_text(file := Path(folder, name))]
    return sorted(found)


def _is_text(file: Path) -> bool:
    try:
        if not file.is_file():
            return False
        with file.open("rb") as opened:
            start = opened.read(SNIFF_BYTES)
        # A character may be cut at the end of what was read.
        start[: -3 if len(start) == SNIFF_BYTES else None].decode()
    except (OSError, UnicodeDecodeError):
        return False
    return b"\0" not in start


def chunks(files: list[Path]) -> Iterator[str]:
    """The text of all files, in pieces of whole lines."""
    for file in files:
        piece: list[str] = []
        size = 0
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                piece.append(line)
                size += len(line)
                if size >= CHUNK_CHARS:
                    yield "".join(piece)
                    piece, size = [], 0
        if piece:
            yield "".join(piece)


def count_directly(files: list[Path]) -> Counter[str]:
    """The words of all files, counted here, without any pool."""
    counted: Counter[str] = Counter()
    for text in chunks(files):
        counted.update(WORD.findall(text.lower()))
    return counted


# --- the processes ---


@contextlib.contextmanager
def running(url: str, processes: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """A broker and a pool of workers, as ``[broker, supervisor]``; gone afterwards."""
    cli = ("zqueue.cli", "main", "--log-level", "warning")
    started: list[subprocess.Popen[bytes]] = []
    try:
        # When the demo is interrupted, nobody is left to run what is queued.
        started.append(start_python(*cli, "broker", "--bind", url, "--drain-timeout", "0.2"))
        worker = ("worker", "zqueue.demo:app", "-p", str(processes), "--drain-timeout", "5")
        started.append(start_python(*cli, *worker, "--url", url))
        yield started
    finally:
        for process in reversed(started):
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process, in good order if it can be had."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for_workers(url: str, processes: int, started: list[subprocess.Popen[bytes]]) -> None:
    """Return when the broker knows so many workers. Raises `ZQueueError` if it never does."""
    deadline = monotonic() + START_TIMEOUT_S
    while monotonic() < deadline:
        for process in started:
            if process.poll() is not None:
                raise ZQueueError(f"a process of the demo ended with code {process.returncode}")
        with contextlib.suppress(BrokerLost):
            if len(ask(url, timeout=0.2)["workers"]) >= processes:
                return
    raise ZQueueError(f"the demo's processes were not ready within {START_TIMEOUT_S:g} s")


def kill_one(url: str) -> int:
    """Kill the worker that holds most tasks, without any warning. Returns its pid."""
    for _ in range(LOOKS):
        held = _held(url)
        pid = max(held, key=lambda pid: held[pid])
        os.kill(pid, signal.SIGSTOP)
        # What it said before may still be on its way, but not for twenty questions.
        if all(_held(url).get(pid) for _ in range(LOOKS)):
            break
        os.kill(pid, signal.SIGCONT)
    os.kill(pid, signal.SIGKILL)
    return pid


def _held(url: str) -> dict[int, int]:
    """How many tasks each worker holds, by pid."""
    return {worker["pid"]: worker["in_flight"] for worker in ask(url)["workers"]}


# --- the run ---


class Tally:
    """Adds up results as they come, from whichever thread brings them."""

    def __init__(self) -> None:
        self.words: Counter[str] = Counter()
        self.latencies_s: list[float] = []
        self.error: BaseException | None = None
        self._lock = threading.Lock()
        self._room = threading.Semaphore(AHEAD_TASKS)

    def expect(self, future: Future[Any]) -> None:
        """Take the result when it is there."""
        began = monotonic()
        future.add_done_callback(lambda done: self._take(done, monotonic() - began))

    def wait_for_room(self) -> None:
        """Return when fewer than `AHEAD_TASKS` results are awaited."""
        if not self._room.acquire(timeout=RESULT_TIMEOUT_S):
            raise ZQueueError(f"no result for {RESULT_TIMEOUT_S:g} s")

    def wait_for_all(self) -> None:
        """Return when no result is awaited."""
        for _ in range(AHEAD_TASKS):
            self.wait_for_room()

    def _take(self, future: Future[Any], latency_s: float) -> None:
        error = future.exception()
        with self._lock:
            if error is not None:
                self.error = error
            else:
                self.words.update(future.result())
                self.latencies_s.append(latency_s)
        self._room.release()


def count_in_pool(
    url: str, files: list[Path], *, kill: bool, progress: bool
) -> tuple[Tally, float, int | None]:
    """Count through the pool: the tally, the seconds it took, and the pid that was killed."""
    total = sum(file.stat().st_size for file in files)
    tally = Tally()
    killed: int | None = None
    sent = 0
    with (
        Producer(url) as producer,
        progressbar(length=total, label="counting", file=sys.stderr, hidden=not progress) as bar,
    ):
        began = monotonic()
        for text in chunks(files):
            tally.wait_for_room()
            tally.expect(producer.submit(QUEUE, (text,), task=TASK))
            size = len(text.encode())
            sent += size
            bar.update(size)
            if kill and killed is None and sent >= KILL_AT * total:
                killed = kill_one(url)
        tally.wait_for_all()
        seconds = monotonic() - began
    return tally, seconds, killed


def percentiles_ms(latencies_s: list[float]) -> dict[str, float]:
    """p50, p95 and p99, from every single value."""
    if len(latencies_s) < 2:
        latencies_s = latencies_s * 2 or [0.0, 0.0]
    cuts = statistics.quantiles(latencies_s, n=100, method="inclusive")
    return {f"p{p}": round(cuts[p - 1] * 1000, 3) for p in (50, 95, 99)}


def measure(path: str | None, *, processes: int, kill: bool, progress: bool) -> Outcome:
    """The whole demo. Raises `ZQueueError` if it cannot be carried through."""
    files = text_files(path)
    if not files:
        raise ZQueueError(f"there is no text file under {path}")
    with tempfile.TemporaryDirectory(prefix="zqueue-") as folder:
        url = f"ipc://{folder}/broker"
        with running(url, processes) as started:
            wait_for_workers(url, processes, started)
            tally, seconds, killed = count_in_pool(url, files, kill=kill, progress=progress)
            stop(started[1])  # Its workers' last reports are then with the broker.
            state = ask(url)
    if tally.error is not None:
        raise ZQueueError(f"a task failed: {tally.error}")
    direct = count_directly(files)
    return Outcome(
        verified=tally.words == direct and state["counters"]["dead"] == 0,
        files=len(files),
        tasks=len(tally.latencies_s),
        seconds=seconds,
        words=tally.words.total(),
        different_words=len(tally.words),
        top_words=tally.words.most_common(TOP_WORDS),
        latency_ms=percentiles_ms(tally.latencies_s),
        gc_pause_ms=state["gc_pause_ms"],
        redelivered=state["counters"]["redelivered"],
        killed_pid=killed,
    )


def describe(outcome: Outcome) -> str:
    """The outcome for people."""
    top = ", ".join(f"{word} {count:,}" for word, count in outcome.top_words)
    latency = "   ".join(f"{name} {ms:,.1f} ms" for name, ms in outcome.latency_ms.items())
    pauses = "   ".join(
        f"{role} {stats['count']}, longest {stats['max']:.1f} ms"
        for role, stats in outcome.gc_pause_ms.items()
    )
    lost = "no worker was killed"
    if outcome.killed_pid is not None:
        lost = f"worker {outcome.killed_pid} was killed by SIGKILL in the middle"
    verdict = "OK: every word, as in a direct count" if outcome.verified else "FAILED"
    return "\n".join(
        [
            f"tasks          {outcome.tasks:,} from {outcome.files:,} files",
            f"time           {outcome.seconds:.2f} s",
            f"throughput     {outcome.tasks_per_s:,.0f} tasks/s, results included",
            f"words          {outcome.words:,} ({outcome.different_words:,} different)",
            f"top words      {top}",
            f"latency        {latency}   (send to result, up to {AHEAD_TASKS:,} tasks ahead)",
            f"GC pauses      {pauses}",
            f"redelivered    {outcome.redelivered:,} tasks; {lost}",
            f"verification   {verdict}",
        ]
    )


def run_demo(path: str | None, *, processes: int, kill: bool, as_json: bool) -> int:
    """Run the demo and print what came of it. Returns the exit code."""

    def on_terminate(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, on_terminate)
    outcome = measure(path, processes=processes, kill=kill, progress=not as_json)
    click.echo(json.dumps(outcome.as_data()) if as_json else describe(outcome))
    return 0 if outcome.verified else 1
