"""Several brokers in the simulated world: they crash, are cut off, stop, and their list changes.
``python -m tests.simulation --several`` runs more."""

from __future__ import annotations

import pytest

from .bugs import SEVERAL
from .many import tell
from .run import plan_of, run

SEEDS = 40

FIRST = {"withdraw-forgotten": 228, "leases-dropped-when-named-no-more": 34,
         "dropped-when-named-no-more": 46}  # fmt: skip
"""With which seed to begin to look for a bug, so that it does not take long."""

MOST = 60
"""Seeds within which a bug must be found from there."""


@pytest.mark.parametrize("part", range(2))
def test_promises_are_kept(part: int) -> None:
    for seed in range(part, SEEDS, 2):
        found = run(seed, several=True)
        assert not found.violations, tell(found)


@pytest.mark.parametrize("name", SEVERAL)
def test_it_is_found(name: str) -> None:
    first = FIRST.get(name, 0)
    with SEVERAL[name]():
        found = any(run(seed, several=True).violations for seed in range(first, first + MOST))
    assert found, f"not within {MOST} seeds"


def test_seeds_are_of_all_kinds() -> None:
    plans = [plan_of(seed, several=True) for seed in range(SEEDS)]
    assert {plan.brokers for plan in plans} == {2, 3}
    assert {plan.level for plan in plans} == {"memory", "disk"}
    faults = {kind for plan in plans for kind in plan.faults}
    assert {"name", "kill broker", "stop broker", "partition", "cut", "freeze"} <= faults
