"""Anything may happen to the workers of a pool, in any order; it keeps its promises."""

from __future__ import annotations

from collections import Counter
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.worker.pool_world import DRAIN_S, RESTART_HIGH_S, Worker, World
from zqueue.wire.messages import STOPPED, TIMEOUT
from zqueue.worker.pool import LEAVE_S, LOAD_FAILED, Departure, Ending, Kill
from zqueue.worker.slot import LEFT, READY, STARTING, Shown


class Life(RuleBasedStateMachine):
    """Anything may happen to the workers; the pool keeps its promises."""

    def __init__(self) -> None:
        super().__init__()
        self.leases = count(1)
        self.late: set[tuple[int, int, int]] = set()
        """Tasks that were seen after their deadline: worker, lease, position."""
        self.ended: list[int] = []

    @initialize(
        processes=st.integers(1, 6),
        starts_max=st.integers(1, 4),
        tasks_max=st.integers(0, 3),
        is_full=st.booleans(),
    )
    def begin(self, processes: int, starts_max: int, tasks_max: int, is_full: bool) -> None:
        self.processes, self.starts_max = processes, starts_max
        self.world = World(processes, starts_max, tasks_max=tasks_max)
        self.look(0.0)
        if is_full:
            self.world.fill()

    def look(self, after_s: float) -> None:
        world = self.world
        seen = {pid: worker.shown() for pid, worker in world.workers.items()}
        dead = [pid for pid, worker in world.workers.items() if worker.code is not None]
        kills, departures = len(world.kills), len(world.departures)
        world.look(after_s)
        self.ended += dead
        for kill in world.kills[kills:]:
            self.check_kill(kill, seen[kill.pid])
            if kill.ending is Ending.TIMEOUT:  # The next task begins before the signal arrives.
                self.begin_task(self.world.workers[kill.pid], 5.0)
        assert sorted(d.pid for d in world.departures[departures:]) == sorted(dead)
        killed = {kill.pid for kill in world.kills}
        assert len(killed) == len(world.kills), "each once"
        for departure in world.departures[departures:]:
            self.check_departure(departure, seen[departure.pid], killed)
        for pid, shown in seen.items():
            is_late = 0 < shown.deadline < world.now
            assert not is_late or pid in killed or pid not in world.workers, "a task is late"

    def check_departure(self, departure: Departure, seen: Shown, killed: set[int]) -> None:
        pid, reason, lease, position, _ = departure
        if reason == TIMEOUT:
            assert (pid, lease, position) in self.late, "it was not late"
        elif reason == STOPPED and pid not in killed:
            assert seen.state in (LEFT, STARTING), "it has crashed"

    def check_kill(self, kill: Kill, seen: Shown) -> None:
        """No healthy worker is killed."""
        now, worker = self.world.now, self.world.workers[kill.pid]
        if kill.ending is Ending.TIMEOUT:
            assert (kill.lease, kill.position) == (seen.lease, seen.position)
            assert now > seen.deadline > 0
            self.late.add((kill.pid, kill.lease, kill.position))
        elif seen.state == LEFT:
            assert self.world.terms > 1 or now >= (worker.left_at or 0) + LEAVE_S
        elif kill.ending is Ending.DRAIN:
            assert self.world.terms > 1 or now >= (worker.asked_at or now) + DRAIN_S
        else:
            assert kill.ending is Ending.RELOAD
            assert now >= (worker.asked_at or now) + DRAIN_S

    def living(self, *states: int) -> list[Worker]:
        found = self.world.workers.values()
        return [w for w in found if w.code is None and (not states or w.state in states)]

    def one(self, data: st.DataObject, *states: int) -> Worker | None:
        living = self.living(*states)
        return data.draw(st.sampled_from(living)) if living else None

    @rule(after_s=st.sampled_from((0.0, 0.02, 0.1, 1.0, 12.0, 31.0)))
    def time_passes(self, after_s: float) -> None:
        self.look(after_s)

    @rule(data=st.data())
    def loads(self, data: st.DataObject) -> None:
        if (worker := self.one(data, STARTING)) is not None:
            worker.state = READY

    @rule(data=st.data(), limit_s=st.sampled_from((0.0, 0.05, 1.0, 40.0)))
    def begins_a_task(self, data: st.DataObject, limit_s: float) -> None:
        if (worker := self.one(data, READY)) is not None:
            self.begin_task(worker, limit_s)

    def begin_task(self, worker: Worker, limit_s: float) -> None:
        worker.tasks += 1
        worker.lease, worker.position = next(self.leases), worker.tasks
        worker.deadline = self.world.now + limit_s if limit_s else 0.0

    @rule(data=st.data())
    def ends_its_task(self, data: st.DataObject) -> None:
        if (worker := self.one(data, READY)) is not None:
            worker.deadline = 0.0

    @rule(data=st.data(), ends=st.booleans())
    def leaves(self, data: st.DataObject, ends: bool) -> None:
        """As it was asked to, or because somebody sent it a signal."""
        if (worker := self.one(data, READY)) is not None:
            self.world.obey(worker)
            worker.code = 0 if ends else None

    @rule(data=st.data(), code=st.sampled_from((0, 1, 2, 70, -9, -11)))
    def ends(self, data: st.DataObject, code: int) -> None:
        if (worker := self.one(data)) is not None and (code != LOAD_FAILED or self.ended):
            worker.code = code

    @rule()
    def is_reloaded(self) -> None:
        self.world.reloads += 1

    @precondition(lambda self: self.world.terms < 3)
    @rule(chance=st.integers(1, 20))
    def is_drained(self, chance: int) -> None:
        if chance == 20:
            self.world.terms += 1

    @rule(possible=st.booleans())
    def processes_can_be_started(self, possible: bool) -> None:
        self.world.can_start = possible

    @invariant()
    def there_are_never_too_many(self) -> None:
        workers = self.world.workers.values()
        assert len(workers) <= self.processes
        loading = [w for w in workers if w.state == STARTING]
        assert len(loading) <= max(1, self.starts_max)

    @invariant()
    def each_end_is_reported_once(self) -> None:
        reported = Counter(departure.pid for departure in self.world.departures)
        assert set(reported) == set(self.ended)
        assert all(times == 1 for times in reported.values())

    def teardown(self) -> None:
        """A reload ends where new code can be loaded, whatever hangs; and so does a drain."""
        if not hasattr(self, "world"):
            return
        world = self.world
        world.can_start = True
        if not world.pool.is_draining:
            self.reload_to_the_end()
        world.terms += 1
        began = world.now
        while not world.pool.is_over:
            assert world.now < began + DRAIN_S + LEAVE_S + 5, f"still {world.pool}"
            self.look(1.0)

    def reload_to_the_end(self) -> None:
        world = self.world
        self.look(0.0)
        world.reloads += 1
        self.look(0.0)
        before, began = set(world.workers), world.now
        while before & set(world.workers) or not world.pool.is_settled:
            one_s = DRAIN_S + LEAVE_S + RESTART_HIGH_S
            assert world.now < began + (self.processes + 1) * one_s, f"still {world.pool}"
            world.load()
            self.look(1.0)
            if world.pool.is_draining:
                return  # The app never loaded.


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
