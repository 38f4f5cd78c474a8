"""The pool as data: who is started, stopped and killed, and what is reported of each end."""

from __future__ import annotations

import pytest

from tests.worker.pool_world import DRAIN_S, RESTART_HIGH_S, Worker, World
from zqueue.wire.messages import CRASHED, STOPPED, TIMEOUT
from zqueue.worker.pool import (
    DEADLINE_HIT,
    LEAVE_S,
    LOAD_FAILED,
    RECYCLED_SHARE,
    STABLE_S,
    Departure,
    Ending,
    Kill,
)
from zqueue.worker.slot import LEFT


@pytest.fixture
def world() -> World:
    """Two workers, both ready."""
    world = World()
    world.fill()
    return world


def first(world: World) -> Worker:
    return next(iter(world.workers.values()))


class TestStart:
    def test_the_first_alone_then_several(self) -> None:
        world = World(processes=8, starts_max=3)
        world.look()
        world.look(60.0)
        assert [w.speaks for w in world.workers.values()] == [True]
        world.load()
        world.look()
        assert [w.speaks for w in world.workers.values()] == [True, False, False, False]
        world.load(*list(world.workers.values())[:2])
        world.look()
        assert len(world.workers) == 5
        assert repr(world.pool) == "<Pool 5 of 8, 2 ready>"
        world.fill()
        assert len(world.workers) == len(world.pool) == 8

    @pytest.mark.parametrize(("processes", "starts_max", "rounds"), [(64, 4, 17), (64, 64, 2)])
    def test_many_workers_do_not_load_one_after_the_other(
        self, processes: int, starts_max: int, rounds: int
    ) -> None:
        """64 imports of 3 s took more than three minutes."""
        world = World(processes=processes, starts_max=starts_max)
        import_s = 3.0
        world.look()
        for _ in range(rounds):
            world.load()
            world.look(import_s)
        assert world.pool.is_settled

    def test_an_app_that_does_not_load_ends_the_pool(self) -> None:
        world = World()
        world.look()
        first(world).code = LOAD_FAILED
        world.look()
        assert world.pool.is_over
        assert world.pool.code == LOAD_FAILED
        assert [d.reason for d in world.departures] == [STOPPED]

    def test_a_process_that_cannot_be_started_harms_nobody(self, world: World) -> None:
        victim, other = world.workers.values()
        victim.code = -9
        world.can_start = False
        for _ in range(600):
            world.look(0.1)
        assert list(world.workers.values()) == [other]
        assert not world.kills
        assert world.tries < 2 + 15, "it waits longer each time"
        assert len([line for line in world.log if "cannot start" in line]) == 1, "said once"
        world.can_start = True
        world.look(RESTART_HIGH_S)
        assert len(world.workers) == 2
        assert world.log[-1] == "info: workers can be started again"

    def test_none_can_be_started_at_all(self) -> None:
        world = World()
        world.can_start = False
        world.look()
        world.look(20.0)
        assert world.tries == 2
        world.terms = 1
        world.look()
        assert world.pool.is_over

    def test_one_that_does_not_live_is_restarted_more_and_more_slowly(self) -> None:
        world = World(processes=1)
        world.fill()
        began = world.now
        for _ in range(12):
            first(world).code = 1
            while True:
                world.look(0.01)
                if world.workers:
                    break
            world.load()
        assert world.now - began > 3 * RESTART_HIGH_S
        world.look(STABLE_S + 1)
        first(world).code = 1
        world.look()
        world.look(0.11)
        assert world.workers, "it had lived for long: the next restart is quick"

    def test_deaths_of_one_moment_are_one_failure(self) -> None:
        world = World(processes=64, starts_max=64)
        for worker in world.fill():
            worker.code = -9
        world.look()
        world.look(0.11)
        assert len(world.workers) > 0
        assert world.pool.restarts == 64


class TestEnds:
    @pytest.mark.parametrize(
        ("code", "how"),
        [(0, "exit code 0"), (70, "exit code 70"), (2, "exit code 2"), (-9, "killed by SIGKILL"),
         (-11, "killed by SIGSEGV"), (-40, "killed by signal 40")],
    )  # fmt: skip
    def test_a_crash_whatever_the_code(self, world: World, code: int, how: str) -> None:
        """A task may call `os._exit(0)`: it has left only if it said so."""
        worker = first(world)
        worker.code = code
        world.look()
        assert world.departures == [Departure(worker.pid, CRASHED, text=how)]
        assert world.log == [f"error: worker {worker.pid} died ({how}); its tasks go to others"]

    @pytest.mark.parametrize("code", [0, 1, -15, -11])
    def test_one_that_has_left_may_end_as_it_likes(self, world: World, code: int) -> None:
        worker = first(world)
        world.obey(worker)
        worker.code = code
        world.look()
        assert world.departures == [Departure(worker.pid, STOPPED)]
        world.look(0.2)
        assert len(world.workers) == 2

    def test_one_that_was_asked_and_crashes_has_crashed(self, world: World) -> None:
        world.reloads = 1
        world.look()
        first(world).code = -11
        world.look()
        assert world.departures[0].reason == CRASHED

    def test_one_that_dies_while_it_loads(self) -> None:
        world = World()
        world.look()
        first(world).code = -11
        world.look()
        assert world.departures[0].reason == CRASHED
        assert not world.pool.is_over

    def test_one_that_has_left_and_does_not_end(self, world: World) -> None:
        worker = first(world)
        worker.state = LEFT
        world.look()
        world.look(LEAVE_S - 0.1)
        assert not world.kills
        world.look(0.2)
        assert world.kills == [Kill(worker.pid, None)]
        world.look()
        assert world.departures == [Departure(worker.pid, STOPPED)]


