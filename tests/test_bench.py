"""What ``zqueue bench`` sends and when, and how it tells what came of it. (The command itself, with
its processes, is tested in `system/test_bench.py`.)"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from time import monotonic_ns
from typing import Any

import pytest

from zqueue.bench import Interrupt, Load, Measured, Options, describe, read_notes
from zqueue.client.ask import Asker
from zqueue.stats.histogram import Histogram


@pytest.fixture
def interrupt() -> Iterator[Interrupt]:
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    yield Interrupt()
    for number, handler in before:
        signal.signal(number, handler)


def test_how_many_tasks() -> None:
    assert Options(tasks=7, rate=100.0).count == 7
    assert Options(rate=100.0).count == 500  # Five seconds of them.
    assert Options(rate=0.01).count == 1
    assert Options().count == 500_000


class TestInstants:
    def instants(self, options: Options, interrupt: Interrupt) -> Iterator[int]:
        with Asker("ipc:///nowhere") as asker:
            pool: Any = None
            yield from Load(options, asker, pool, interrupt, "x")._instants()

    def test_at_a_rate_they_are_when_tasks_are_due(self, interrupt: Interrupt) -> None:
        """However late whoever sends them is: what waits for a slow sender is not hidden."""
        found = []
        for instant_ns in self.instants(Options(tasks=5, rate=1000.0), interrupt):
            found.append(instant_ns)
            assert monotonic_ns() >= instant_ns
            while len(found) == 1 and monotonic_ns() < instant_ns + 3_000_000:
                pass  # The sender is held up for three of them.
        assert [later - earlier for earlier, later in pairwise(found)] == [1_000_000] * 4

    def test_they_end_when_somebody_says_so(self, interrupt: Interrupt) -> None:
        found = []
        for instant_ns in self.instants(Options(tasks=1_000_000), interrupt):
            found.append(instant_ns)
            if len(found) == 10:
                os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.number == signal.SIGINT
        assert len(found) == 10

    def test_the_second_signal_ends_everything(self, interrupt: Interrupt) -> None:
        interrupt.is_sending = True
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(SystemExit, match="143"):
            os.kill(os.getpid(), signal.SIGTERM)

    def test_before_anything_is_sent_the_first_one_does(self, interrupt: Interrupt) -> None:
        with pytest.raises(SystemExit, match="130"):
            os.kill(os.getpid(), signal.SIGINT)


def test_notes_of_all_workers_are_added_up(tmp_path: Path) -> None:
    for name, seconds in (("1", 0.001), ("2", 0.5)):
        noted = Histogram()
        noted.record(seconds)
        (tmp_path / f"{name}.json").write_text(json.dumps(noted.to_wire()))
    noted = read_notes(tmp_path)
    assert (noted.count, noted.max) == (2, 0.5)


def test_what_people_read() -> None:
    latency = Histogram()
    latency.record(0.002)
    found = {"without results": Measured(1000, 2.0, latency, left=3)}
    lines = describe(Options(url="tcp://here:1", rate=500.0), found).splitlines()
    assert lines[0].startswith("tcp://here:1, workers: 1, 32 bytes a task, sent 500 tasks/s")
    assert lines[2].split() == ["without", "results", "1,000", "2.00", "500", *["2.00"] * 4]
    assert "3 tasks are left in queue 'zqueue.bench'" in lines[-1]
