"""A run: one seed, from the plan to the verdict."""

from __future__ import annotations

import contextlib
import dataclasses
import traceback
from collections.abc import Callable
from random import Random
from unittest import mock

from zqueue.broker import storing
from zqueue.client import lane
from zqueue.store import writer

from .chaos import Chaos
from .checker import Violation, check
from .history import Fault, Left
from .plan import Plan, draw, draw_several
from .system import System
from .world import World

LOOK_AT_THE_CLOCK = (lane, writer)
"""Code with a clock of its own, which is the simulated one for the time of a run."""

CALM_S = 400.0
"""Virtual seconds within which everything must come to its end once no fault happens any more."""


@dataclasses.dataclass
class Run:
    """What came of a seed."""

    seed: int
    plan: Plan
    steps: int
    tasks: int
    faults: int
    violations: list[Violation]


def plan_of(seed: int, several: bool = False) -> Plan:
    """What a seed's run is like."""
    return (draw_several if several else draw)(Random(f"plan {seed}"))


def run(seed: int, *, trace: Callable[[str], None] | None = None, several: bool = False) -> Run:
    """Run a seed, with one broker or ``several``. The same seed is the same run, and so the same
    verdict."""
    world = World(seed, trace)
    plan = plan_of(seed, several)
    world.read_s = plan.read_s
    with contextlib.ExitStack() as patches:
        for module in LOOK_AT_THE_CLOCK:
            patches.enter_context(mock.patch.object(module, "monotonic", world.clock))
        patches.enter_context(mock.patch.object(storing, "monotonic", world.slow_clock))
        patches.enter_context(mock.patch.object(storing, "RECOVER_ENTRIES", 1))
        return _run(seed, world, plan)


def _run(seed: int, world: World, plan: Plan) -> Run:
    system = System(world, plan)
    Chaos(system)
    trace = world.trace
    try:
        world.run(plan.seconds)
        system.calm_down()
        world.run(world.now + CALM_S, system.is_over)
    except Exception as error:
        if trace is not None:
            trace(traceback.format_exc())
        system.history.add(Left(f"it goes on at all: {error!r} was raised"))
    system.note_what_is_left()
    violations = list(check(system.history))
    faults = sum(isinstance(event, Fault) for event in system.history.events)
    return Run(seed, plan, world.steps, len(system.scripts), faults, violations)
