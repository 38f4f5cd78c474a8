"""``zqueue bench``, as a process: what it measures, what it refuses, what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.system.harness import Process, children_of, is_running, wait_until
from tests.system.test_cli import mistake
from zqueue import Producer
from zqueue.bench import QUEUE, WARM_UP_TASKS, note

pytestmark = pytest.mark.system

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("ZQUEUE_")}
COMMAND = [sys.executable, "-m", "zqueue", "bench"]
WAYS = ("without_results", "with_results")


def bench(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=110,
        env={**ENVIRONMENT, **more},
    )  # fmt: skip


ROUNDED_S = 0.0005
"""What is printed may be so far from the truth."""


def check(found: dict[str, Any], tasks: int) -> None:
    assert found["tasks"] == tasks
    assert found["left"] == 0
    assert found["tasks_per_s"] == pytest.approx(
        tasks / found["seconds"], rel=0.2 + ROUNDED_S / found["seconds"]
    )
    p50, p90, p99, most = (found["latency_ms"][name] for name in ("p50", "p90", "p99", "max"))
    assert 0 < p50 <= p90 <= p99 <= most * 1.02  # Percentiles are 1 % off at most.


def test_both_ways_with_processes_of_its_own(tmp_path: Path) -> None:
    done = bench("--tasks", "5000", "--json", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for way in WAYS:
        check(found[way], 5000)
    assert (found["workers"], found["size"], found["rate"]) == (1, 32, None)
    assert not list(tmp_path.iterdir())
    assert not done.stderr  # It is no terminal, so there is no progress.


def test_at_a_rate_for_people() -> None:
    done = bench("--rate", "200", "--tasks", "60", "--workers", "2")
    assert done.returncode == 0, done.stderr
    first, _, *ways, last = done.stdout.splitlines()
    assert first.endswith("a broker of its own, workers: 2, 32 bytes a task, sent 200 tasks/s")
    assert [line.split()[:3] for line in ways] == [
        ["without", "results", "60"], ["with", "results", "60"]
    ]  # fmt: skip
    assert all(150 < float(line.split()[4]) <= 201 for line in ways)
    assert last.startswith("latency: ")


def test_one_way_at_a_broker_that_runs(start_broker: Any) -> None:
    broker = start_broker()
    done = bench("--url", broker.url, "--tasks", "3000", "--size", "5000", "--results", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    check(found["with_results"], 3000)
    assert "without_results" not in found
    state = broker.info()
    assert not state["workers"]
    assert state["counters"]["done"] == 3000 + WARM_UP_TASKS


def test_what_another_bench_left_behind_does_not_count(start_broker: Any) -> None:
    broker = start_broker()
    with Producer(broker.url) as producer:
        # As if sent when the machine was started.
        producer.send_many(QUEUE, [[1, b""]] * 100, task=note.name)
    done = bench("--url", broker.url, "--tasks", "10", "--no-results", "--json")
    found = json.loads(done.stdout)["without_results"]
    check(found, 10)
    assert "with_results" not in json.loads(done.stdout)
    assert found["latency_ms"]["max"] < 1000 * broker.info()["uptime_s"]


def test_without_a_broker(tmp_path: Path) -> None:
    done = bench("--url", f"ipc://{tmp_path}/none")
    assert done.returncode == 3
    assert done.stdout == ""
    assert "no broker answers" in done.stderr


def test_what_makes_no_sense_is_refused() -> None:
    for options in ("--url", "http://x"), ("--tasks", "0"), ("--rate", "0"), ("--workers", "0"):
        assert mistake("bench", *options)


def workers_of(process: Process) -> list[int]:
    """Its supervisor and that one's worker."""
    below = process.children()
    found = [*below, *(pid for child in below for pid in children_of(child))]
    process.remember(found)
    return found if len(found) >= 2 else []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_interrupted_it_tells_what_it_has(
    number: signal.Signals, code: int, start_broker: Any, tmp_path: Path
) -> None:
    broker = start_broker()
    options = ["--url", broker.url, "--rate", "100", "--json"]
    process = Process("bench", tmp_path, [*COMMAND, *options, "--tasks", "100000"], env=ENVIRONMENT)
    try:
        pids = wait_until(lambda: workers_of(process), what="its processes")
        enough = WARM_UP_TASKS + 10
        wait_until(lambda: broker.info()["counters"]["done"] >= enough, what="some tasks")
        second = bench("--url", broker.url, "--tasks", "1")
        assert second.returncode == 1
        assert "another bench is at work" in second.stderr
        process.send(number)
        assert process.wait() in (code, -number)  # A shell may want to see the signal itself.
        wait_until(lambda: not any(map(is_running, pids)), what="the end of all")
        assert "Traceback" not in process.err
        if number != signal.SIGKILL:
            found = json.loads(process.out)
            assert found["interrupted"]
            assert "with_results" not in found
            check(found["without_results"], found["without_results"]["tasks"])
            assert 10 <= found["without_results"]["tasks"] < 100_000
    finally:
        process.end()
