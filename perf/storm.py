"""How soon all workers are back when a broker is, and whether any is taken for dead.

    python perf/storm.py                          300 workers, encrypted
    python perf/storm.py --workers 100 --runs 3 --plain

The workers are those of idle.py: the real machine, with a socket of its own each. Each holds a
task. The broker has a data dir; it is killed, and started again. All are back when it knows all of
them and each has a task again; after that it is watched for longer than the liveness time.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from curve import make_keys
from idle import PEERS_A_PROCESS, started, wait_for
from lab.measure import Figure
from lab.wording import table

import zqueue
from zqueue.client.ask import Asker
from zqueue.testing import free_port, wait_until

WATCHED_S = 6.0
"""Longer than the liveness time, which is 5 s."""

WANTED_S = 5.0
BACK_S = 60.0


class Found(NamedTuple):
    """What one return was like."""

    ready_s: float
    """From the start of the broker's process until it answers."""
    back_s: float
    """From then until all are back."""
    lost: int
    """Workers that it took for dead."""
    leased: int
    """Tasks that workers have, in the end."""


def queue_of(asker: Asker, timeout: float = 5.0) -> dict[str, Any]:
    """What the broker says of the queue; nothing, if it does not answer."""
    with contextlib.suppress(zqueue.BrokerLost):
        found: dict[str, Any] = asker.ask(timeout=timeout)["queues"].get("idle", {})
        return found
    return {}


def measure(workers: int, runs: int, watched_s: float, *, plain: bool) -> list[Found]:
    """Kill the broker, and start it again, so many times."""
    with tempfile.TemporaryDirectory(prefix="zqueue-perf-") as folder, contextlib.ExitStack() as up:
        keys, key_file = ("", "") if plain else make_keys(Path(folder))
        url = f"tcp://127.0.0.1:{free_port()}"
        command = [sys.executable, "-m", "zqueue", "-l", "error", "broker", "--bind", url,
                   "--data-dir", f"{folder}/data", *(["--keys", keys] if keys else [])]  # fmt: skip
        url += f"?key={key_file}" if key_file else ""
        broker = subprocess.Popen(command)
        up.callback(lambda: (broker.kill(), broker.wait()))
        with zqueue.Producer(url) as producer:
            producer.send_many("idle", range(workers), task="nothing")
        for first in range(0, workers, PEERS_A_PROCESS):
            said = Path(folder) / f"said-{first}"
            said.write_bytes(bytes(8))
            some = min(PEERS_A_PROCESS, workers - first)
            up.enter_context(started(Path(__file__).with_name("idle.py"), "--simulate", url, some,
                                     said))  # fmt: skip
        asker = up.enter_context(Asker(url))
        wait_for(asker, workers)
        found = []
        for _ in range(runs):
            wait_until(lambda: queue_of(asker).get("leased") == workers, BACK_S)
            broker.kill()
            broker.wait()
            asker.close()
            began = monotonic()
            broker = subprocess.Popen(command)
            wait_until(lambda: bool(queue_of(asker, 0.05)), BACK_S)
            ready = monotonic()
            wait_until(lambda: _are_back(asker, workers), BACK_S)
            back_s = monotonic() - ready
            time.sleep(watched_s)
            lost = asker.ask(timeout=10.0)["counters"]["workers_lost"]
            leased = queue_of(asker)["leased"]
            found.append(Found(ready - began, back_s, lost, leased))
        return found


def _are_back(asker: Asker, workers: int) -> bool:
    queue = queue_of(asker)
    return queue.get("workers") == queue.get("leased") == workers


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=300)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--watched", type=float, default=WATCHED_S, help="seconds afterwards")
    parser.add_argument("--plain", action="store_true", help="without keys")
    told = parser.parse_args()
    found = measure(told.workers, told.runs, told.watched, plain=told.plain)
    rows = []
    for name, times in (("broker answers after", [each.ready_s for each in found]),
                        ("all are back after", [each.back_s for each in found])):  # fmt: skip
        figure = Figure(tuple(times))
        wanted = f"<= {WANTED_S:g}" if name.startswith("all") else ""
        rows.append((name, *(f"{value:.2f}" for value in (
            figure.median, figure.lowest, figure.highest)), wanted))  # fmt: skip
    print(f"{told.workers} workers, load {os.getloadavg()[0]:.1f}; taken for dead: "
          f"{sum(each.lost for each in found)}; tasks that workers have: "
          f"{min(each.leased for each in found)}")  # fmt: skip
    print(table(("s", "median", "lowest", "highest", "wanted"), rows))


if __name__ == "__main__":
    main()
