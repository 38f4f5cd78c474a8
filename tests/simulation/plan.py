"""A plan: what a run is like. All of it is drawn from the seed, and each run is of another kind.

Not every fault in every run: where some are left out, others get further ("swarm testing", Groce
et al., 2012).
"""

from __future__ import annotations

import dataclasses
from random import Random

from zqueue.config import Limits
from zqueue.wire.options import TaskOptions

FAULTS = (
    "kill producer", "kill worker", "kill supervisor", "kill broker", "kill midway", "freeze",
    "cut", "stall", "partition", "stop worker", "stop supervisor", "control", "letters",
    "kill writing", "disk full", "disk error", "wall clock", "cancel", "stop broker", "flip",
)  # fmt: skip

TASKS = (
    ("one", "a"), ("two", "a"), ("timed", "b"), ("many", "b"), ("aside", "c"), ("three", "c"),
    ("plain", "d"),
)  # fmt: skip
"""Names of tasks and their queues: ``d`` has one, so that a body without a name finds it."""

TIMEOUT_S = 0.4
"""Of the task ``timed``."""

LONG_MS = 30_000


def draw_options(random: Random, wall_s: float) -> TaskOptions:
    """What is asked for a task."""
    kind = random.choice(("retries", "delay", "at", "expires", "key"))
    if kind == "retries":
        return TaskOptions(retries=2, backoff_ms=50, backoff_max_ms=200)
    if kind == "delay":
        return TaskOptions(delay_ms=300)
    if kind == "at":
        return TaskOptions(at_ms=int(wall_s * 1000) + random.choice((-500, 300, 2000)))
    if kind == "expires":
        return TaskOptions(expires_ms=random.choice((1, 50, 1000)))
    window_ms = random.choice((300, LONG_MS))
    key = f"{random.randrange(4)} for {window_ms} ms"
    return TaskOptions(key=key, key_window_ms=window_ms)


QUICK, FAILING, KILLING, POISON, SLOW, LATE = range(6)
"""What a task does: returns, raises, kills its worker at its first run, or at every one, takes
long, or longer than it may."""


@dataclasses.dataclass
class Plan:
    """What a run is like."""

    level: str
    """As the broker's ``--durability``: ``memory``, ``os`` or ``disk``."""
    limits: Limits
    producers: int
    workers: tuple[int, ...]
    """How many each supervisor has."""
    tasks: int
    """That all producers send, all in all."""
    seconds: float
    """How long there are faults."""
    faults: dict[str, float]
    """How often they happen: each once in so many seconds."""
    scripts: dict[int, float]
    """What tasks do: weights."""
    sync_s: float
    read_s: float
    """How long it takes to read an entry, when a broker starts."""
    near_bytes: int
    """What of a queue is in memory, and not only on disk."""
    options: float
    """The share of tasks that are tried again, have a time, or a key."""
    plain: float
    """The share of tasks that leave by the plain lane; as many come by it."""
    named: float
    """The share of producers that have a name."""
    replies: float
    """The share of tasks whose result is wanted."""
    brokers: int = 1


def draw(random: Random) -> Plan:
    """The plan of a run."""
    tasks_max = random.choice((8, 30, 200, 1000))
    seconds = random.choice((3.0, 8.0, 15.0))
    chosen = random.sample(FAULTS, random.choice((0, 1, 2, 3, 4, 6)))
    scripts = {QUICK: 10.0}
    for script in (FAILING, KILLING, POISON, SLOW, LATE):
        if random.random() < 0.3:
            scripts[script] = random.choice((0.1, 0.5, 3.0))
    return Plan(
        level=random.choice(("memory", "os", "disk", "disk")),
        limits=Limits(
            queue_tasks_max=tasks_max,
            queue_bytes_max=random.choice((3_000, 20_000, 1 << 20)),
            bytes_max=random.choice((6_000, 40_000, 1 << 20)),
            peers_max=100,
            crashes_max=random.choice((2, 3)),
            heartbeat_s=1.0,
            liveness_s=random.choice((2.5, 5.0)),
        ),
        producers=random.randint(1, 3),
        workers=tuple(random.randint(1, 3) for _ in range(random.randint(1, 2))),
        tasks=random.choice((20, 80, 80, 200)),
        seconds=seconds,
        faults={kind: seconds / random.choice((1, 2, 5)) for kind in chosen},
        scripts=scripts,
        sync_s=random.choice((0.0005, 0.005, 0.1)),
        read_s=random.choice((0.0, 0.3)),
        near_bytes=random.choice((1000, 1 << 20)),
        options=random.choice((0.0, 0.2, 0.6)),
        plain=random.choice((0.0, 0.0, 0.1)),
        named=random.choice((0.0, 0.5, 1.0)),
        replies=random.choice((0.0, 0.3, 0.7, 1.0)),
    )


ONE_ONLY = frozenset({"letters", "kill writing", "disk full", "disk error", "flip", "cancel"})
"""Faults of runs with one broker: with several it is the brokers that matter."""


def draw_several(random: Random) -> Plan:
    """The plan of a run with several brokers, whose list may change. No task has a key or time."""
    plan = draw(random)
    chosen = random.sample(sorted(set(FAULTS) - ONE_ONLY), random.choice((1, 2, 3)))
    faults = [*chosen, *random.choice(((), ("name",), ("name", "name")))]
    plan.faults = {kind: plan.seconds / random.choice((1, 2, 5)) for kind in faults}
    plan.brokers = random.choice((2, 2, 3))
    plan.level = random.choice(("memory", "memory", "disk"))
    plan.options = plan.plain = plan.named = 0.0
    plan.scripts.pop(POISON, None)
    return plan
