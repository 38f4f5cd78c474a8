"""A supervisor of a run: the real pool and liaison, driven as `worker/supervisor.py` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zqueue.core.backoff import Backoff
from zqueue.wire.codec import pack
from zqueue.wire.link import Link, State
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
        self._pairs: dict[int, tuple[SupervisorProtocol, Port]] = {}
        """By the broker that they lead to."""
        self._links: list[Link] = []
        self._pool = Pool(
            workers, Backoff(random, low_s=0.05, high_s=2.0), drain_timeout_s=3.0, starts_max=2
        )
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
            for protocol, _ in self._pairs.values():
                protocol.link.leave(now)
        elif not self._pool.is_over:
            self._follow(now)
        for protocol, port in self._pairs.values():
            self._converse(protocol, port, now)
        deadlines = [p.next_deadline() or INFINITY for p, _ in self._pairs.values()]
        if self._pool.is_over:
            have_left = all(p.link.state is State.LEFT for p, _ in self._pairs.values())
            if have_left or now >= self._leaving_until:
                self.kill()
                return INFINITY
            return min([self._leaving_until, *deadlines])
        return min([self._look_at, *deadlines])

    def _follow(self, now: float) -> None:
        """Join the brokers that are named, and leave others, as `worker.supervisor` does."""
        leaving = any(child.shown.leaving for child in self.children.values())
        for site, (protocol, port) in list(self._pairs.items()):
            protocol.named(site in self.system.named, now)
            protocol.look(now, leaving)
            if protocol.link.state is State.LEFT:
                self._links.remove(protocol.link)
                port.close()
                del self._pairs[site]
        for site in self.system.named:
            if site not in self._pairs:
                protocol = SupervisorProtocol(self.id, pack({}), self.world.random.random)
                for child in self.children.values():
                    protocol.joined(child.id)
                self._links.append(protocol.link)
                protocol.link.siblings = self._links
                self._pairs[site] = protocol, Port(self, self.system.networks[site])

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
                for protocol, _ in self._pairs.values():
                    protocol.joined(child.id)
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
                for protocol, _ in self._pairs.values():
                    protocol.departed(child.id, reason, lease=lease, position=position, text=text)
            self.point()

    def _converse(self, protocol: SupervisorProtocol, port: Port, now: float) -> None:
        port.flush()
        while (frames := port.receive()) is not None:
            protocol.receive(frames, now)
        protocol.tick(now)
        while protocol.next_event() is not None:
            pass
        port.send(protocol.to_send(), afresh=protocol.link.is_greeting)

    def ended(self) -> None:
        for _, port in self._pairs.values():
            port.close()
        for child in self.children.values():
            if child.is_alive:
                child.orphaned()
        self.system.supervisor_ended(self)
