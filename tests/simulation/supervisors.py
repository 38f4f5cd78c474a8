"""A supervisor of a run: the real pool and liaison, driven as `worker/supervisor.py` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zqueue.core.backoff import Backoff
from zqueue.wire.codec import pack
from zqueue.wire.link import State
from zqueue.worker.liaison import SupervisorProtocol
from zqueue.worker.pool import Departure, Ending, Kill, Pool, Start, Stop

from .network import Port
from .workers import WorkerHost
from .world import INFINITY, Process

if TYPE_CHECKING:
    from .system import System

LOOK_EVERY_S = 0.1
GOODBYE_S = 1.0


class SupervisorHost(Process):
    """One life of a supervisor."""

    def __init__(
        self, system: System, name: str, id: bytes, workers: int, queues: str, tasks: frozenset[str]
    ) -> None:
        super().__init__(system.world, name)
        self.id = id
        self.queues = queues
        self.tasks = tasks
        self.system = system
        self.terms = 0
        self.pool_size = workers
        self.children: dict[int, WorkerHost] = {}
        random = system.world.random.random
        self._protocol = SupervisorProtocol(id, pack({}), random)
        self._pool = Pool(
            workers, Backoff(random, low_s=0.05, high_s=2.0), drain_timeout_s=3.0, starts_max=2
        )
        self._port = Port(self, system.network)
        self._look_at = 0.0
        self._leaving_until = INFINITY
        self.wake()

    def stop(self) -> None:
        """SIGTERM."""
        self.terms += 1
        self.wake()

    def turn(self) -> float:
        now = self.clock()
        if now >= self._look_at or any(c.code is not None for c in self.children.values()):
            self._look_at = now + LOOK_EVERY_S
            self._look(now)
            self._act(now)
        if self._pool.is_over and self._leaving_until == INFINITY:
            self._leaving_until = now + GOODBYE_S
            self._protocol.link.leave(now)
        self._converse(now)
        if self._pool.is_over:
            if self._protocol.link.state is State.LEFT or now >= self._leaving_until:
                self.kill()
                return INFINITY
            return min(self._leaving_until, self._protocol.next_deadline() or INFINITY)
        return min(self._look_at, self._protocol.next_deadline() or INFINITY)

    def _look(self, now: float) -> None:
        pool = self._pool
        for pid, child in self.children.items():
            code = child.code
            pool.shows(pid, child.shown, now)
            if code is not None:
                pool.ended(pid, code, now)
        pool.signals(self.terms, 0, now)
        pool.tick(now)

    def _act(self, now: float) -> None:
        while (action := self._pool.next_action()) is not None:
            if isinstance(action, Start):
                child = self.system.start_worker(self)
                self.children[child.pid] = child
                self._protocol.joined(child.id)
                self._pool.started(child.pid, now)
            elif isinstance(action, Stop):
                self.children[action.pid].stop()
            elif isinstance(action, Kill):
                child = self.children[action.pid]
                child.was_late = action.ending is Ending.TIMEOUT
                self.system.fault("kill", child.name)
                child.kill()
            elif isinstance(action, Departure):
                pid, reason, lease, position, text = action
                child = self.children.pop(pid)
                self._protocol.departed(child.id, reason, lease=lease, position=position, text=text)
            self.point()

    def _converse(self, now: float) -> None:
        protocol, port = self._protocol, self._port
        port.flush()
        while (frames := port.receive()) is not None:
            protocol.receive(frames, now)
        protocol.tick(now)
        while protocol.next_event() is not None:
            pass
        port.send(protocol.to_send(), afresh=protocol.link.is_greeting)

    def ended(self) -> None:
        self._port.close()
        for child in self.children.values():
            if child.is_alive:
                child.orphaned()
        self.system.supervisor_ended(self)
