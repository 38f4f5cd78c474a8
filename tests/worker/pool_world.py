"""A world for a pool, driven as the supervisor does it: its workers do as a test says."""

from __future__ import annotations

from itertools import count

from zqueue.core.backoff import Backoff
from zqueue.worker.pool import Departure, Kill, Log, Pool, Start, Stop
from zqueue.worker.slot import LEFT, READY, STARTING, Shown

DRAIN_S = 30.0
RESTART_LOW_S, RESTART_HIGH_S = 0.05, 15.0


class Worker:
    """A worker process of the test's: what it shows, and what was done to it."""

    def __init__(self, pid: int, speaks: bool) -> None:
        self.pid = pid
        self.speaks = speaks
        self.state = STARTING
        self.tasks = 0
        self.lease = self.position = 0
        self.deadline = self.stop_by = 0.0
        self.rss_bytes = 1
        self.code: int | None = None
        self.stops = 0
        self.asked_at: float | None = None
        self.left_at: float | None = None

    def shown(self) -> Shown:
        return Shown(self.state, self.tasks, self.lease, self.position, self.deadline, self.stop_by)


class World:
    """Drives a pool as the supervisor does, with workers that do as the test says."""

    def __init__(self, processes: int = 2, starts_max: int = 4, **bounds: int) -> None:
        restart = Backoff(lambda: 1.0, low_s=RESTART_LOW_S, high_s=RESTART_HIGH_S)
        self.pool = Pool(
            processes, restart, drain_timeout_s=DRAIN_S, starts_max=starts_max, **bounds
        )
        self.now = 100.0
        self.workers: dict[int, Worker] = {}
        self.can_start = True
        self.terms = self.reloads = 0
        self.departures: list[Departure] = []
        self.kills: list[Kill] = []
        self.log: list[str] = []
        self.tries = 0
        self._pids = count(1000)

    def look(self, after_s: float = 0.0) -> None:
        """Time passes, and the supervisor looks once."""
        self.now += after_s
        pool = self.pool
        for worker in list(self.workers.values()):
            pool.shows(worker.pid, worker.shown(), self.now, rss_bytes=worker.rss_bytes)
            if worker.code is not None:
                pool.ended(worker.pid, worker.code, self.now)
        pool.signals(self.terms, self.reloads, self.now)
        pool.tick(self.now)
        while (action := pool.next_action()) is not None:
            self.do(action)

    def do(self, action: object) -> None:
        if isinstance(action, Start):
            self.start(action)
        elif isinstance(action, Stop):
            worker = self.workers[action.pid]
            worker.stops += 1
            worker.asked_at = self.now
            if worker.state == STARTING:
                worker.code = -15  # No handler yet: the signal ends it.
        elif isinstance(action, Kill):
            self.kills.append(action)
            worker = self.workers[action.pid]
            worker.code = -9 if worker.code is None else worker.code
        elif isinstance(action, Departure):
            self.departures.append(action)
            del self.workers[action.pid]
        elif isinstance(action, Log):
            self.log.append(f"{action.level}: {action.text}")

    def start(self, action: Start) -> None:
        self.tries += 1
        if not self.can_start:
            self.pool.not_started("no more processes", self.now)
            return
        pid = next(self._pids)
        self.workers[pid] = Worker(pid, action.speaks)
        self.pool.started(pid, self.now)

    def load(self, *workers: Worker) -> None:
        """These have loaded the app; all, if none is named."""
        for worker in workers or tuple(self.workers.values()):
            if worker.state == STARTING and worker.code is None:
                worker.state = READY

    def fill(self) -> list[Worker]:
        """Start and load until the pool is full."""
        for _ in range(1000):
            if self.pool.is_settled:
                return list(self.workers.values())
            self.load()
            self.look(0.01)
        raise AssertionError(f"never full: {self.pool}")

    def obey(self, worker: Worker) -> None:
        """It does what it was asked to: leaves, and ends."""
        worker.state, worker.left_at, worker.code = LEFT, self.now, 0
        worker.deadline = 0.0
