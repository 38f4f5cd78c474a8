"""The questions before a queue is controlled, and the messages afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.top.controls import apply, describe, drain_or_resume, pause_or_resume


def queue(**more: Any) -> dict[str, Any]:
    return {"name": "mail", "ready": 1234, "leased": 1, "paused": False, "draining": False, **more}


def test_pause() -> None:
    step = pause_or_resume(queue())
    assert (step.action, step.queue) == ("pause", "mail")
    assert step.question.startswith("Pause queue mail?\n\n")
    assert "1,234 tasks ready now" in step.question
    assert "(1 task)" in step.question


def test_drain() -> None:
    step = drain_or_resume(queue())
    assert step.action == "drain"
    assert "are still delivered" in step.question
    paused = drain_or_resume(queue(paused=True))
    assert paused.action == "drain"
    assert "stay in it, as it is paused" in paused.question


@pytest.mark.parametrize(
    ("paused", "draining", "words"),
    [(True, False, "\n\nIt delivers tasks again (1,234 ready now)."),
     (False, True, "\n\nIt accepts new tasks again."),
     (True, True, "\n\nIt delivers tasks again (1,234 ready now) and accepts new tasks again.")],
)  # fmt: skip
def test_resume(paused: bool, draining: bool, words: str) -> None:
    held_up = queue(paused=paused, draining=draining)
    step = pause_or_resume(held_up) if paused else drain_or_resume(held_up)
    assert step.action == "resume"
    assert words in step.question


def test_what_was_done_shows_at_once(busy: dict[str, Any]) -> None:
    apply({"queue": "nowhere", "paused": True, "draining": False}, busy)
    assert busy["conditions"] == []
    apply({"queue": "q", "paused": True, "draining": True}, busy)
    (row,) = busy["queues"]
    assert (row["state"], row["paused"], row["draining"]) == ("paused", True, True)
    assert [one["kind"] for one in busy["conditions"]] == ["draining", "paused"]
    apply({"queue": "q", "paused": False, "draining": False}, busy)
    assert (row["state"], busy["conditions"]) == ("running", [])
    apply({"queue": "q"}, {})


def test_what_was_done() -> None:
    answers = [
        ((True, False), "Queue a is paused."),
        ((False, True), "Queue a is draining: it accepts no new tasks."),
        ((False, False), "Queue a is running."),
        ((True, True), "Queue a is paused, and accepts no new tasks."),
    ]
    for (paused, draining), sentence in answers:
        assert describe({"queue": "a", "paused": paused, "draining": draining}) == sentence
