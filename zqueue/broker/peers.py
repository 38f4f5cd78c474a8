"""Whom and what a broker knows: queues, producers, workers, supervisors, observers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from ..core.confirm import GAPS_MAX, Moved, Taken
from ..core.counters import Counters
from ..core.lease import Lease
from ..core.ready import ReadyQueue
from ..stats.histogram import Histogram
from ..wire.messages import Message
from .permissions import OBSERVER, PRODUCER, SUPERVISOR, WORKER
from .retrying import Policies
from .skills import Names, Skills

SATURATED_TASKS = 512
"""Tasks that a saturated worker has in flight at least. Credit is for 50 ms of work, so each takes
100 µs at most."""


Send = Callable[[bytes, Message, list[bytes]], None]
"""Sends a message with its frames to a peer, by routing id."""


class Queue:
    """A named queue, who is hungry for it, and whose confirms wait for room in it."""

    __slots__ = ("batches", "counters", "draining", "egress", "hungry", "paused", "ready",
                 "reserved", "servers", "skills", "taken", "wait", "withheld")  # fmt: skip

    def __init__(
        self, ready: ReadyQueue, *, egress: bool, wait: Histogram, batches: Histogram
    ) -> None:
        self.ready = ready
        self.egress = egress
        self.servers: dict[WorkerPeer, Names] = {}
        """Workers that serve it, and what they have."""
        self.skills = Skills()
        self.paused = False
        """Nothing is handed out for the time being."""
        self.draining = False
        """Nothing is taken for the time being."""
        self.counters = Counters()
        self.wait = wait
        """How long tasks waited here until they were handed out for the first time."""
        self.batches = batches
        """How many tasks a published batch has (tasks in place of seconds)."""
        self.hungry: dict[WorkerPeer, None] = {}
        """Workers that serve it and may have credit left, in turn."""
        self.taken = 0
        """How much it had taken when somebody last looked whether it is used."""
        self.withheld: deque[tuple[ProducerPeer, int]] = deque()
        self.reserved: WorkerPeer | None = None
        """Who gets nothing until it is idle, and then the suspect at the front."""

    def __repr__(self) -> str:
        return f"<Queue {self.ready!r}, {len(self.hungry)} hungry, {len(self.withheld)} withheld>"

    def join(self, worker: WorkerPeer, names: Names) -> None:
        """A worker serves it, and has these tasks."""
        self.servers[worker] = self.skills.join(names)
        self._sort()

    def leave(self, worker: WorkerPeer) -> tuple[Names, bool]:
        """A worker serves it no more. What it had, and whether it was the last that had that."""
        self.hungry.pop(worker, None)
        names = self.servers.pop(worker)
        was_last = self.skills.leave(names)
        self._sort()
        return names, was_last

    def expect(self, names: Names) -> None:
        """A worker may be on its way that has these: as if one had just left. `forget` them."""
        self.skills.join(names)
        self.skills.leave(names)
        self._sort()

    def forget(self, names: Names) -> None:
        """What a worker had that left does not count any more."""
        self.skills.forget(names)
        self._sort()

    def _sort(self) -> None:
        """Let tasks wait by name where that makes a difference."""
        self.ready.sort(self.skills.known if self.skills.is_mixed else None)

    def is_needed(self) -> bool:
        """Whether it holds anything, somebody serves it, or it was told to stay as it is."""
        return bool(
            self.ready.tasks or self.servers or self.withheld
            or self.paused or self.draining or self.egress
        )  # fmt: skip


def origin_number(id: bytes) -> int:
    """What a worker is told of where a task came from. It is too little to take the id's place."""
    return int.from_bytes(id[:6], "big")


class Peer:
    """What is known of a peer of any role."""

    __slots__ = ("about", "heard_at", "id", "key", "peer", "report", "role", "user")

    def __init__(self, role: str, id: bytes, peer: bytes | None, about: dict[str, Any]) -> None:
        self.role = role
        self.id = id
        self.peer = peer
        """Its routing id; None while it is away."""
        self.about = about
        """What it said of itself when it greeted."""
        self.user = ""
        """Whose key it greeted with; empty where there are no keys, or it is not known yet."""
        self.key = ""
        """The public key itself."""
        self.report: dict[str, Any] = {}
        self.heard_at = 0.0

    def __repr__(self) -> str:
        return f"<{self.role.capitalize()} {self.id.hex()[:8]}>"