class TestTimeouts:
    def late(self, world: World) -> Worker:
        worker = first(world)
        worker.lease, worker.position, worker.deadline = 7, 3, world.now + 1.0
        world.look(0.9)
        assert not world.kills
        return worker

    def test_the_blamed_task_is_the_one_that_was_late(self, world: World) -> None:
        """Even if it ended between the look and the kill, and the next one had begun."""
        worker = self.late(world)
        world.look(0.2)
        assert world.kills == [Kill(worker.pid, Ending.TIMEOUT, 7, 3)]
        worker.lease, worker.position, worker.deadline = 7, 4, world.now + 1.0
        world.look(0.1)
        text = "ran longer than its timeout; its process was killed"
        assert world.departures == [Departure(worker.pid, TIMEOUT, 7, 3, text)]
        assert len(world.workers) == 2, "the next one is started at once"

    def test_one_that_ends_in_time(self, world: World) -> None:
        worker = self.late(world)
        worker.deadline = 0.0
        world.look(0.2)
        assert not world.kills

    def test_one_that_was_cancelled_and_goes_on(self, world: World) -> None:
        """Whose process it was has not crashed, and nobody is blamed: the broker knows the task."""
        worker = first(world)
        worker.stop_by = world.now + 5.0
        world.look(4.9)
        assert not world.kills
        world.look(0.2)
        assert world.kills == [Kill(worker.pid, Ending.CANCELLED)]
        world.look(0.1)
        assert world.departures == [Departure(worker.pid, STOPPED)]
        assert len(world.workers) == 2, "the next one is started at once"

    @pytest.mark.parametrize("why", ["reload", "drain", "recycle"])
    def test_one_that_was_asked_to_stop(self, why: str) -> None:
        world = World(tasks_max=5 if why == "recycle" else 0)
        world.fill()
        if why == "reload":
            world.reloads = 1
        elif why == "drain":
            world.terms = 1
        else:
            first(world).tasks = 5
        world.look()
        worker = self.late(world)
        assert worker.stops == 1
        world.look(0.2)
        assert world.kills == [Kill(worker.pid, Ending.TIMEOUT, 7, 3)]
        world.look()
        assert world.departures[0].reason == TIMEOUT


class TestDrain:
    def test_all_are_asked_and_waited_for(self, world: World) -> None:
        world.terms = 1
        world.look()
        assert [w.stops for w in world.workers.values()] == [1, 1]
        assert repr(world.pool) == "<Pool draining 2 of 2, 2 ready>"
        for worker in list(world.workers.values()):
            world.look(10.0)
            assert not world.pool.is_over
            world.obey(worker)
        world.look()
        assert world.pool.is_over
        assert world.pool.code == 0

    def test_the_deadline(self, world: World) -> None:
        world.terms = 1
        world.look()
        world.look(DRAIN_S)
        assert [kill.ending for kill in world.kills] == [Ending.DRAIN, Ending.DRAIN]
        world.look()
        assert world.pool.is_over
        assert world.pool.code == DEADLINE_HIT
        assert {d.reason for d in world.departures} == {STOPPED}

    @pytest.mark.parametrize("at_once", [True, False])
    def test_a_second_signal(self, world: World, at_once: bool) -> None:
        world.terms = 2 if at_once else 1
        world.look()
        world.terms = 2
        world.look(0.1)
        world.look(0.1)
        assert world.pool.is_over
        assert world.pool.code == DEADLINE_HIT

    def test_one_that_is_done_does_not_hit_the_deadline(self, world: World) -> None:
        """It only takes long to end."""
        world.terms = 1
        world.look()
        world.look(DRAIN_S - 1)
        for worker in world.workers.values():
            worker.state = LEFT
        world.look(2)
        assert not world.kills
        for worker in world.workers.values():
            worker.code = 0
        world.look()
        assert (world.pool.is_over, world.pool.code) == (True, 0)

    def test_one_that_loads(self) -> None:
        world = World()
        world.look()
        world.terms = 1
        world.look()
        world.look()
        assert world.pool.is_over
        assert world.pool.code == 0
        assert world.departures[0].reason == STOPPED

    def test_during_a_reload(self, world: World) -> None:
        world.reloads = 1
        world.look()
        world.look(10.0)
        world.terms = 1
        world.look()
        for _ in range(2):
            world.look(DRAIN_S)
        assert world.pool.is_over


