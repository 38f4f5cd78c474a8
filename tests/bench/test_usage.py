"""Processor time and memory, as the system counts them."""

from __future__ import annotations

import os
import time

import pytest

from zqueue.bench.usage import (
    Stopwatch,
    cpu_s,
    machine_cpu_s,
    memory,
    others,
    rss_bytes,
    used,
)

NOBODY = 2**22 + 1
"""No pid is as large."""


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_processor_time_of_this_process() -> None:
    before, own = cpu_s(os.getpid()), time.process_time()
    burn(0.05)
    assert cpu_s(os.getpid()) - before == pytest.approx(time.process_time() - own, abs=0.03)


def test_the_machine_was_busy_while_we_were() -> None:
    before = machine_cpu_s()
    burn(0.1)
    assert machine_cpu_s() - before > 0.05


def test_of_nobody() -> None:
    assert cpu_s(NOBODY) == 0.0
    assert rss_bytes(NOBODY) == 0


def test_memory_by_role() -> None:
    pid = os.getpid()
    figures = memory({"worker": [pid, pid], "broker": [NOBODY]})
    assert figures["rss:worker"] > 2 * 5_000_000
    assert figures["rss:broker"] == 0


def test_figures_by_role() -> None:
    figures = used({"worker": 1.0}, {"worker": 1.5}, elapsed_s=2.0, operations=1_000)
    assert figures == {"cpu:worker": 0.25, "cpu_ns:worker": 500_000.0}


def test_others_are_what_is_left() -> None:
    assert others(1.0, 0.6, 2.0) == {"others": pytest.approx(0.2)}
    assert others(0.5, 0.6, 2.0) == {"others": 0.0}  # Steps of 10 ms.
    assert others(1e9, 0.0, 1.0) == {"others": os.cpu_count()}
    assert others(0.01, 0.0, 0.02) == {}


def test_a_stopwatch() -> None:
    stopwatch = Stopwatch({"worker": [os.getpid()]})
    burn(0.02)
    began = time.monotonic()
    sample = stopwatch.sample(100, began)
    assert sample["operations"] == 100
    assert sample["cpu_ns:worker"] >= 0.02 * 1e9 / 100
    assert sample["rate"] > 0
