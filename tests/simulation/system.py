"""The system of a run: a broker or several, each one life at a time, producers, supervisors and
their workers."""

from __future__ import annotations

from collections.abc import Iterable

from tests.store.disk import Crash
from zqueue.broker.machine import OVER_WAITS_S
from zqueue.broker.peers import origin_number
from zqueue.store.store import StoreError
from zqueue.store.writer import SYNC_EVERY_S
from zqueue.wire.headers import encode
from zqueue.wire.messages import RESUME, Control
from zqueue.wire.options import TaskOptions
from zqueue.wire.unpacking import unpack_bodies

from . import history
from .brokers import BrokerHost
from .history import History
from .network import Network
from .plain import PlainHost
from .plan import TASKS, Plan
from .producers import ProducerHost
from .storage import SimulatedDisk
from .supervisors import SupervisorHost
from .workers import WatchedProtocol, WorkerHost
from .world import Process, World

RESTART_S = 0.3
LOOKS_S = 0.005
"""How much later than due a thread may look at its clock."""


class System:
    """Who is there, and what the test knows of the tasks."""

    def __init__(self, world: World, plan: Plan) -> None:
        self.world = world
        self.plan = plan
        self.history = History(durable=plan.level != "memory", crashes_max=plan.limits.crashes_max)
        self.history.brokers = plan.brokers
        self.networks = [Network(world) for _ in range(plan.brokers)]
        """To each broker's address."""
        self.disks = [
            None if plan.level == "memory" else SimulatedDisk(world, site=site)
            for site in range(plan.brokers)
        ]
        self.named = [*range(plan.brokers)]
        """Which brokers the list of them names."""
        self.scripts: dict[int, int] = {}
        """What each task does."""
        self.retrying: set[int] = set()
        """Those that are tried again if they fail."""
        self.runs: dict[int, int] = {}
        """How often each was begun."""
        self.protocols: dict[tuple[bytes, int], WatchedProtocol] = {}
        """The conversations of each worker, by its id and the broker."""
        self.biggest = 0
        """Tasks of the biggest batch."""
        self._published: dict[tuple[int, int], list[int]] = {}
        """Tasks by their producer's number and the batch's."""
        self._over: dict[int, float] = {}
        """Of which it is stored that they are over, and since when."""
        self._replayed: set[int] = set()
        self._delivered: set[int] = set()
        self._watched: set[int] = set()
        """Tasks that expire."""
        self._names = self._brokers = self._pids = self._lives = 0
        self._to_start = 0
        """Producers that somebody is about to start again."""
        self.is_calm = False
        """No fault happens any more, but for those that are under way."""
        self.brokers: dict[int, BrokerHost] = {}
        for site in range(plan.brokers):
            self._start_broker(site)
        self.producers: list[ProducerHost] = []
        self.supervisors: list[SupervisorHost] = []
        for i in range(plan.producers):
            own = self._id()[::-1]  # So that they differ where an origin is made of them.
            is_named = world.random.random() < plan.named
            self._start_producer(plan.tasks // plan.producers + (i == 0), own, is_named, set())
        if plan.plain:
            PlainHost(self)
        for i, workers in enumerate(plan.workers):
            # Somebody has everything, or some tasks would wait for ever.
            queues = "abcd" if i == 0 else world.random.choice(("abc", "ab", "c"))
            few = i > 0 and world.random.random() < 0.3
            tasks = frozenset(name for name, _ in TASKS if not few or name in ("one", "many"))
            world.after(few * 2.0, self._start_supervisor, workers, queues, tasks)

    # --- the cast ---

    def _id(self) -> bytes:
        self._names += 1
        return b"%016d" % self._names

    @property
    def broker(self) -> BrokerHost:
        """The first one, or the only one."""
        return self.brokers[0]

    def _start_broker(self, site: int) -> None:
        self._brokers += 1
        try:
            self.brokers[site] = BrokerHost(self, self._brokers, site)
        except (Crash, StoreError):
            self._disk_is_left(site)
            self.world.after(RESTART_S, self._start_broker, site)
            return
        if self.is_calm:
            self._resume()  # It may know of a queue that was paused, and nobody resumes it again.

    def _disk_is_left(self, site: int, *, has_closed: bool = False) -> None:
        """A broker's process has ended, or all of its machine."""
        disk = self.disks[site]
        if disk is not None:
            # One that ends by itself syncs before it does.
            power_lost = not has_closed and self.world.random.random() < 0.5
            if power_lost and self.plan.level == "os":
                self._forget_the_last(SYNC_EVERY_S + 2 * disk.slowest_s + LOOKS_S)
            self.disks[site] = disk.next(power_lost=power_lost)

    def _forget_the_last(self, seconds: float) -> None:
        """What was confirmed so shortly before may not be there."""
        since = self.world.now - seconds
        self.history.add(history.PowerLost(self.world.now, since))
        self._over = {task: at for task, at in self._over.items() if at < since}

    def _start_producer(self, tasks: int, id: bytes, is_named: bool, earlier: set[int]) -> None:
        self._lives += 1
        name = f"producer-{self._lives}"
        self.producers.append(ProducerHost(self, name, id, tasks, is_named, earlier))

    def _start_supervisor(self, workers: int, queues: str, tasks: frozenset[str]) -> None:
        own = self._id()
        name = f"supervisor-{self._names}"
        self.supervisors.append(SupervisorHost(self, name, own, workers, queues, tasks))

    def start_worker(self, supervisor: SupervisorHost) -> WorkerHost:
        self._pids += 1
        return WorkerHost(self, self._pids, self._id(), supervisor)

    def processes(self) -> list[Process]:
        """All that live."""
        found: list[Process] = [*self.brokers.values(), *self.producers, *self.supervisors]
        for supervisor in self.supervisors:
            found += supervisor.children.values()
        return [process for process in found if process.is_alive]

    def broker_ended(self, host: BrokerHost) -> None:
        self._disk_is_left(host.site, has_closed=host.has_closed)
        self.world.after(self.world.random.uniform(0.01, RESTART_S), self._start_broker, host.site)

    def producer_ended(self, producer: ProducerHost) -> None:
        self.producers.remove(producer)
        if producer.is_named and (producer.left or producer.unheard()):
            self._start_again(producer.left, producer.id, producer.unheard())
        elif producer.left and not producer.is_named:  # It is another one.
            self._start_again(producer.left, self._id()[::-1], None)

    def _start_again(self, tasks: int, id: bytes, earlier: set[int] | None) -> None:
        is_named = earlier is not None
        self._to_start += 1

        def start() -> None:
            self._to_start -= 1
            self._start_producer(tasks, id, is_named, earlier or set())

        self.world.after(RESTART_S, start)

    @property
    def may_lose_results(self) -> bool:
        """Whether results that are held may give way to tasks, or are gone with the broker."""
        return self.plan.level != "disk" or self.plan.limits.bytes_max < 1 << 20

    def supervisor_ended(self, host: SupervisorHost) -> None:
        self.supervisors.remove(host)
        workers = host.pool_size
        self.world.after(RESTART_S, self._start_supervisor, workers, host.queues, host.tasks)

    # --- what is known of tasks ---

    def draw_task(self) -> tuple[str, str]:
        return self.world.random.choice(TASKS)

    def new_task(self) -> int:
        task = len(self.scripts) + 1
        scripts = self.plan.scripts
        (script,) = self.world.random.choices(list(scripts), list(scripts.values()))
        self.scripts[task] = script
        return task

    def published(self, producer: bytes, sequence: int, body: bytes) -> None:
        tasks = [body[0] for body in unpack_bodies(body)]
        self._published[origin_number(producer), sequence] = tasks
        self.biggest = max(self.biggest, len(tasks))

    def any_tasks(self) -> list[int] | None:
        """Some tasks of a batch that was sent, as `Cancel` names them: nobody wants them."""
        if not self._published:
            return None
        origin, sequence = self.world.random.choice([*self._published])
        tasks = self._published[origin, sequence]
        first = self.world.random.randrange(len(tasks))
        count = self.world.random.randint(1, len(tasks) - first)
        for task in tasks[first : first + count]:
            self.history.add(history.Unwanted(self.world.now, task))
        return [origin, sequence, first, count]

    def tasks_of(self, producer: bytes, sequence: int) -> list[int]:
        return self._published[origin_number(producer), sequence]

    def has_options(self, task: int, options: TaskOptions) -> None:
        """It may wait for its time, so it has no place in the order of its lane."""
        now = self.world.now
        due = now + (options.delay_ms or 0) / 1000
        if options.at_ms is not None:
            due = now + options.at_ms / 1000 - self.world.wall()
        expires_s, window_s = (options.expires_ms or 0) / 1000, (options.key_window_ms or 0) / 1000
        asked = history.Asked(now, task, due, expires_s, options.key or "", window_s)
        self.history.add(history.Postponed(now, (task,)))
        self.history.add(asked)
        if expires_s:
            self._watched.add(task)
        if options.retries:
            self.retrying.add(task)

    def postponed(self, producer: bytes, sequence: int) -> None:
        tasks = tuple(self.tasks_of(producer, sequence))
        self.history.add(history.Postponed(self.world.now, tasks))

    def delivered(self, tasks: list[int], broker: str) -> None:
        """A broker hands out these, of one batch."""
        if self.plan.brokers > 1:
            for task in tasks:  # Another broker may have had them before.
                self.history.add(history.HandedOut(self.world.now, task, broker))
            return
        if not self._delivered.intersection(tasks):
            self.history.add(history.Delivered(self.world.now, tasks[0]))
        self._delivered.update(tasks)
        for task in tasks:
            if task in self._over and task not in self._replayed:
                self.history.add(history.Revived(self.world.now, task))
        self.handed_out(self._watched.intersection(tasks))

    def handed_out(self, tasks: Iterable[int]) -> None:
        """A broker hands out these, and each time counts."""
        for task in tasks:
            self.history.add(history.HandedOut(self.world.now, task))

    def replayed(self, task: int) -> None:
        """A dead letter is a task again."""
        self.history.add(history.Replayed(self.world.now, task))
        self._replayed.add(task)

    def over(self, tasks: list[int]) -> None:
        """It is stored that these are over."""
        self._over.update(dict.fromkeys(tasks, self.world.now))

    def fault(self, kind: str, whom: str, lasts_s: float = 0.0) -> None:
        """Note that something was done. Who waits for a sign of life finds out later."""
        now = self.world.now
        until = now + lasts_s + 2 * self.plan.limits.liveness_s
        self.history.add(history.Fault(now, kind, whom, until))
        if self.world.trace is not None:
            self.world.say("fault:", f"{kind} {whom}")

    # --- the end ---

    def calm_down(self) -> None:
        """No more faults: what was stopped goes on, and queues are resumed."""
        self.is_calm = True
        self.named = [*range(self.plan.brokers)]
        for process in self.processes():
            process.thaw()
        for network, disk in zip(self.networks, self.disks, strict=True):
            network.heal()
            if disk is not None:
                disk.heal()
        self._resume()

    def name(self, sites: list[int]) -> None:
        """The list of brokers names these from now on; everybody finds out by and by."""
        self.named = sites
        self.fault("name", "list")  # Workers come one by one where they were not.
        for process in [*self.producers, *self._workers(), *self.supervisors]:
            self.world.after(self.world.random.choice((0.0, 0.1, 1.0, 3.0)), process.wake)

    def _workers(self) -> list[WorkerHost]:
        return [child for boss in self.supervisors for child in boss.children.values()]

    def _resume(self) -> None:
        for queue in "abc":
            message = [encode(Control(RESUME, queue))]
            for broker in self.brokers.values():
                if broker.is_alive:
                    broker.protocol.receive(b"admin", "", message, broker.clock())
        for broker in self.brokers.values():
            broker.wake()

    def is_over(self) -> bool:
        """Whether every task has come to its end, and everybody knows."""
        return (
            not self.producers
            and not self._to_start
            and all(
                broker.is_alive
                and broker.protocol.book.is_empty()
                and not broker.protocol.recovery.is_running
                and not broker.is_storing
                for broker in self.brokers.values()
            )
        )

    def note_what_is_left(self) -> None:
        """It should be over: if it is not, the history tells what is left."""
        if self.disks[0] is not None:
            # What is over waits for the commits under way, and these for the disk.
            self.history.stored_s = OVER_WAITS_S + 4 * self.disks[0].slowest_s + 4 * LOOKS_S
        for producer in self.producers:
            self.history.add(history.Left(producer.why_not_over()))
        for broker in self.brokers.values():
            for task in broker.letters():
                self.history.add(history.Kept(self.world.now, task))
            for queue in broker.protocol.book.queues.values():
                if queue.ready.tasks:
                    self.history.add(history.Left(f"tasks in {broker}: {queue!r}"))
