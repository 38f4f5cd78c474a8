"""The details of a task."""

from __future__ import annotations

from typing import Any

from zqueue.top.tasks import TASKS, detail

Json = dict[str, Any]


def test_all_that_is_known_of_a_task(busy: Json) -> None:
    (task,) = TASKS.rows(busy)
    text = detail(busy, task, "10", 77).plain
    assert text.startswith("task t\n\nqueue q   done 250   failures 10   running in 1 worker")
    assert "10.0 ms" in text or "10 ms" in text
    assert "20 ms" in text
    assert all(len(line) <= 77 for line in text.splitlines())


def test_the_others_have_no_queue(busy: Json) -> None:
    (task,) = TASKS.rows(busy)
    assert "queue –" in detail(busy, {**task, "name": "(other)", "queue": ""}, "10", 77).plain
