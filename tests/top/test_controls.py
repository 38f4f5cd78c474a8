"""What will happen to a queue is said before, and what happened afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.top.controls import apply, drain_or_resume, pause_or_resume, told


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
    assert "is handed out as ever" in step.question
    paused = drain_or_resume(queue(paused=True))
    assert paused.action == "drain"
    assert "stays, as it is paused" in paused.question


@pytest.mark.parametrize(
    ("paused", "draining", "words"),
    [(True, False, "Tasks are handed out again (1,234 tasks ready now)."),
     (False, True, "It takes what is sent again."),
     (True, True, "Tasks are handed out again (1,234 tasks ready now) and it takes")],
)  # fmt: skip
def test_resume(paused: bool, draining: bool, words: str) -> None:
    held_up = queue(paused=paused, draining=draining)
    step = pause_or_resume(held_up) if paused else drain_or_resume(held_up)
    assert step.action == "resume"
    assert words in step.question


def test_an_older_broker_tells_neither() -> None:
    old = {"name": "mail", "ready": 0, "leased": 0}
    assert pause_or_resume(old).action == "pause"
    assert drain_or_resume(old).action == "drain"


def test_names_are_text() -> None:
    step = pause_or_resume(queue(name="[red]\x1b"))
    assert "[red]�" in step.question
    assert step.queue == "[red]\x1b", "what is meant is what the broker knows it by"


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
    assert told({"queue": "a", "paused": True, "draining": False}) == "Queue a is paused."
    assert told({"queue": "a", "paused": False, "draining": True}) == "Queue a takes nothing new."
    assert told({"queue": "a", "paused": False, "draining": False}) == "Queue a runs."
    assert "paused, and takes" in told({"queue": "a", "paused": True, "draining": True})
