"""Whom and what a broker knows: queues, producers, workers, supervisors."""

from __future__ import annotations

from collections import deque
from typing import Any

from ..core.confirm import GAPS_MAX, Taken
from ..core.counters import Counters
from ..core.histogram import Histogram
from ..core.lease import Lease
from ..core.ready import ReadyQueue
from .messages import Result

HELD_BYTES_MAX = 16 << 20
"""Results kept for a producer that is away, bytes. It comes back within seconds or not at all."""

SATURATED_TASKS = 512
"""Tasks that a saturated worker has in flight at least. Credit is for 50 ms of work, so each takes
100 µs at most."""


class Queue:
    """A named queue, who is hungry for it, and whose confirms wait for room in it."""

    __slots__ = ("batches", "counters", "draining", "egress", "hungry", "paused", "ready",
                 "reserved", "wait", "withheld", "workers")  # fmt: skip

    def __init__(
        self, ready: ReadyQueue, *, egress: bool, wait: Histogram, batches: Histogram
    ) -> None:
        self.ready = ready
        self.egress = egress
        self.workers = 0
        self.paused = False
        """Nothing is handed out for the time being."""
        self.draining = False
        """Nothing is taken for the time being."""
        self.counters = Counters()
        self.wait = wait
        """How long tasks waited here until they were handed out for the first time."""
        self.batches = batches
        """How many tasks a published batch has (tasks in place of seconds)."""
        self.hungry: dict[Worker, None] = {}
        """Workers that serve the queue and may have credit left, in turn."""
        self.withheld: deque[tuple[Producer, int]] = deque()
        self.reserved: Worker | None = None
        """Who gets nothing until it is idle, and then the suspect at the front."""

    def __repr__(self) -> str:
        return f"<Queue {self.ready!r}, {len(self.hungry)} hungry, {len(self.withheld)} withheld>"


def origin_number(id: bytes) -> int:
    """What a worker is told of where a task came from. It is too little to take the id's place."""
    return int.from_bytes(id[:6], "big")


class Producer:
    """A producer, also while it is away: what it published, and what it awaits."""

    __slots__ = (
        "held",
        "held_bytes",
        "id",
        "is_new",
        "number",
        "open",
        "peer",
        "refused",
        "report",
        "taken",
        "to_confirm",
        "withheld",
    )  # fmt: skip

    def __init__(self, id: bytes) -> None:
        self.id = id
        self.number = origin_number(id)
        self.peer: bytes | None = None
        self.report: dict[str, Any] = {}
        self.taken = Taken()
        self.is_new = True
        """No batch was heard from it yet."""
        self.refused: dict[int, tuple[str, str]] = {}
        """Why batches were refused for good, in case they are sent again: code and text."""
        self.to_confirm: list[int] = []
        self.withheld: set[int] = set()
        self.open: dict[int, int] = {}
        """Batches whose results are wanted: tasks without one."""
        self.held: deque[tuple[Result, bytes]] = deque()
        """Results that wait for its return."""
        self.held_bytes = 0

    def __repr__(self) -> str:
        return f"<Producer {self.id.hex()[:8]} {self.taken!r}>"

    def refuse(self, sequence: int, code: str, text: str) -> None:
        """A batch will never be taken: its number is used up all the same."""
        self.taken.add(sequence)
        self.refused[sequence] = (code, text)
        if len(self.refused) > GAPS_MAX:
            del self.refused[next(iter(self.refused))]

    def hold(self, result: Result, frame: bytes) -> bool:
        """Keep a result for its return. False if there is no room."""
        if self.held_bytes + len(frame) + 200 > HELD_BYTES_MAX:
            return False
        self.held.append((result, frame))
        self.held_bytes += len(frame) + 200
        return True

    def take_held(self) -> list[tuple[Result, bytes]]:
        """All that was kept; it is kept no more."""
        held = list(self.held)
        self.held.clear()
        self.held_bytes = 0
        return held


class Worker:
    """A worker process, its credit, and what it holds."""

    __slots__ = ("about", "alone", "credit", "cut_off", "id", "in_flight", "leases", "peer",
                 "queues", "report", "reserved", "supervisor")  # fmt: skip

    def __init__(self, id: bytes, peer: bytes, about: dict[str, Any], queues: list[Queue]) -> None:
        self.id = id
        self.peer = peer
        self.about = about
        self.queues = queues
        supervisor = about.get("supervisor")
        self.supervisor = supervisor if isinstance(supervisor, bytes) else b""
        self.credit = 0
        self.in_flight = 0
        self.leases: dict[int, Lease] = {}
        self.alone = False
        """It runs a suspect, and gets nothing else until that is settled."""
        self.cut_off = False
        """Its connection is gone. Its supervisor is here, and will say why."""
        self.reserved: Queue | None = None
        """It gets nothing until it is idle, and then a suspect of this queue."""
        self.report: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<Worker {self.id.hex()[:8]}: {self.in_flight} in flight, credit {self.credit}>"

    def is_saturated(self) -> bool:
        """Whether it holds many tasks, which are quick ones then, and at least half its credit."""
        return self.in_flight >= SATURATED_TASKS and 2 * self.in_flight >= self.credit


class Supervisor:
    """A supervisor, which answers for the workers of one pool."""

    __slots__ = ("about", "id", "peer", "report")

    def __init__(self, id: bytes, peer: bytes, about: dict[str, Any]) -> None:
        self.id = id
        self.peer = peer
        self.about = about
        self.report: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<Supervisor {self.id.hex()[:8]}>"
