"""A worker of a run: the real desk, leases and calls, driven as `zqueue.worker.process` does.

The handlers are called for real. What they return is kept until the time is over that they are said
to take, so that everything may happen meanwhile, the worker's death included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from zqueue.handlers import Handler
from zqueue.wire.codec import pack
from zqueue.wire.link import Connected, Disconnected, State
from zqueue.worker.desk import SETTLE_LATE_S, Desk
from zqueue.worker.leases import Leased, LeasedBatch, Run, Unwanted, WorkerProtocol
from zqueue.worker.links import Links
from zqueue.worker.lookup import Lookup
from zqueue.worker.slot import LEFT, READY, STARTING, Shown
from zqueue.worker.tally import Tally
from zqueue.worker.work import BatchCall, CallRow, SideTask

from . import history
from .network import Port
from .plan import FAILING, KILLING, LATE, POISON, SLOW, TASKS, TIMEOUT_S
from .world import INFINITY, Process

if TYPE_CHECKING:
    from .system import System

WARDEN_EVERY_S = 0.05
CONCURRENCY = 3
GOODBYE_S = 2.0
KILLED = -9
ORPHANED_S = 30.0


class Outcome(NamedTuple):
    """What a handler did, and how long that takes."""

    took_s: float
    value: Any
    error: Exception | None
    kills: bool = False


class Failure(Exception):
    """What a handler raises."""


class WatchedProtocol(WorkerProtocol):
    """As it is; the most that it ever asked for is noted."""

    most = 0

    def set_credit(self, credit: int) -> None:
        self.most = max(self.most, credit)
        super().set_credit(credit)

    def settle(
        self, lease: int, runs: list[Run], frames: list[bytes], *, credit: int, last: bool
    ) -> None:
        self.most = max(self.most, credit)
        super().settle(lease, runs, frames, credit=credit, last=last)


class WorkerHost(Process):
    """One worker process."""

    def __init__(self, system: System, pid: int, id: bytes, supervisor: SupervisorLike) -> None:
        super().__init__(system.world, f"{supervisor.name}/worker-{pid}", supervisor.offset_s)
        self.pid = pid
        self.id = id
        self.system = system
        self.supervisor = supervisor
        self.shown = Shown(STARTING, 0, 0, 0, 0.0)
        self.code: int | None = None
        self.was_late = False
        """It was killed for what its main thread was running."""
        self._history = system.history
        self._queues = supervisor.queues
        self._ready_at = self.clock() + system.world.random.uniform(0.01, 0.3)
        self._wants_drain = False
        self._row: CallRow | None = None
        self._left = 0
        """How many more of the row run before it is looked at."""
        self._running: list[int] = []
        self._outcome: Outcome | None = None
        """Of what the main thread runs."""
        self._call: BatchCall | None = None
        self._until = INFINITY
        """When that is over."""
        self._warden_at = INFINITY
        self._aside: dict[SideTask, tuple[float, Outcome]] = {}
        self._next_tick = 0.0
        self._leaving_until = INFINITY
        self._orphaned_at = INFINITY
        self.wake(self._ready_at - self.offset_s)

    def _open(self) -> None:
        """The app is loaded."""
        handlers = {handler.name: handler for handler in self._handlers()}
        about = {
            "supervisor": self.supervisor.id,
            "queues": list(self._queues),
            "tasks": {handler.name: handler.queue for handler in handlers.values()},
        }
        self._about = pack(about)
        self._pairs: dict[int, tuple[WatchedProtocol, Port]] = {}
        """By the broker that they lead to."""
        self._links = Links([], CONCURRENCY)
        self._follow(self.clock())
        self._tally = Tally()
        self._desk = Desk(
            self._links, Lookup(handlers), self._tally, self._fails,
            slots=CONCURRENCY, concurrency=CONCURRENCY,
        )  # fmt: skip
        self.shown = self.shown._replace(state=READY)

    def _follow(self, now: float) -> None:
        """Join the brokers that are named, and leave others, as `worker.brokers` does."""
        gone = set(self._links.tick(now)) if self._links.leaving else set()
        for site, (protocol, port) in list(self._pairs.items()):
            if protocol in gone:
                port.close()
                del self._pairs[site]
            else:
                may_stay = protocol.link.state not in (State.LEAVING, State.LEFT)
                self._links.leave(protocol, site not in self.system.named or not may_stay)
        for site in self.system.named:
            if site not in self._pairs:
                protocol = WatchedProtocol(
                    self.id, self._about, self.world.random.random, credit=CONCURRENCY
                )
                before = self.system.protocols.get((self.id, site))
                protocol.most = 0 if before is None else before.most
                self.system.protocols[self.id, site] = protocol
                self._links.join(protocol)
                self._pairs[site] = protocol, Port(self, self.system.networks[site])
        self.shown = self.shown._replace(leaving=self._links.leaving)

    def _handlers(self) -> list[Handler]:
        options: dict[str, dict[str, Any]] = {
            "timed": {"timeout": TIMEOUT_S},
            "many": {"batch_max": 4, "batch_wait": 0.02},
        }
        functions: dict[str, Callable[..., Any]] = {
            "many": self._call_many,
            "aside": self._call_aside,
            "plain": self._call_plain,
        }
        return [
            Handler(name, queue, functions.get(name, self._call_one), **options.get(name, {}))
            for name, queue in TASKS
            if name in self.supervisor.tasks
        ]

    # --- what the supervisor does ---

    def stop(self) -> None:
        """SIGTERM."""
        self._wants_drain = True
        self.wake()

    def orphaned(self) -> None:
        """Its supervisor has died."""
        self._orphaned_at = self.clock() + ORPHANED_S
        self.stop()

    def ended(self) -> None:
        self.code = KILLED if self.code is None else self.code
        if self.shown.state != STARTING:
            for _, port in self._pairs.values():
                port.close()
        how = "late" if self.was_late else "cut"
        for task in self._running[:1]:
            self._history.add(history.Ended(self.world.now, task, self.name, how))
        for task in [*self._running[1:], *(self._number(task.body) for task in self._aside)]:
            self._history.add(history.Ended(self.world.now, task, self.name, "cut"))
        self.supervisor.wake()

    # --- its loop ---

    def turn(self) -> float:
        now = self.clock()
        if self.shown.state == STARTING:
            if now < self._ready_at:
                return self._ready_at
            if self._wants_drain:
                self.code = 0
                self.kill()
                return INFINITY
            self._open()
        if now >= self._orphaned_at:
            self.kill()
        elif self._leaving_until < INFINITY:
            self._leave(now)
        else:
            self._work(now)
        return self._next_deadline()

    def _next_deadline(self) -> float:
        deadlines = [self._next_tick, self._orphaned_at, self._leaving_until]
        if self._outcome is not None:
            deadlines = [self._until, self._warden_at, self._orphaned_at]
        elif self._leaving_until == INFINITY:
            deadlines.append(self._desk.next_deadline())
        return min([*deadlines, *(until for until, _ in self._aside.values())])

    def _work(self, now: float) -> None:
        self._end_aside(now)
        if self._outcome is not None:
            if now >= self._until:
                self._end_in_main(now)
            elif now >= self._warden_at:
                self._warden_at = now + WARDEN_EVERY_S
                self._drain_if_asked()
                self._desk.look(now)
                self._exchange(now)
        while self.is_alive and self._outcome is None and self._go_on(now):
            pass

    def _go_on(self, now: float) -> bool:
        """The main thread: one step. False: there is nothing to do."""
        desk = self._desk
        if self._row is not None:
            if not self._left or not self._begin_task(self._row, now):
                if not desk.done(self._row, now):
                    self._row = None
                else:
                    self._exchange(now)
                    self._left = desk.begin(self._row, now)
            return True
        self._drain_if_asked()
        if self.system.plan.brokers > 1:
            self._follow(now)
        desk.look(now)
        moved = 0 if desk.may_go_on(now) else self._exchange(now)
        todo = desk.next(now)
        if isinstance(todo, CallRow):
            self._row = todo
            self._left = desk.begin(todo, now)
        elif isinstance(todo, BatchCall):
            self._begin_many(todo, now)
        elif desk.draining and desk.is_idle():
            for protocol, _ in self._pairs.values():
                protocol.link.leave(now)
            self._leaving_until = now + GOODBYE_S
            self._leave(now)
            return False
        elif not moved:
            return False
        return True

    def _drain_if_asked(self) -> None:
        if self._wants_drain and not self._desk.draining:
            self._desk.drain()

    def _leave(self, now: float) -> None:
        """It has said goodbye, and waits until the broker has heard it."""
        self._exchange(now)
        have_left = all(p.link.state is State.LEFT for p, _ in self._pairs.values())
        if have_left or now >= self._leaving_until:
            self.shown = self.shown._replace(state=LEFT)
            self.code = 0
            self.kill()

    # --- speaking with the broker ---

    def _exchange(self, now: float) -> int:
        moved, desk = 0, self._desk
        for protocol, port in self._pairs.values():
            moved += self._receive(protocol, port, now)
        is_due = now >= self._next_tick
        if is_due:
            for protocol, _ in self._pairs.values():
                protocol.tick(now)
                self._take_events(protocol, now)
        self._links.set_credit(desk.credit, now)
        for protocol, port in self._pairs.values():
            port.flush()
            messages = protocol.to_send()
            if messages:
                moved += len(messages)
                port.send(messages, afresh=protocol.link.is_greeting)
        desk.sent(now)
        deadlines = [protocol.next_deadline() or now + 1.0 for protocol, _ in self._pairs.values()]
        self._next_tick = min([INFINITY if is_due else self._next_tick, *deadlines])
        return moved

    def _receive(self, protocol: WatchedProtocol, port: Port, now: float) -> int:
        moved, desk = 0, self._desk
        idle = not desk.has_waiting()
        while (frames := port.receive()) is not None:
            moved += 1
            protocol.receive(frames, now)
            self._take_events(protocol, now)
            self.point()
            if idle and desk.has_waiting():
                break
        return moved

    def _take_events(self, protocol: WatchedProtocol, now: float) -> None:
        while (event := protocol.next_event()) is not None:
            if isinstance(event, Leased):
                if self._links.leased(protocol, event, now):
                    self._desk.leased(event, now, protocol)
                self._fill_aside(now)
            elif isinstance(event, Unwanted):
                self._desk.stop(event)  # What runs pays no heed to it, and goes on.
            elif isinstance(event, Connected | Disconnected):
                self._desk.forget(self._links.lost(protocol))

    # --- running ---

    def _begin_task(self, row: CallRow, now: float) -> bool:
        """Call a handler. False: there is no task to call it with."""
        call = row.calls.next_task()
        if call is None:
            self._left = 0
            return False
        self._left -= 1
        if row.handler.timeout is not None:
            position = row.work.offset + row.calls.position - 1
            self._show(row.work.lease, position, now + row.handler.timeout)
        self._begin_in_main(self._run(call, row.work.batch.attempt), now)
        return True

    def _begin_many(self, call: BatchCall, now: float) -> None:
        bodies = call.bodies()
        self._call = call
        self._begin_in_main(self._run(lambda: call.handler.function(bodies), 0), now)

    def _begin_in_main(self, outcome: Outcome, now: float) -> None:
        self._outcome = outcome
        self._until = now + outcome.took_s
        self._warden_at = now + SETTLE_LATE_S

    def _end_in_main(self, now: float) -> None:
        outcome, call, row = self._outcome, self._call, self._row
        assert outcome is not None
        if outcome.kills:
            self._crash()
            return
        self._outcome = self._call = None
        self._show(0, 0, 0.0)
        self.shown = self.shown._replace(tasks=self.shown.tasks + 1)
        self._note_ends(self._running, outcome)
        self._running = []
        if call is not None:
            failures = {} if outcome.error is None else dict.fromkeys(
                range(len(call.bodies())), outcome.error
            )  # fmt: skip
            self._desk.called(call, failures, now)
        elif outcome.error is not None:
            assert row is not None
            row.calls.fail(outcome.error)
        else:
            assert row is not None
            row.calls.keep(outcome.value)
        self.point()

    def _crash(self) -> None:
        """A handler has killed its process."""
        self.system.fault("crash", self.name)
        self.kill()

    def _show(self, lease: int, position: int, deadline: float) -> None:
        self.shown = self.shown._replace(lease=lease, position=position, deadline=deadline)

    def _run(self, call: Callable[[], Any], attempt: int) -> Outcome:
        """Call it now; what comes of it counts when its time is over."""
        self._took_s, self._kills, self._attempt = 0.0, False, attempt
        value, error = None, None
        try:
            value = call()
        except Failure as failure:
            error = failure
        return Outcome(self._took_s, value, error, self._kills)

    def _note_ends(self, tasks: list[int], outcome: Outcome) -> None:
        for task in tasks:
            failed = "retry" if task in self.system.retrying else "failed"
            how = "done" if outcome.error is None else failed
            self._history.add(history.Ended(self.world.now, task, self.name, how))

    # --- side by side ---

    def _fill_aside(self, now: float) -> None:
        side = self._desk.in_loop
        while len(self._aside) < CONCURRENCY and (task := side.claim(now)) is not None:
            coroutine = task.handler.function(*task.body)
            outcome = self._run(lambda: _finish(coroutine), task.work.batch.attempt)  # noqa: B023
            self._running.remove(self._number(task.body))
            self._aside[task] = now + outcome.took_s, outcome

    def _end_aside(self, now: float) -> None:
        for task, (until, outcome) in list(self._aside.items()):
            if now < until:
                continue
            if outcome.kills:
                self._crash()
                return
            del self._aside[task]
            self._note_ends([self._number(task.body)], outcome)
            self._desk.in_loop.end(task, outcome.took_s, outcome.value, outcome.error)
            self._fill_aside(now)

    @staticmethod
    def _number(body: list[Any]) -> int:
        number: int = body[0]
        return number

    # --- the app ---

    def _call_one(self, task: int, padding: bytes) -> int:
        self._begins(task, padding)
        if self.system.scripts[task] == FAILING:
            raise Failure(str(task))
        return task

    def _call_many(self, bodies: list[list[Any]]) -> None:
        for task, padding in bodies:
            self._begins(task, padding)

    def _call_plain(self, *body: Any) -> int:
        """What comes without its name is one argument."""
        return self._call_one(*(body[0] if len(body) == 1 else body))

    async def _call_aside(self, task: int, padding: bytes) -> int:
        return self._call_one(task, padding)

    def _begins(self, task: int, padding: bytes) -> None:
        assert not padding.strip(b"x"), "the body is another than what was sent"
        self._running.append(task)
        self._history.add(history.Began(self.world.now, task, self.name, self._attempt))
        script = self.system.scripts.get(task, FAILING)
        runs = self.system.runs[task] = self.system.runs.get(task, 0) + 1
        random = self.world.random
        self._took_s += random.choice((0.0001, 0.001, 0.01))
        if script == SLOW:
            self._took_s += random.choice((0.1, 0.5, 2.0))
        elif script == LATE:
            self._took_s += 1.5 * TIMEOUT_S
        self._kills |= script == POISON or (script == KILLING and runs == 1)

    def _fails(
        self, batch: LeasedBatch, error: BaseException, count: int, whose: object, which: object
    ) -> None:
        """What a worker's log would say."""


class SupervisorLike:
    """What a worker needs of its supervisor."""

    id: bytes
    name: str
    offset_s: float
    queues: str
    tasks: frozenset[str]

    def wake(self) -> None:
        """A child has ended."""


def _finish(coroutine: Any) -> Any:
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")