class TestReload:
    def test_one_after_the_other(self, world: World) -> None:
        before = list(world.workers.values())
        world.reloads = 1
        for worker in before:
            world.look()
            assert next(w.stops for w in before if w.code is None) == 1
            assert sum(w.stops for w in world.workers.values()) == 1
            world.obey(worker)
            world.look()
            world.look(60.0)
            assert all(w.stops == 0 for w in world.workers.values()), "the new one is not ready"
            assert len(world.workers) == 2
            world.load()
        world.look()
        assert not set(before) & set(world.workers.values())
        assert world.pool.restarts == 0
        assert not world.kills

    def test_the_first_new_one_speaks(self, world: World) -> None:
        world.reloads = 1
        world.look()
        for _ in range(2):
            world.obey(next(w for w in world.workers.values() if w.stops))
            world.look()
            world.load()
            world.look()
        assert [w.speaks for w in world.workers.values()] == [True, False]

    def test_one_that_hangs_is_killed_in_time(self, world: World) -> None:
        hung = first(world)
        world.reloads = 1
        world.look()
        world.look(DRAIN_S - 0.1)
        assert not world.kills
        world.look(0.2)
        assert world.kills == [Kill(hung.pid, Ending.RELOAD)]
        world.look()
        assert world.departures == [Departure(hung.pid, STOPPED)], "nobody is blamed"
        assert len(world.workers) == 2, "no pause"

    def test_a_mistake_in_the_new_code(self, world: World) -> None:
        _, other = world.workers.values()
        world.reloads = 1
        world.look()
        world.obey(first(world))
        world.look()
        for _ in range(10):
            for worker in world.workers.values():
                if worker is not other:
                    worker.code = LOAD_FAILED
            world.look(20.0)
        assert other.stops == 0
        assert not world.pool.is_draining
        assert any("could not load" in line for line in world.log)

    def test_one_that_is_recycled_meanwhile_has_a_deadline_from_then_on(self) -> None:
        world = World(tasks_max=1)
        slow, other = world.fill()
        slow.tasks = 1
        world.look()
        world.look(1000.0)
        assert not world.kills
        world.reloads = 1
        world.look()
        assert other.stops == 0
        world.look(DRAIN_S)
        assert world.kills == [Kill(slow.pid, Ending.RELOAD)]

    def test_again_before_it_is_over(self, world: World) -> None:
        world.reloads = 1
        world.look()
        world.obey(first(world))
        world.look()
        world.load()
        world.reloads = 2
        before = set(world.workers)
        for _ in range(20):
            for worker in world.workers.values():
                if worker.stops and worker.code is None:
                    world.obey(worker)
            world.look(0.1)
            world.load()
        assert not before & set(world.workers)


class TestRecycle:
    def test_after_so_many_tasks(self) -> None:
        world = World(processes=1, tasks_max=100)
        (worker,) = world.fill()
        worker.tasks = 99
        world.look()
        assert worker.stops == 0
        worker.tasks = 1234
        world.look(0.1)
        world.look(0.1)
        assert worker.stops == 1
        assert world.log == [f"info: worker {worker.pid} is replaced: it has run 1,234 tasks"]
        world.obey(worker)
        world.look()
        assert len(world.workers) == 1, "at once"
        assert world.departures == [Departure(worker.pid, STOPPED)]

    def test_beyond_so_much_memory(self) -> None:
        world = World(processes=1, rss_bytes_max=512 << 20)
        (worker,) = world.fill()
        worker.rss_bytes = 600 << 20
        world.look()
        assert worker.stops == 0, "it has run nothing: the next one would be as large"
        worker.tasks = 7
        world.look()
        assert worker.stops == 1
        assert world.log[-1].endswith("is replaced: it holds 600 MiB")

    def test_a_few_at_a_time(self) -> None:
        world = World(processes=8, tasks_max=1)
        workers = world.fill()
        for worker in workers:
            worker.tasks = 1
        world.look()
        world.look(60.0)
        assert sum(w.stops for w in workers) == 8 // RECYCLED_SHARE
        world.obey(workers[0])
        world.look()
        world.look(1.0)
        assert sum(w.stops for w in workers) == 2, "its successor is not ready yet"
        world.load()
        world.look()
        assert sum(w.stops for w in workers) == 3
