"""What it costs that queues survive: a broker in memory and one with a data dir, in turn.

    python perf/durable.py                     in the temporary directory
    python perf/durable.py --data-dir /var/lib/zqueue-perf --runs 5

Rates are tasks/s until the last task is done, beside the processor time of the broker for each, by
thread: its loop, that of ZeroMQ, and that of the store, with how much of it is the system's. Beside
them stands what it takes to write as many bytes into a file, by `pwritev` alone. A confirm is timed
alone, 200 a second, beside one write of 512 bytes and its sync at the same rate in the same
directory: the disk's share. Only ratios within one run mean something.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter, sleep, thread_time

from lab.systems import System, running
from lab.usage import threads_cpu_s
from lab.wording import table

import zqueue

LEVELS = ("memory", "os", "disk")
CONFIRMS = 200
PAUSE_S = 0.005

WARM_UP_TASKS = 10_000_000
"""By then a store writes files again that it has made, as it does ever after."""

CASES: dict[str, tuple[int, int]] = {
    "send_many, all in one": (4_000_000, 0),
    "send_many, 512 a call": (4_000_000, 512),
    "send, one by one": (1_000_000, 1),
}
"""Tasks, and bodies a call."""

HEAD_BYTES, TASK_BYTES, BATCH_TASKS, BATCHES, PROBE_BYTES = 80, 40, 512, 8, 64 << 20
"""What a batch and a task take in a file, and what is written to see what that costs."""

WANTED = {"send_many, all in one": 0.85, "send_many, 512 a call": 0.85, "send, one by one": 0.8}
"""Least rate of level disk, of that in memory."""


def confirm_ms(system: System) -> float:
    """Median from sending a task to its confirm."""
    waits = []
    with zqueue.Producer(system.url) as producer:
        for _ in range(CONFIRMS):
            began = perf_counter()
            producer.send("confirmed", None)
            producer.flush(timeout=30)
            waits.append(perf_counter() - began)
            sleep(PAUSE_S)
    return statistics.median(waits) * 1e3


def sync_ms(folder: Path) -> float:
    """Median of a write of 512 bytes into a file that is there, and its sync."""
    waits = []
    descriptor = os.open(folder / "probe", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, bytes(1 << 20))
        os.fsync(descriptor)
        for i in range(CONFIRMS):
            began = perf_counter()
            os.pwrite(descriptor, bytes(512), 512 * i)
            os.fdatasync(descriptor)
            waits.append(perf_counter() - began)
            sleep(PAUSE_S)
    finally:
        os.close(descriptor)
        os.unlink(folder / "probe")
    return statistics.median(waits) * 1e3


def write_ns(folder: Path) -> float:
    """Processor time to write what a task takes on disk, in batches of 512, into a file that is
    there: nobody who keeps tasks on disk can do with less."""
    parts = [bytes(HEAD_BYTES), os.urandom(BATCH_TASKS * TASK_BYTES)] * BATCHES
    descriptor = os.open(folder / "probe", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for _ in range(2):  # The first time it is made.
            at, began = 0, thread_time()
            while at < PROBE_BYTES:
                at += os.pwritev(descriptor, parts, at)
            took = thread_time() - began
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
        os.unlink(folder / "probe")
    return took * 1e9 / (at / (sum(map(len, parts)) / BATCHES / BATCH_TASKS))


def throughput(system: System, tasks: int, bodies: int) -> dict[str, float]:
    """As `System.throughput`, with the nanoseconds a task of each thread of the broker, and of the
    system in it."""
    (pid,) = system.pids["broker"]
    before = threads_cpu_s(pid)
    sample = system.throughput(tasks, bodies)
    for role, now in threads_cpu_s(pid).items():
        then = before.get(role, (0.0, 0.0))
        for part, name in zip((0, 1), (role, f"{role}:system"), strict=True):
            sample[name] = (now[part] - then[part]) * 1e9 / tasks
    return sample


def in_turn(
    systems: dict[str, System], runs: int, work: Callable[[System], dict[str, float]]
) -> dict[str, list[dict[str, float]]]:
    """Each level's figures of each run; who begins changes from run to run."""
    found: dict[str, list[dict[str, float]]] = {level: [] for level in systems}
    for run in range(runs):
        for level in list(systems)[:: 1 if run % 2 else -1]:
            found[level].append(work(systems[level]))
    return found


def measure(
    systems: dict[str, System], runs: int, warm_up: int, folder: Path
) -> list[tuple[str, ...]]:
    """A line for each case and level."""
    for system in systems.values():
        system.throughput(warm_up, 0)
    rows: list[tuple[str, ...]] = []
    for case, (tasks, bodies) in CASES.items():
        found = in_turn(systems, runs, lambda s, t=tasks, b=bodies: throughput(s, t, b))
        for level, samples in found.items():
            pairs = list(zip(samples, found["memory"], strict=True))
            ratio = statistics.median(here["rate"] / there["rate"] for here, there in pairs)
            rate = statistics.median(sample["rate"] for sample in samples)
            cpu_ns = statistics.median(sample["cpu_ns:broker"] for sample in samples)
            wanted = f">= {WANTED[case]}" if level == "disk" else ""
            threads = [_part(samples, role) for role in ("loop", "zmq", "store")]
            rows.append((case, level, f"{rate:,.0f}", f"{ratio:.2f}", wanted, f"{cpu_ns:,.0f}",
                         *threads))  # fmt: skip
    confirms = in_turn(systems, runs, lambda s: {"ms": confirm_ms(s)})
    for level, samples in confirms.items():
        ms = statistics.median(sample["ms"] for sample in samples)
        rows.append(("confirm p50, ms", level, f"{ms:.2f}", *[""] * 6))
    rows.append(("write and sync p50, ms", "", f"{sync_ms(folder):.2f}", *[""] * 6))
    rows.append(("pwritev, ns a task", "", f"{write_ns(folder):.1f}", *[""] * 6))
    return rows


def _part(samples: list[dict[str, float]], role: str) -> str:
    here, of_system = (
        statistics.median(sample.get(name, 0.0) for sample in samples)
        for name in (role, f"{role}:system")
    )
    return f"{here:,.0f} ({of_system:,.0f})"


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, help="where data dirs are made, and removed")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--warm-up", type=int, default=WARM_UP_TASKS, help="tasks before")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="zqueue-durable-", dir=arguments.data_dir)
            )
        )
        systems = {
            level: stack.enter_context(
                running("ours", 1, broker=() if level == "memory" else
                        ("--data-dir", str(folder / level), "--durability", level))
            )
            for level in LEVELS
        }  # fmt: skip
        header = (
            "case",
            "level",
            "rate",
            "of memory",
            "wanted",
            "broker, ns a task",
            "loop (system)",
            "zmq",
            "store",
        )
        print(table(header, measure(systems, arguments.runs, arguments.warm_up, folder)))


if __name__ == "__main__":
    main()
