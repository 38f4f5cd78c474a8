"""The details of a worker."""

from __future__ import annotations

from typing import Any

from zqueue.top.workers import WORKERS, detail

Json = dict[str, Any]


def test_all_that_is_known_of_a_worker(busy: Json) -> None:
    (worker,) = WORKERS.rows(busy)
    text = detail(busy, worker, "10", 77).plain
    assert text.startswith("worker here/7\n\nruns t for 2.5 s\n")
    assert "25 %   30 of 120" in text
    assert "memory 38 MiB" in text
    assert "pauses 3   in all 4.5 ms   longest 2.5 ms" in text
    assert all(len(line) <= 77 for line in text.splitlines())


def test_a_worker_without_progress_or_task(busy: Json) -> None:
    (worker,) = WORKERS.rows(busy)
    running = {"task": "[red]t\x1b", "for_s": 7200.0, "progress": None}
    assert "runs [red]t� for 2 h 0 min\n" in detail(
        busy, {**worker, "running": running}, "10", 77
    ).plain  # fmt: skip
    idle = detail(busy, {**worker, "running": None, "queues": []}, "10", 77).plain
    assert "It is idle." in idle
    assert "queues –" in idle


def test_what_runs_is_in_the_table(busy: Json) -> None:
    (worker,) = WORKERS.rows(busy)
    (runs,) = [column for column in WORKERS.columns if column.title == "running"]
    assert runs.cell(worker, "10", 18).plain.strip() == "t 2.5 s, 25 %"
