"""Lone tasks whose result somebody waits for, through one broker and through shards of one.

    python perf/shards.py
    python perf/shards.py --shards 2 --runs 7 --seconds 2 --callers 2 --threads 8 --workers 2

Each caller is a process whose threads submit a task and wait for its result, over and over. Both
systems stand side by side all the time and work in turn; the ratio is of neighbours in time. Beside
the rate stands what the broker processes used for a task: shards gain where that is one core's
worth, and there is another core to have.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

from lab.measure import Figure, ratio
from lab.usage import cpu_s
from lab.wording import table

import zqueue
from zqueue.client.ask import Asker
from zqueue.testing import wait_until

APP = Path(__file__).with_name("awaiting_app.py")
READY_S = 120.0


def call(url: str, threads: int) -> None:
    """A caller: for each line of seconds that it reads it says how many results came in them."""
    with zqueue.Producer(url) as producer:
        for line in sys.stdin:
            print(_call_for(producer, float(line), threads), flush=True)


def _call_for(producer: zqueue.Producer, seconds: float, threads: int) -> int:
    until, counts = monotonic() + seconds, [0] * threads

    def work(place: int) -> None:
        while monotonic() < until:
            producer.submit("default", [1], task="double").result(READY_S)
            counts[place] += 1

    running = [threading.Thread(target=work, args=(place,)) for place in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(counts)


class Side:
    """One system: so many brokers, the workers and callers of all of them."""

    def __init__(self, stack: contextlib.ExitStack, folder: Path, shards: int, told: Any) -> None:
        self.shards = shards
        at = f"ipc://{folder}/{shards}"
        urls = [f"{at}-{n + 1}" for n in range(shards)] if shards > 1 else [at]
        url = ",".join(urls)
        stack.enter_context(_started("-m", "zqueue", "-l", "error", "broker", "--bind", at,
                                     "--shards", shards, "--drain-timeout", 0))  # fmt: skip
        stack.enter_context(_started("-m", "zqueue", "-l", "error", "worker", APP,
                                     "-p", told.workers, "--url", url))  # fmt: skip
        self._askers = [stack.enter_context(Asker(each)) for each in urls]
        for asker in self._askers:
            wait_until(lambda: self._workers(asker) == told.workers, READY_S)  # noqa: B023
        self._pids = [asker.ask(timeout=10.0)["pid"] for asker in self._askers]
        self._callers = [
            stack.enter_context(_started(__file__, "--call", url, told.threads))
            for _ in range(told.callers)
        ]

    @staticmethod
    def _workers(asker: Asker) -> int:
        with contextlib.suppress(zqueue.BrokerLost):
            return len(asker.ask(timeout=1.0)["workers"])
        return -1

    def run(self, seconds: float) -> dict[str, float]:
        """Let the callers call for so long."""
        before = sum(map(cpu_s, self._pids))
        for caller in self._callers:
            assert caller.stdin is not None
            caller.stdin.write(b"%f\n" % seconds)
            caller.stdin.flush()
        calls = 0
        for caller in self._callers:
            assert caller.stdout is not None
            calls += int(caller.stdout.readline())
        used = sum(map(cpu_s, self._pids)) - before
        return {"rate": calls / seconds, "cost": 1e6 * used / calls, "cores": used / seconds}


@contextlib.contextmanager
def _started(*arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block."""
    process = subprocess.Popen([sys.executable, *map(str, arguments)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run")
    parser.add_argument("--callers", type=int, default=2, help="processes that call")
    parser.add_argument("--threads", type=int, default=8, help="of each caller")
    parser.add_argument("--workers", type=int, default=2, help="worker processes")
    parser.add_argument("--call", nargs=2, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.call:
        call(told.call[0], int(told.call[1]))
        return
    with tempfile.TemporaryDirectory(prefix="zqueue-perf-") as folder, contextlib.ExitStack() as up:
        sides = [Side(up, Path(folder), count, told) for count in (1, told.shards)]
        for side in sides:
            side.run(told.seconds)
        found: list[list[dict[str, float]]] = [[], []]
        for turn in range(told.runs):
            for place in (0, 1) if turn % 2 else (1, 0):
                found[place].append(sides[place].run(told.seconds))
    rows = []
    rates = [Figure(tuple(sample["rate"] for sample in samples)) for samples in found]
    for side, rate, samples in zip(sides, rates, found, strict=True):
        cost, cores = (Figure(tuple(s[name] for s in samples)) for name in ("cost", "cores"))
        beside = ratio(rate, rates[0])
        rows.append((
            f"{side.shards}", f"{rate.median:,.0f}", f"{rate.lowest:,.0f}", f"{rate.highest:,.0f}",
            f"{cost.median:.0f} µs", f"{cores.median:.2f}",
            f"{beside.median:.2f} ({beside.lowest:.2f}–{beside.highest:.2f})",
        ))  # fmt: skip
    print(f"{len(os.sched_getaffinity(0))} processors, load {os.getloadavg()[0]:.1f}")
    print(table(("brokers", "results/s", "lowest", "highest", "brokers, a task", "their cores",
                 "beside one"), rows))  # fmt: skip


if __name__ == "__main__":
    main()
