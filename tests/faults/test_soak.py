"""The soak: a short one, and whether it would see what is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .soak.marks import CONFIRMED, DONE, LIFE_TASKS, Marks, missing
from .soak.run import Soak
from .soak.samples import Sample, Samples

SOAK_S = float(os.environ.get("ZQUEUE_TEST_SOAK_S", "12"))
"""`tox -e faults` takes longer, and `python -m tests.faults.soak` an hour."""


@pytest.mark.system
def test_a_short_soak() -> None:
    """Everybody is killed: nothing that was confirmed is missing, and nothing grows."""
    with Soak(rate=400, kill_every=SOAK_S / 8) as soak:
        verdict = soak.run(SOAK_S)
    assert not verdict.problems
    assert {"killed: broker", "killed: worker", "killed: producer"} <= set(verdict.counts)
    assert verdict.counts["replayed"] > 0
    assert verdict.counts["broker: retried"] > 0
    assert verdict.counts["results"] > 0
    assert {row.role for row in verdict.growth} == {"broker", "worker", "supervisor", "producer"}


def test_a_task_that_was_not_done_is_missed(tmp_path: Path) -> None:
    confirmed, done = Marks(tmp_path, CONFIRMED), Marks(tmp_path, DONE)
    confirmed.set([1, 7, LIFE_TASKS, LIFE_TASKS + 5])
    done.set([1, 3, LIFE_TASKS])
    assert missing(confirmed, done, lives=2) == [7, LIFE_TASKS + 5]


@pytest.mark.parametrize(("mib_s", "is_flat"), [(0.0, True), (0.05, True), (1.0, False)])
def test_what_grows_is_seen(mib_s: float, is_flat: bool) -> None:
    samples = Samples()
    samples.by_role["broker"] = [
        Sample(at_s, {"rss MiB": 40.0 + mib_s * at_s}) for at_s in range(60)
    ]
    (growth,) = samples.growth(60.0)
    assert growth.is_flat == is_flat


def test_a_warm_up_does_not_count() -> None:
    samples = Samples()
    samples.by_role["broker"] = [Sample(at_s, {"rss MiB": min(at_s, 15.0)}) for at_s in range(60)]
    (growth,) = samples.growth(60.0)
    assert growth.is_flat
    assert growth.before == growth.after == 15.0