class ProducerPeer(Peer):
    """A producer, also while it is away: what it published, and what it awaits."""

    __slots__ = (
        "first",
        "held",
        "held_bytes",
        "is_forgotten",
        "is_new",
        "moved",
        "number",
        "open",
        "refused",
        "taken",
        "to_confirm",
        "withheld",
    )  # fmt: skip

    def __init__(self, id: bytes) -> None:
        super().__init__(PRODUCER, id, None, {})
        self.number = origin_number(id)
        self.taken = Taken()
        self.moved = Moved()
        """What was numbered for other brokers."""
        self.is_new = True
        """No batch was heard from it yet."""
        self.first = 0
        """Where the process that has its name began to number; 0: it has none."""
        self.is_forgotten = False
        """It will not be known if it comes back: nobody awaits its results."""
        self.refused: dict[int, tuple[str, str]] = {}
        """Why batches were refused for good, in case they are sent again: code and text."""
        self.to_confirm: list[int] = []
        self.withheld: set[int] = set()
        self.open: dict[int, int] = {}
        """Batches whose results are wanted: tasks without one."""
        self.held: dict[tuple[int, int], Any] = {}
        """Results that wait for its return, by batch and first task (`held.HeldResults`)."""
        self.held_bytes = 0

    def __repr__(self) -> str:
        return f"<Producer {self.id.hex()[:8]} {self.taken!r}>"

    def take(self, sequence: int, moved: int) -> None:
        """A number is used up: one of this broker, or one that was ``moved`` here."""
        if moved:
            self.moved.add(sequence)
        else:
            self.taken.add(sequence)

    def refuse(self, sequence: int, code: str, text: str, moved: int = 0) -> None:
        """A batch will never be taken: its number is used up all the same."""
        self.take(sequence, moved)
        self.refused[sequence] = (code, text)
        if len(self.refused) > GAPS_MAX:
            del self.refused[next(iter(self.refused))]


class WorkerPeer(Peer):
    """A worker process, its credit, and what it holds."""

    __slots__ = ("alone", "credit", "cut_off", "in_flight", "leases", "policies", "queues",
                 "reserved", "retries", "supervisor")  # fmt: skip

    def __init__(self, id: bytes, peer: bytes, about: dict[str, Any], queues: list[Queue]) -> None:
        super().__init__(WORKER, id, peer, about)
        self.queues = queues
        supervisor = about.get("supervisor")
        self.supervisor = supervisor if isinstance(supervisor, bytes) else b""
        self.policies = Policies(about.get("retries"), about.get("tasks"))
        self.retries: dict[tuple[str, str], int] = {}
        """What was found of them, by queue and task."""
        self.credit = 0
        self.in_flight = 0
        self.leases: dict[int, Lease] = {}
        self.alone = False
        """It runs a suspect, and gets nothing else until that is settled."""
        self.cut_off = False
        """Its connection is gone. Its supervisor is here, and will say why."""
        self.reserved: Queue | None = None
        """It gets nothing until it is idle, and then a suspect of this queue."""

    def __repr__(self) -> str:
        return f"<Worker {self.id.hex()[:8]}: {self.in_flight} in flight, credit {self.credit}>"

    def is_saturated(self) -> bool:
        """Whether it holds many tasks, which are quick ones then, and at least half its credit."""
        return self.in_flight >= SATURATED_TASKS and 2 * self.in_flight >= self.credit


class SupervisorPeer(Peer):
    """A supervisor, which answers for the workers of one pool."""

    __slots__ = ()

    def __init__(self, id: bytes, peer: bytes, about: dict[str, Any]) -> None:
        super().__init__(SUPERVISOR, id, peer, about)


class ObserverPeer(Peer):
    """A peer that only looks."""

    __slots__ = ()

    def __init__(self, id: bytes, peer: bytes) -> None:
        super().__init__(OBSERVER, id, peer, {})
