"""Real processes that are killed and stopped under load: each history is as promised."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator

import pytest

from tests.simulation.history import Dead, Ended
from zqueue.testing import QUICK, wait_until

from .rig import Rig

pytestmark = pytest.mark.system

KILLS = int(os.environ.get("ZQUEUE_TEST_KILLS", "4"))
"""So many processes are killed in a run; `tox -e faults` kills more."""


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig() as rig:
        yield rig


def test_workers_supervisors_and_producers_are_killed(rig: Rig) -> None:
    chance = random.Random(1)
    rig.send(200)
    kills = [rig.kill_worker, rig.kill_sender, rig.kill_supervisor]
    for kill in (kills * KILLS)[:KILLS]:
        seen = rig.count("ended")
        wait_until(lambda: rig.count("ended") > seen + chance.randrange(30), what="tasks to run")  # noqa: B023
        kill()
    rig.judge()


@pytest.mark.parametrize("who", ["producer", "broker", "worker", "supervisor"])
def test_one_is_stopped_for_a_while(who: str) -> None:
    """SIGSTOP, for longer than it takes to be thought lost; then it goes on."""
    with Rig(options=QUICK) as rig:
        name = rig.send(200)
        wait_until(lambda: rig.count("ended") > 20, what="tasks to run")
        supervisor = rig.pools[0].process.pid
        worker = rig.pools[0].pids[0]
        pid, whom = {
            "producer": (rig.senders[name].pid, name),
            "broker": (rig.broker.pid, "broker-1"),
            "worker": (worker, f"{supervisor}/{worker}"),
            "supervisor": (supervisor, str(supervisor)),
        }[who]
        rig.fault("freeze", whom, 2.0)
        os.kill(pid, signal.SIGSTOP)
        try:
            for _ in range(4):
                with pytest.raises(AssertionError):  # A pause that says what it waits for.
                    wait_until(lambda: False, 0.25)
        finally:
            os.kill(pid, signal.SIGCONT)
        rig.judge()


def test_poison(rig: Rig) -> None:
    """Tasks that kill their workers are set aside; the innocent ones run."""
    rig.send(70, poison=2)
    history = rig.judge()
    done = {event.task for event in history.events if isinstance(event, Ended)} - {69, 70}
    dead = [(event.task, event.reason) for event in history.events if isinstance(event, Dead)]
    assert done == set(range(1, 69))
    assert sorted(dead) == [(69, "crashed"), (70, "crashed")]
