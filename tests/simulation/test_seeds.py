"""Seeds: the whole system under faults, a few hundred times. ``python -m tests.simulation`` runs
more, and one again."""

from __future__ import annotations

import os

import pytest

from .many import tell
from .plan import FAULTS
from .run import run

SEEDS = int(os.environ.get("ZQUEUE_TEST_SEEDS", "300"))
PARTS = 4
"""So that they spread over the processes that run tests."""


@pytest.mark.timeout(60 + SEEDS)
@pytest.mark.parametrize("part", range(PARTS))
def test_promises_are_kept(part: int) -> None:
    for seed in range(part, SEEDS, PARTS):
        found = run(seed)
        assert not found.violations, tell(found)


def test_a_seed_is_always_the_same_run() -> None:
    traces: list[list[str]] = [[], []]
    for lines in traces:
        run(7, trace=lines.append)
    assert traces[0] == traces[1] != []


def test_seeds_are_of_all_kinds() -> None:
    """Few seeds meet every fault, and every level."""
    plans = [run(seed).plan for seed in range(30)]
    assert {kind for plan in plans for kind in plan.faults} == set(FAULTS)
    assert {plan.level for plan in plans} == {"memory", "os", "disk"}
