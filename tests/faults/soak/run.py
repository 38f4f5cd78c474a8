"""A soak: a whole system at work for long, of which somebody is killed again and again.

Theory of operation. There is a broker with a data dir, a supervisor with two workers and two
producers. One of each role stays alive (broker and supervisor aside): it is the one that is
watched, for what was just started holds little. The others, and the broker, are killed in turn.
What fails for good is mended and replayed, so that in the end every task that was confirmed must
have been done.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple

import zqueue
from tests.faults.soak.marks import CONFIRMED, DONE, LIFE_TASKS, LIVES_MAX, MENDED, Marks, missing
from tests.faults.soak.samples import Growth, Samples
from zqueue.testing import Cluster, Pool, Process, wait_until

ROOT = Path(__file__).parents[3]
VICTIMS = ("worker", "producer", "worker", "worker", "producer", "broker")
LOOK_S = 0.5
MEND_EVERY_S = 3.0
SAMPLES_MAX = 2000
END_S = 300.0
"""How long the rest may take when nothing is sent any more."""


class Verdict(NamedTuple):
    """What came of a soak."""

    lasted_s: float
    counts: dict[str, int]
    growth: list[Growth]
    problems: list[str]


class Soak(Cluster):
    """A system at work; a context manager that leaves nothing behind.

    Parameters:
        rate: tasks a second, of both producers together.
        kill_every: seconds from one kill to the next.
    """

    def __init__(self, rate: float, kill_every: float) -> None:
        # A folder of its own: the cluster's is not there yet.
        self._data = Path(tempfile.mkdtemp(prefix="zqueue-soak-"))
        super().__init__(broker_options=("--data-dir", str(self._data / "data")))
        self._leaving.callback(shutil.rmtree, self._data, ignore_errors=True)
        self.counts: Counter[str] = Counter()
        self.samples = Samples()
        self._rate, self._kill_every = rate, kill_every
        self._lives = 0
        self._kills = 0
        with self._left_on_error():
            os.environ["ZQUEUE_SOAK"] = str(self.folder)
            self._leaving.callback(os.environ.pop, "ZQUEUE_SOAK", None)
            self.confirmed, self.done, self.mended = (
                Marks(self.folder, kind) for kind in (CONFIRMED, DONE, MENDED)
            )
            self.pool: Pool = self.start_workers("tests.faults.soak.app", 2)
            self._steady = self._start_sender("steady")
            self._mortal = self._start_sender("mortal")
            self._first_worker = self.pool.pids[0]

    # --- what happens ---

    def run(self, seconds: float) -> Verdict:
        """Let it work for so long, come to its end, and judge it."""
        began = monotonic()
        kill_at, mend_at, sample_at = self._kill_every, MEND_EVERY_S, 0.0
        while (now := monotonic() - began) < seconds:
            if now >= sample_at:
                self.samples.take(now, self._watched(), self._data / "data")
                sample_at = now + max(LOOK_S, seconds / SAMPLES_MAX)
            if now >= mend_at:
                self._mend()
                mend_at = now + MEND_EVERY_S
            if now >= kill_at:
                self._kill()
                kill_at = now + self._kill_every
            self._check_alive()
            sleep(LOOK_S)
        problems = [*self._end()]
        growth = [*self.samples.growth(seconds)]
        problems += [
            f"{g.role}: {g.figure} grew from {g.before:.1f} to {g.after:.1f}"
            for g in growth if not g.is_flat
        ]  # fmt: skip
        return Verdict(seconds, dict(self.counts), growth, problems)

    def _watched(self) -> dict[str, int]:
        return {
            "broker": self.broker.pid,
            "supervisor": self.pool.process.pid,
            "worker": self._first_worker,
            "producer": self._steady.pid,
        }

    def _start_sender(self, name: str) -> Process:
        if self._lives == LIVES_MAX:
            raise RuntimeError(f"a soak has numbers for {LIVES_MAX} lives: kill less often")
        first = self._lives * LIFE_TASKS
        self._lives += 1
        return self.processes.start(
            name, sys.executable, "-m", "tests.faults.soak.sender", self.url, name, str(first),
            str(self._rate / 2), str(self.folder), cwd=ROOT,
        )  # fmt: skip

    def _kill(self) -> None:
        victim = VICTIMS[self._kills % len(VICTIMS)]
        self._kills += 1
        self.counts[f"killed: {victim}"] += 1
        if victim == "worker":
            for pid in self.pool.pids:
                if pid != self._first_worker:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        elif victim == "producer":
            self._mortal.kill()
            self._mortal = self._start_sender("mortal")
        else:
            self._note_broker()
            began = monotonic()
            self.broker.restart()
            took_ms = round(1000 * (monotonic() - began))
            self.counts["longest restart, ms"] = max(self.counts["longest restart, ms"], took_ms)

    def _note_broker(self) -> None:
        """What a broker counted ends with it."""
        with contextlib.suppress(zqueue.BrokerLost):
            for name, count in self.info()["counters"].items():
                self.counts[f"broker: {name}"] += count

    def _mend(self) -> None:
        """Mend what failed for good, and let it run again."""
        with contextlib.suppress(zqueue.BrokerLost), zqueue.DeadLetters(self.url) as dead:
            letters = [*dead]
            self.mended.set(letter.body[0] for letter in letters)
            if letters:
                numbers = [letter.number for letter in letters]
                self.counts["replayed"] += dead.replay(numbers=numbers)

    def _check_alive(self) -> None:
        for process in (self.broker.process, self.pool.process, self._steady, self._mortal):
            if not process.is_running():
                raise RuntimeError(f"{process!r} ended by itself: {process.err[-3000:]}")

    # --- the end ---

    def _end(self) -> Iterator[str]:
        """Stop sending, let all come to its end, and say what is wrong."""
        for process in (self._steady, self._mortal):
            process.send(signal.SIGTERM)
        wait_until(self._is_over, END_S, every=LOOK_S, what=lambda: f"the end: {self.info()}")
        for process in (self._steady, self._mortal):
            code = process.wait()
            if code:
                yield f"{process.name} ended with code {code}: {process.err[-3000:]}"
                continue
            told: dict[str, int] = json.loads(process.out)
            self.counts.update(told)
            if told["wrong"]:
                yield f"{told['wrong']} results of {process.name} were of another task"
        self._note_broker()
        lost = missing(self.confirmed, self.done, self._lives)
        self.counts["tasks confirmed"] = sum(
            self.confirmed.life(life).count(1) for life in range(self._lives)
        )
        self.counts["tasks done"] = sum(
            self.done.life(life).count(1) for life in range(self._lives)
        )
        if lost:
            yield f"{len(lost)} tasks were confirmed and never done: {lost[:10]}"

    def _is_over(self) -> bool:
        self._mend()
        if self._steady.is_running() or self._mortal.is_running():
            return False
        state: dict[str, Any] = self.info()
        queues = state["queues"].values()
        left = sum(queue["ready"] + queue["leased"] + queue["delayed"] for queue in queues)
        with zqueue.DeadLetters(self.url) as dead:
            return not left and not len(dead)
