"""The broker's memory: with a full queue, and after many tasks went through."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from ...ask import ask
from ...errors import QueueFull, TimedOut, ZQueueError
from ...producer import Producer
from .. import ours
from ..bodies import body
from ..lab import Contest, Lab
from ..ours import Ours

SUBJECT = "broker process"
MANY = 100_000
SINGLE_PART = 4
"""A queue of single tasks takes long to fill: it is allowed this part of the bytes."""

STEP_TASKS = 500_000
STATED = (1.5, 64 << 20)
"""A broker may grow by so many times what its queues may hold, and so many bytes."""

Said = Callable[[str], None]


def measure(lab: Lab) -> None:
    """All of it."""
    nbytes, tasks = lab.scale.fill_bytes, lab.scale.pass_tasks
    lab.hold(
        Contest("full queue, full batches", "task",
                {SUBJECT: lambda: fill(nbytes, single=False)}),
        Contest("full queue, one task a batch", "task",
                {SUBJECT: lambda: fill(nbytes // SINGLE_PART, single=True)}),
        once=True,
    )  # fmt: skip
    with ours.running() as us:
        lab.hold(
            Contest("passed through", "task", {SUBJECT: lambda: pass_through(us, tasks)}),
            once=True,
        )


def fill(queue_bytes: int, *, single: bool) -> dict[str, float]:
    """Fill a queue that may hold so many bytes. Figures of the broker's memory."""
    told = str(queue_bytes)
    options = ("--queue-bytes", told, "--max-bytes", told, "--queue-tasks", "1000000000")
    with ours.broker(*options) as url:
        before = ask(url)["rss_bytes"]
        producer = Producer(url, timeout=0.5)
        sent = 0
        try:
            while True:
                if single:  # Every body is a batch of its own: the dearest way to hold tasks.
                    producer.send("full", body(sent))
                    producer.flush(0.5)
                    sent += 1
                else:
                    sent += producer.send_many("full", (body(i) for i in range(MANY)))
        except (QueueFull, TimedOut):
            pass  # It is full.
        state = ask(url)
        with suppress(ZQueueError):
            producer.close(0)
    held, after = state["queues"]["full"]["ready"], state["rss_bytes"]
    times, more = STATED
    return {
        "allowed": float(queue_bytes),
        "held": float(held),
        "operations": float(held),
        "rss_before:broker": float(before),
        "rss:broker": float(after),
        "grew": float(after - before),
        "grew_by_task": (after - before) / max(1, held),
        "bound": times * queue_bytes + more,
    }


def pass_through(us: Ours, tasks: int) -> dict[str, float]:
    """Send so many tasks through a broker that is warm. Figures of its memory before and after."""
    step = min(tasks, STEP_TASKS)
    us.send_many(step)
    before = ask(us.url)["rss_bytes"]
    moved = 0
    while moved < tasks:
        us.send_many(step)
        moved += step
    after = ask(us.url)["rss_bytes"]
    return {
        "operations": float(moved),
        "rss_before:broker": float(before),
        "rss:broker": float(after),
        "grew": float(after - before),
        "grew_by_task": (after - before) / moved,
    }
