"""What can be done to a queue, and what it means, in words."""

from __future__ import annotations

from typing import NamedTuple

from ..metrics.conditions import conditions_of
from . import wording
from .columns import Row


class Step(NamedTuple):
    """Something that can be done to a queue."""

    action: str
    """For `ask.control`."""
    queue: str
    question: str
    """What will happen, for the one who is asked."""
    button: str


def pause_or_resume(queue: Row) -> Step:
    """Pause it, or resume it if it is paused."""
    return _resume(queue) if queue.get("paused") else _pause(queue)


def drain_or_resume(queue: Row) -> Step:
    """Drain it, or resume it if it drains."""
    return _resume(queue) if queue.get("draining") else _drain(queue)


def told(answer: Row) -> str:
    """What the broker answered, in words."""
    name = wording.plain(str(answer.get("queue", "")))
    if answer.get("paused") and answer.get("draining"):
        return f"Queue {name} is paused, and takes nothing new."
    if answer.get("paused"):
        return f"Queue {name} is paused."
    if answer.get("draining"):
        return f"Queue {name} takes nothing new."
    return f"Queue {name} runs."


def apply(answer: Row, broker: Row) -> None:
    """Put what a broker answered into what it told last."""
    for queue in broker.get("queues", ()):
        if queue["name"] == answer.get("queue"):
            paused, draining = answer.get("paused") is True, answer.get("draining") is True
            full = "full" if queue["withheld"] else "running"
            state = "paused" if paused else "draining" if draining else full
            queue.update(paused=paused, draining=draining, state=state)
            broker["conditions"] = conditions_of(broker)


def _pause(queue: Row) -> Step:
    return Step(
        "pause", queue["name"],
        f"Pause queue {wording.plain(queue['name'])}?\n\n"
        f"Nothing is handed out until it is resumed: {_tasks(queue['ready'])} ready now. What "
        f"workers have ({_tasks(queue['leased'])}) they finish. It goes on taking what is sent, "
        "until it is full.",
        "Pause it",
    )  # fmt: skip


def _drain(queue: Row) -> Step:
    then = "stays, as it is paused" if queue.get("paused") else "is handed out as ever"
    return Step(
        "drain", queue["name"],
        f"Drain queue {wording.plain(queue['name'])}?\n\n"
        "It takes nothing new until it is resumed: producers keep what they have, and wait. What "
        f"is in it ({_tasks(queue['ready'])} ready) {then}.",
        "Drain it",
    )  # fmt: skip


def _resume(queue: Row) -> Step:
    will = []
    if queue.get("paused"):
        will.append(f"tasks are handed out again ({_tasks(queue['ready'])} ready now)")
    if queue.get("draining"):
        will.append("it takes what is sent again")
    words = " and ".join(will)
    return Step(
        "resume", queue["name"],
        f"Resume queue {wording.plain(queue['name'])}?\n\n{words[:1].upper()}{words[1:]}.",
        "Resume it",
    )  # fmt: skip


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count:,} tasks"
