"""A simulation that finds no bug has to prove that it would."""

from __future__ import annotations

import pytest

from .bugs import BUGS, NEEDS
from .plan import Plan
from .run import plan_of, run

SEEDS = 1000


@pytest.mark.parametrize("name", BUGS)
def test_it_is_found(name: str) -> None:
    seeds = (seed for seed in range(SEEDS) if may_show(name, plan_of(seed)))
    with BUGS[name]():
        assert any(run(seed).violations for seed in seeds), f"not within {SEEDS} seeds"


def may_show(name: str, plan: Plan) -> bool:
    """Whether a plan can show a bug at all: some need a store, or a broker that dies."""
    level, faults = NEEDS.get(name, ("", frozenset()))
    return level in ("", plan.level) and (not faults or bool(faults & set(plan.faults)))
