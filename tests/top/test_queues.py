"""The details of a queue."""

from __future__ import annotations

from typing import Any

from zqueue.top.queues import QUEUES, detail, state_of

Json = dict[str, Any]


def test_all_that_is_known_of_a_queue(busy: Json) -> None:
    (queue,) = QUEUES.rows(busy)
    text = detail(busy, queue, "10", 77).plain
    assert text.startswith("queue q   running")
    assert f"ready {queue['ready']:,} of " in text
    for words in ("the last minute", "wait", "run", "Tasks (1)", "Workers (1)", "here/7",
                  "published 500"):  # fmt: skip
        assert words in text, words
    assert all(len(line) <= 77 for line in text.splitlines())
    assert max(len(line) for line in detail(busy, queue, "10", 137).plain.splitlines()) > 77


def test_a_queue_nobody_serves(busy: Json) -> None:
    (queue,) = QUEUES.rows(busy)
    text = detail({**busy, "tasks": [], "workers": []}, queue, "10", 77).plain
    assert "Tasks: none" in text
    assert "Workers: none" in text


def test_states(busy: Json) -> None:
    (queue,) = QUEUES.rows(busy)
    assert state_of(queue) == "running"
    assert state_of({**queue, "state": "full"}) == "full"
    assert state_of({**queue, "paused": True, "draining": True}) == "paused, draining"
