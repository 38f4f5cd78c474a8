"""Peers of the plain lane of a run: one that pushes, and one that pulls.

There is no socket between them and the broker here: the real ones confirm nothing either, so what
matters is what the broker takes and gives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zqueue.broker.intake import Ingest
from zqueue.wire.codec import pack
from zqueue.wire.unpacking import unpack_bodies

from . import history
from .facts import OUT
from .world import Process

if TYPE_CHECKING:
    from .system import System

EVERY_S = 0.05
QUEUES = ("d", OUT)


class PlainHost(Process):
    """Pushes now and then, and takes what leaves."""

    def __init__(self, system: System) -> None:
        super().__init__(system.world, "plain")
        self._system = system
        self._left = int(system.plan.tasks * system.plan.plain)
        self.wake()

    def turn(self) -> float:
        broker = self._system.broker
        if broker.is_alive and not broker.is_frozen:
            with broker.in_its_process():
                if self._left and not broker.protocol.intake.draining:
                    self._push()
                self._pull()
            broker.wake()
        return self.clock() + self.world.random.expovariate(1 / EVERY_S)

    def _push(self) -> None:
        system, random = self._system, self.world.random
        tasks = [system.new_task() for _ in range(random.choice((1, 1, 3)))]
        queue = random.choice(QUEUES)
        for task in tasks:
            sent = history.Sent(self.world.now, task, self.name, queue, "", False)
            system.history.add(sent)
        broker = system.broker
        frames = [queue.encode(), pack([[task, b""] for task in tasks])]
        self._left = max(0, self._left - len(tasks))
        if broker.protocol.ingest(frames, broker.clock()) is not Ingest.TAKEN:
            return  # It would wait; here it is lost.
        if broker.storing is None:  # From now on they are tasks like any other.
            for task in tasks:
                system.history.add(history.Confirmed(self.world.now, task, broker.name))

    def _pull(self) -> None:
        broker = self._system.broker
        take = broker.protocol.dispatch.take_egress
        while (frames := take(OUT, broker.clock())) is not None:
            self._system.handed_out([body[0] for body in unpack_bodies(frames[1])])
