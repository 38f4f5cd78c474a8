"""``zqueue demo``: the main job on real input, with a worker killed in the middle.

Counts the words of real text through a real broker and real worker processes, and compares with
a direct count in this process. Some tasks fail at first, and are tried again.
"""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import sys
import sysconfig
import threading
import zlib
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
from .client.ask import ask
from .current import current
from .errors import ZQueueError
from .interpreted import note
from .producer import Producer
from .stats.pauses import PauseStats
from .testing import Cluster

CHUNK_CHARS = 4_000
"""Text in one task, about; a task ends at the end of a line."""

AHEAD_TASKS = 1_000
"""Tasks submitted ahead of the results. More would only wait longer in the queue."""

RESULT_TIMEOUT_S = 60.0

KILL_AT = 0.4
"""How much of the text is counted when a worker is killed."""

FAILS_ONE_IN = 100
"""Of so many tasks one fails at its first attempt, which one its text says."""

LOOKS = 20
"""How often to look for a worker that is busy, before an idle one is killed."""

SNIFF_BYTES = 8192
TOP_WORDS = 8

WORD = re.compile(r"[^\W\d_]+")

QUEUE, TASK = "words", "count_words"

app = App()


@app.task(queue=QUEUE, name=TASK, backoff=0.05)
def count_words(text: str) -> dict[str, int]:
    """How often each word occurs in a text. Some fail at first."""
    if fails_at_first(text) and current().attempt == 1:
        raise OSError("it fails at its first attempt, for the demo")
    return dict(Counter(WORD.findall(text.lower())))


def fails_at_first(text: str) -> bool:
    """Whether the task of a text fails at its first attempt, if it lives so long."""
    return zlib.crc32(text.encode()) % FAILS_ONE_IN == 0


class Outcome(NamedTuple):
    """The result of a run."""

    verified: bool
    compiled: bool
    files: int
    tasks: int
    seconds: float
    words: int
    different_words: int
    top_words: list[tuple[str, int]]
    latency_ms: dict[str, float]
    gc_pause_ms: dict[str, PauseStats]
    retried: int
    redelivered: int
    killed_pid: int | None

    @property
    def tasks_per_s(self) -> float:
        """Tasks done in one second."""
        return self.tasks / self.seconds

    def as_data(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
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


# --- the worker that is killed ---


def kill_one(url: str) -> int:
    """Kill the worker that holds most tasks, without any warning. Returns its pid."""
    for _ in range(LOOKS):
        held = _held(url)
        pid = max(held, key=lambda pid: held[pid])
        os.kill(pid, signal.SIGSTOP)
        # Its last reports may still be on their way, but not for twenty questions.
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
        """Count the future's result once it is done."""
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
    """Run the whole demo. Raises `ZQueueError` if it cannot be completed."""
    files = text_files(path)
    if not files:
        raise ZQueueError(f"there is no text file under {path}")
    with Cluster(
        "zqueue.demo:app", processes, broker_options=(), worker_options=("--drain-timeout", "5")
    ) as cluster:
        url = cluster.url
        tally, seconds, killed = count_in_pool(url, files, kill=kill, progress=progress)
        if cluster.workers is not None:
            cluster.workers.process.stop()  # Its workers' last reports are then with the broker.
        state = cluster.info()
    if tally.error is not None:
        raise ZQueueError(f"a task failed: {tally.error}")
    counters = state["counters"]
    # With a killed worker, one may come to a second attempt before it failed.
    failing, redelivered = sum(map(fails_at_first, chunks(files))), counters["redelivered"]
    is_retried = failing - redelivered <= counters["retried"] <= failing
    is_right = tally.words == count_directly(files)
    return Outcome(
        verified=is_right and is_retried and counters["dead"] == 0,
        compiled=state["compiled"],
        files=len(files),
        tasks=len(tally.latencies_s),
        seconds=seconds,
        words=tally.words.total(),
        different_words=len(tally.words),
        top_words=tally.words.most_common(TOP_WORDS),
        latency_ms=percentiles_ms(tally.latencies_s),
        gc_pause_ms=state["gc_pause_ms"],
        retried=counters["retried"],
        redelivered=redelivered,
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
    said = note(outcome.compiled)
    return "\n".join(
        [
            *([f"modules        {said}"] if said else []),
            f"tasks          {outcome.tasks:,} from {outcome.files:,} files",
            f"time           {outcome.seconds:.2f} s",
            f"throughput     {outcome.tasks_per_s:,.0f} tasks/s, results included",
            f"words          {outcome.words:,} ({outcome.different_words:,} different)",
            f"top words      {top}",
            f"latency        {latency}   (send to result, up to {AHEAD_TASKS:,} tasks ahead)",
            f"GC pauses      {pauses}",
            f"retried        {outcome.retried:,} tasks, which failed at their first attempt",
            f"redelivered    {outcome.redelivered:,} tasks; {lost}",
            f"verification   {verdict}",
        ]
    )


def run_demo(path: str | None, *, processes: int, kill: bool, as_json: bool) -> int:
    """Run the demo and print its result. Returns the exit code."""

    def on_terminate(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, on_terminate)
    outcome = measure(path, processes=processes, kill=kill, progress=not as_json)
    click.echo(json.dumps(outcome.as_data()) if as_json else describe(outcome))
    return 0 if outcome.verified else 1
