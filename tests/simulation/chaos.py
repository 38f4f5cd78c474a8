"""Chaos: what is done to a system while it runs, and when, as its plan says."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import ClassVar, TypeVar

from zqueue.wire.headers import encode
from zqueue.wire.messages import (
    DRAIN,
    DROP,
    PAUSE,
    REPLAY,
    RESUME,
    RUNNING,
    Cancel,
    Control,
)

from .brokers import BrokerHost
from .history import Jumped
from .network import Port
from .system import System
from .workers import WorkerHost
from .world import Process

T = TypeVar("T")

NOTICED_S = 8.0
"""Each end of a connection that is cut has noticed that by then."""


class Chaos:
    """Does each kind of fault at random instants, until it is to end."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._world = system.world
        self._random = system.world.random
        self._until = system.plan.seconds
        for kind in system.plan.faults:
            self._plan_next(kind)

    def _plan_next(self, kind: str) -> None:
        every_s = self._system.plan.faults[kind]
        when = self._world.now + self._random.expovariate(1 / every_s)
        if when < self._until:
            self._world.at(when, self._strike, kind)

    def _strike(self, kind: str) -> None:
        self._kinds[kind](self)
        self._plan_next(kind)

    # --- whom ---

    def _one(self, candidates: Sequence[T]) -> T | None:
        return self._random.choice(candidates) if candidates else None

    def _broker(self) -> BrokerHost:
        brokers = self._system.brokers
        return self._random.choice([*brokers.values()]) if len(brokers) > 1 else brokers[0]

    def _ports(self) -> list[Port]:
        return [port for network in self._system.networks for port in network.ports]

    def _name(self) -> None:
        """Somebody writes another list of brokers. They all stay where they are."""
        sites = [*range(self._system.plan.brokers)]
        self._system.name(self._random.sample(sites, self._random.randint(1, len(sites))))

    def _workers(self) -> list[WorkerHost]:
        return [
            child
            for supervisor in self._system.supervisors
            for child in supervisor.children.values()
            if child.is_alive
        ]

    def _fault(self, kind: str, process: Process, lasts_s: float = 0.0) -> None:
        self._system.fault(kind, process.name, lasts_s)

    def _kill(self, process: Process | None) -> None:
        if process is not None and process.is_alive:
            self._fault("kill", process)
            process.kill()

    # --- what ---

    def _kill_producer(self) -> None:
        self._kill(self._one(self._system.producers))

    def _kill_worker(self) -> None:
        self._kill(self._one(self._workers()))

    def _kill_supervisor(self) -> None:
        self._kill(self._one(self._system.supervisors))

    def _kill_broker(self) -> None:
        self._kill(self._broker())

    def _kill_midway(self) -> None:
        """In the middle of a turn, between two things that it does."""
        process = self._one(self._system.processes())
        if process is not None:
            points = self._random.randint(0, 5)
            process.light_fuse(points, functools.partial(self._fault, "kill", process))

    def _freeze(self) -> None:
        process = self._one(self._system.processes())
        if process is not None:
            seconds = self._random.choice((0.1, 1.0, 4.0, 7.0))
            self._fault("freeze", process, seconds)
            process.freeze(seconds)

    def _cut(self) -> None:
        """A connection breaks."""
        port = self._one(self._ports())
        if port is not None and port.pipe.wire is not None:
            self._fault("cut", port.process, NOTICED_S)
            port.network.cut(port.pipe.wire)

    def _stall(self) -> None:
        port = self._one(self._ports())
        if port is not None and port.pipe.wire is not None:
            up, down = self._random.choice(((True, False), (False, True), (True, True)))
            seconds = self._random.choice((0.2, 2.0, 6.0))
            self._fault("stall", port.process, seconds)
            port.network.stall(port.pipe.wire, seconds, up=up, down=down)

    def _partition(self) -> None:
        """Some peers are cut off from the broker for a while."""
        network = self._broker().network
        seconds = self._random.choice((0.5, 3.0, 8.0))
        for port in network.ports:
            if port.pipe.wire is not None and self._random.random() < 0.6:
                self._fault("stall", port.process, seconds + NOTICED_S)
                network.stall(port.pipe.wire, seconds, up=True, down=True)
                if self._random.random() < 0.5:
                    network.cut(port.pipe.wire)
        network.blocked_until = self._world.now + seconds

    def _stop_worker(self) -> None:
        worker = self._one(self._workers())
        if worker is not None:
            self._fault("stop", worker)
            worker.stop()

    def _stop_supervisor(self) -> None:
        supervisor = self._one(self._system.supervisors)
        if supervisor is not None:
            self._fault("stop", supervisor)
            supervisor.stop()

    def _control(self) -> None:
        """Somebody pauses, drains or resumes a queue."""
        broker = self._broker()
        if broker.is_alive and not broker.is_frozen:
            action = self._random.choice((PAUSE, DRAIN, RESUME))
            frames = [encode(Control(action, self._random.choice("abc")))]
            broker.protocol.receive(b"admin", "", frames, broker.clock())
            broker.wake()

    def _letters(self) -> None:
        """Somebody replays all dead letters, or drops those of a queue."""
        broker = self._broker()
        if broker.is_alive and not broker.is_frozen:
            message = Control(*self._random.choice(((REPLAY, ""), (DROP, ""))))
            broker.protocol.receive(b"admin", "", [encode(message)], broker.clock())
            broker.wake()

    def _cancel(self) -> None:
        """A program cancels some of its tasks, or somebody else one of whomever's."""
        system, broker = self._system, self._system.broker
        running = self._random.random() < 0.5
        if self._random.random() < 0.5:
            producer = self._one(system.producers)
            if producer is not None and not producer.is_frozen:
                producer.cancel(running)
        elif broker.is_alive and not broker.is_frozen and (run := system.any_tasks()) is not None:
            message = Cancel(0, RUNNING * running, [run], "", "")
            with broker.in_its_process():
                broker.protocol.receive(b"admin", "", [encode(message)], broker.clock())
            broker.wake()

    def _stop_broker(self) -> None:
        broker = self._broker()
        if broker.is_alive:
            broker.stop()

    def _flip(self) -> None:
        """A bit is another than it was, the next time that the disk is read."""
        if self._system.disks[0] is not None:
            self._system.disks[0].is_flipping = True

    def _kill_writing(self) -> None:
        """The broker dies between two of the next writes, syncs and renames of its store."""
        if self._system.disks[0] is not None:
            self._system.disks[0].calls_left = self._random.randint(0, 10)

    def _disk_error(self) -> None:
        if self._system.disks[0] is not None:
            self._system.disks[0].fails_after = self._random.randint(0, 10)

    def _disk_full(self) -> None:
        disk = self._system.disks[0]
        if disk is not None:
            disk.room = 0
            self._world.after(self._random.choice((0.5, 3.0)), self._make_room)

    def _make_room(self) -> None:
        if self._system.disks[0] is not None:
            self._system.disks[0].room = 1 << 60

    def _jump(self) -> None:
        seconds = self._random.choice((-60.0, -5.0, 5.0, 7_200.0))
        self._world.wall_jump_s += seconds
        self._system.history.add(Jumped(self._world.now, seconds))

    _kinds: ClassVar[dict[str, Callable[[Chaos], None]]] = {
        "kill producer": _kill_producer,
        "kill worker": _kill_worker,
        "kill supervisor": _kill_supervisor,
        "kill broker": _kill_broker,
        "kill midway": _kill_midway,
        "freeze": _freeze,
        "cut": _cut,
        "stall": _stall,
        "partition": _partition,
        "stop worker": _stop_worker,
        "stop supervisor": _stop_supervisor,
        "control": _control,
        "letters": _letters,
        "kill writing": _kill_writing,
        "disk full": _disk_full,
        "disk error": _disk_error,
        "wall clock": _jump,
        "cancel": _cancel,
        "stop broker": _stop_broker,
        "flip": _flip,
        "name": _name,
    }
