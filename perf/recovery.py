"""How soon tasks run again when somebody was killed, how punctual delayed ones are, what they take.

    python perf/recovery.py
    python perf/recovery.py redelivery delays --runs 50
    TMPDIR=/var/tmp python perf/recovery.py restart      the data dir is in the temporary directory

redelivery  a worker of two is killed (kill -9) while it runs a task: from the kill to the begin of
            that task in the other one
restart     a broker with a data dir is killed under load and started again: from its start as a
            process to the first task that it has handed out; whether any confirmed one is missing
delays      from the time for which a task was asked to its begin
waiting     a million delayed tasks: memory of the broker for each, and its processor time meanwhile
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from lab.measure import percentile
from lab.usage import cpu_s, rss_bytes
from lab.wording import table

import zqueue
from zqueue.testing import Cluster, wait_until

APP = Path(__file__).parent / "recovery_app.py"
LONG_S = 3600.0
WATCHED_S = 5.0
"""How long the broker is looked at while nothing is due, if there are `WAITING` tasks."""
WAITING = 1_000_000
SETTLED_S = 1.0

BUSY_S = 0.02
"""A task where the broker is killed: so long that workers have few in their hands, and wait for the
next broker instead of going on with what they have."""

Row = tuple[str, str, str]


class Begin(NamedTuple):
    """A task began."""

    number: int
    pid: int
    at: float


class Bench(Cluster):
    """A broker and two workers that note what they begin."""

    def __init__(self, *broker_options: str, workers: int = 2) -> None:
        self._record = Path(tempfile.mkdtemp(prefix="zqueue-recovery-")) / "record"
        self._record.touch()
        os.environ["RECORD"] = str(self._record)
        app = APP if workers else None
        super().__init__(app, workers, broker_options=broker_options)
        self._leaving.callback(self._record.parent.rmdir)
        self._leaving.callback(self._record.unlink)

    def begins(self) -> list[Begin]:
        """All that was noted so far."""
        lines = self._record.read_bytes().split(b"\n")[:-1]
        fields = (line.split() for line in lines)
        return [Begin(int(number), int(pid), float(at)) for number, pid, at in fields]


@contextmanager
def _data_dir() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="zqueue-recovery-") as folder:
        yield str(Path(folder) / "data")


def _ms(name: str, waits_s: list[float], wanted: str) -> Row:
    ordered = sorted(wait * 1e3 for wait in waits_s)
    middle, late = percentile(ordered, 50), percentile(ordered, 99)
    return (
        name,
        f"{middle:.1f} p50, {late:.1f} p99, {ordered[-1]:.1f} most of {len(ordered)}",
        wanted,
    )


def redelivery(runs: int) -> list[Row]:
    """Kill a worker in the middle of a task, again and again."""
    waits = []
    with Bench() as bench, zqueue.Producer(bench.url) as producer:
        for run in range(runs):
            wait_until(lambda: bench.workers and len(bench.workers.pids) == 2, what="two workers")
            wait_until(lambda: len(bench.worker_pids()) == 2, what="two workers in the broker")
            producer.send("work", [run, 0.3], task="work")
            first = wait_until(
                lambda: next((b for b in bench.begins() if b.number == run), None),  # noqa: B023
                every=0.002, what="the task",
            )  # fmt: skip
            killed_at = monotonic()
            os.kill(first.pid, signal.SIGKILL)
            again = wait_until(
                lambda: [b for b in bench.begins() if b.number == run][1:],  # noqa: B023
                every=0.002, what="the task, again",
            )  # fmt: skip
            waits.append(again[0].at - killed_at)
    return [_ms("redelivered after kill -9 of a worker, ms", waits, "p50 < 50")]


def restart(runs: int, tasks: int) -> list[Row]:
    """Kill the broker while tasks come and go."""
    waits, used, missing = [], [], 0
    for _ in range(runs):
        with _data_dir() as data, Bench("--data-dir", data) as bench:
            with zqueue.Producer(bench.url, timeout=60) as producer:
                producer.send_many(
                    "work", ([number, 0.001] for number in range(tasks)), task="work"
                )
                producer.flush(60)
                wait_until(lambda: len(bench.begins()) > tasks // 10, what="tasks")
                bench.broker.kill()
                started_at = monotonic()
                bench.broker.start()
                # What workers had they go on with, whoever is the broker: asked is this one.
                wait_until(lambda: bench.count("delivered"), every=0.005, what="a task")
                waits.append(monotonic() - started_at)
                used.append(cpu_s(bench.broker.pid))
                bench.wait_idle(120)
            begins = bench.begins()
            missing += tasks - len({b.number for b in begins})
    return [
        _ms("first task after the start of a killed broker, ms", waits, "all < 1000"),
        _ms("  the broker's processor time until then, ms", used, ""),
        ("confirmed tasks that are missing", str(missing), "0"),
    ]


def delays(tasks: int) -> list[Row]:
    """Ask for times that chance chooses."""
    chance = random.Random(1)
    with Bench() as bench, zqueue.Producer(bench.url) as producer:
        due = []
        for number in range(tasks):
            delay_ms = chance.randrange(500, 4000)
            due.append(monotonic() + delay_ms / 1e3)
            options = zqueue.task_options(delay=delay_ms / 1e3)
            producer.send("work", [number], task="work", options=options)
            time.sleep(0.001)
        wait_until(lambda: len(bench.begins()) >= tasks, 60, what="all of them")
        late = [b.at - due[b.number] for b in bench.begins()]
    return [
        _ms("begin of a delayed task after its time, ms", late, "p50, p99 < 10"),
        ("  the earliest, ms before its time", f"{max(0.0, -min(late)) * 1e3:.1f}", "0"),
    ]


def waiting(tasks: int) -> list[Row]:
    """Let many wait for long; nothing else happens."""
    rows = []
    room = ("--queue-tasks", str(4 * tasks + 10_000), "--queue-bytes", "4G", "--max-bytes", "8G")
    for name, single, stored, wanted in (
        ("in batches", False, False, "~24 beside the body"),
        ("one by one", True, False, "<= 64 beside the body"),
        ("one by one, with a data dir", True, True, "<= 64 beside what finds an entry"),
    ):
        with (
            _data_dir() as data,
            Bench(*room, *(("--data-dir", data) if stored else ()), workers=0) as bench,
        ):
            with zqueue.Producer(bench.url, timeout=120) as producer:
                _delay(producer, 2000, single=single)
                before = rss_bytes(bench.broker.pid)
                _delay(producer, tasks, single=single)
            time.sleep(SETTLED_S)  # What came is behind it.
            grew = rss_bytes(bench.broker.pid) - before
            used = cpu_s(bench.broker.pid)
            watched_s = max(0.5, WATCHED_S * min(1.0, tasks / WAITING))
            time.sleep(watched_s)
            share = (cpu_s(bench.broker.pid) - used) / watched_s
            assert bench.queue("work")["delayed"] == tasks + 2000
        rows += [
            (f"{tasks:,} delayed tasks sent {name}, bytes each", f"{grew / tasks:.0f}", wanted),
            ("  the broker's part of a core meanwhile", f"{share:.2%}", "~0"),
        ]
    return rows


def _delay(producer: zqueue.Producer, tasks: int, *, single: bool) -> None:
    if not single:
        options = zqueue.task_options(delay=LONG_S)
        producer.send_many("work", ([n] for n in range(tasks)), task="work", options=options)
    for number in range(tasks if single else 0):
        # Another time for each: no two of them travel together.
        options = zqueue.task_options(delay=LONG_S + number % 1000)
        producer.send("work", [number], task="work", options=options)
        if number % 1000 == 999:  # Nor those that have the same one.
            producer.flush(120)
    producer.flush(120)


def main() -> None:
    """Parse arguments, measure, print."""
    parts = {
        "redelivery": lambda a: redelivery(a.runs),
        "restart": lambda a: restart(max(1, a.runs // 5), a.tasks // 10),
        "delays": lambda a: delays(a.tasks),
        "waiting": lambda a: waiting(a.waiting),
    }
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[*parts, []], metavar="PART",
                        help=f"{', '.join(parts)}; by default all")  # fmt: skip
    parser.add_argument("--runs", type=int, default=30, help="kills of a worker; brokers: a fifth")
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--waiting", type=int, default=WAITING, help="tasks that are delayed")
    arguments = parser.parse_args()
    rows = [row for name in arguments.parts or parts for row in parts[name](arguments)]
    print(table(("figure", "found", "wanted"), rows, left=3))


if __name__ == "__main__":
    sys.exit(main())
