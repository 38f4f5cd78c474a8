"""The ways to control a queue, and what each of them means, for people."""

from __future__ import annotations

from typing import NamedTuple

from ..metrics.conditions import conditions_of
from . import formats
from .columns import Row


class Step(NamedTuple):
    """One way to control a queue."""

    action: str
    """For `client.ask.control`."""
    queue: str
    question: str
    """What will happen, as a question to the user."""
    button: str


def pause_or_resume(queue: Row) -> Step:
    """Pause it, or resume it if it is paused."""
    return _resume(queue) if queue.get("paused") else _pause(queue)


def drain_or_resume(queue: Row) -> Step:
    """Drain it, or resume it if it is draining."""
    return _resume(queue) if queue.get("draining") else _drain(queue)


def describe(answer: Row) -> str:
    """The broker's answer as a sentence."""
    name = formats.plain(str(answer.get("queue", "")))
    if answer.get("paused") and answer.get("draining"):
        return f"Queue {name} is paused, and accepts no new tasks."
    if answer.get("paused"):
        return f"Queue {name} is paused."
    if answer.get("draining"):
        return f"Queue {name} is draining: it accepts no new tasks."
    return f"Queue {name} is running."


def apply(answer: Row, broker: Row) -> None:
    """Update a broker of a snapshot with its answer to a control request."""
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
        f"Pause queue {formats.plain(queue['name'])}?\n\n"
        f"It delivers no tasks until it is resumed: {_tasks(queue['ready'])} ready now. Workers "
        f"finish what is leased ({_tasks(queue['leased'])}). Producers can send to it until it is "
        "full.",
        "Pause it",
    )  # fmt: skip


def _drain(queue: Row) -> Step:
    then = "stay in it, as it is paused" if queue.get("paused") else "are still delivered"
    return Step(
        "drain", queue["name"],
        f"Drain queue {formats.plain(queue['name'])}?\n\n"
        "It accepts no new tasks until it is resumed: producers keep theirs, and wait. Ready tasks "
        f"({queue['ready']:,} now) {then}.",
        "Drain it",
    )  # fmt: skip


def _resume(queue: Row) -> Step:
    will = []
    if queue.get("paused"):
        will.append(f"delivers tasks again ({queue['ready']:,} ready now)")
    if queue.get("draining"):
        will.append("accepts new tasks again")
    return Step(
        "resume", queue["name"],
        f"Resume queue {formats.plain(queue['name'])}?\n\nIt {' and '.join(will)}.",
        "Resume it",
    )  # fmt: skip


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count:,} tasks"
