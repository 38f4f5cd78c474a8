"""A rig: real processes under load, what is done to them, and the history of all that."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Self

from tests.simulation.checker import check
from tests.simulation.history import (
    Began,
    Confirmed,
    Dead,
    Ended,
    Event,
    Fault,
    History,
    Kept,
    PowerLost,
    Sent,
    Told,
)
from zqueue.testing import Cluster, Pool, Process, wait_until

ROOT = Path(__file__).parents[2]
APP = Path(__file__).parent / "app.py"
NOTICED_S = 12.0
"""By then everybody has found out that something was done to a process."""


class Rig(Cluster):
    """A broker and pools of two workers; with ``data``, the broker's queues are there."""

    def __init__(
        self, *, pools: int = 1, data: Path | None = None, options: Sequence[str] = ()
    ) -> None:
        store = () if data is None else ("--data-dir", str(data))
        os.environ["RECORD"] = ""  # Each has its own: see below.
        super().__init__(broker_options=(*options, *store))
        self.is_durable = data is not None
        self.record = self.folder / "record"
        self.record.touch()
        os.environ["RECORD"] = str(self.record)
        self.brokers = 1
        self.senders: dict[str, Process] = {}
        self.pools: list[Pool] = []
        self._faults: list[Fault | PowerLost] = []
        self._next = 1
        self._left = 0
        with self._left_on_error():
            for _ in range(pools):
                self.add_pool()

    def __enter__(self) -> Self:
        return self

    # --- the cast ---

    def add_pool(self) -> Pool:
        """Start a supervisor with two workers."""
        pool = self.start_workers(APP, 2)
        self.pools.append(pool)
        return pool

    def send(self, count: int, *, seconds: float = 0.005, poison: int = 0) -> str:
        """Start a producer that sends so many tasks. Returns its name."""
        name = f"producer-{self._next}"
        self.senders[name] = self.processes.start(
            name, sys.executable, "-m", "tests.faults.sender", self.url, name, str(self._next),
            str(count), str(seconds), str(poison), cwd=ROOT,
        )  # fmt: skip
        self._next += count
        return name

    # --- what is done to them ---

    def fault(self, kind: str, whom: str, lasts_s: float = 0.0) -> None:
        """Note that something is done to somebody now."""
        now = monotonic()
        self._faults.append(Fault(now, kind, whom, now + lasts_s + NOTICED_S))

    def power_lost(self, window_s: float) -> None:
        """Note that what was confirmed within so many seconds may be lost."""
        now = monotonic()
        self._faults.append(PowerLost(now, now - window_s))

    def kill_worker(self) -> None:
        """SIGKILL; its supervisor starts another."""
        pool = self.pools[0]
        if pids := pool.pids:
            self.fault("kill", f"{pool.process.pid}/{pids[0]}")
            os.kill(pids[0], signal.SIGKILL)

    def kill_supervisor(self) -> None:
        """SIGKILL, and start another."""
        pool = self.pools.pop(0)
        self.fault("kill", str(pool.process.pid))
        pool.process.kill()
        self.add_pool()

    def kill_broker(self) -> None:
        """SIGKILL, and start another at the same address."""
        self.fault("kill", f"broker-{self.brokers}")
        self.brokers += 1
        self.broker.restart()

    def kill_sender(self) -> None:
        """SIGKILL for a producer that has not finished, and start another that sends as much."""
        for name, process in self.senders.items():
            if process.is_running():
                self.fault("kill", name)
                process.kill()
                self.send(100)
                return

    # --- the verdict ---

    def lines(self) -> Iterator[dict[str, Any]]:
        """What was noted so far."""
        for line in self.record.read_text().splitlines():
            yield json.loads(line)

    def count(self, what: str) -> int:
        """How many lines say this."""
        return sum(what in line for line in self.lines())

    def wait_until_over(self, timeout: float = 60.0) -> None:
        """Wait until every producer has ended, and no task is left."""

        def is_over() -> bool:
            return not any(process.is_running() for process in self.senders.values())

        wait_until(is_over, timeout, what=lambda: f"producers to end: {self.logs()}")
        self.wait_idle(timeout)

    def history(self) -> History:
        """All that is known of the run."""
        events: list[Event] = [*self._faults]
        open_: dict[tuple[int, str], float] = {}
        for line in self.lines():
            events += _events_of(line, f"broker-{self.brokers}")
            if "began" in line:
                open_[line["began"], line["worker"]] = line["at"]
            elif "ended" in line:
                open_.pop((line["ended"], line["worker"]), None)
        events += [Ended(at, task, worker, "cut") for (task, worker), at in open_.items()]
        for letter in self.dead():
            task = letter["body"][0]
            events += [Dead(monotonic(), task, letter["reason"]), Kept(monotonic(), task)]
        return History(events, durable=self.is_durable)

    def judge(self) -> History:
        """Wait until all is over, and hold the history against what is promised."""
        self.wait_until_over()
        history = self.history()
        broken = list(check(history))
        assert not broken, "\n".join(map(str, broken[:10]))
        return history


def _events_of(line: dict[str, Any], broker: str) -> Iterator[Event]:
    at = line["at"]
    if "sent" in line:
        for task in line["sent"]:
            yield Sent(at, task, line["producer"], "work", "run", line["reply"])
    elif "confirmed" in line:
        for task in line["confirmed"]:
            yield Confirmed(at, task, broker)
    elif "began" in line:
        yield Began(at, line["began"], line["worker"], line["attempt"])
    elif "ended" in line:
        yield Ended(at, line["ended"], line["worker"], line["how"])
    elif "told" in line:
        yield Told(at, line["told"], line["how"], line.get("value"))
    elif "fault" in line:
        yield Fault(at, line["fault"], line["whom"], at + NOTICED_S)
