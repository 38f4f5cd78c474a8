"""Records: bounds that others rely on."""

from __future__ import annotations

from zqueue.core import records
from zqueue.wire.codec import BATCH_TASKS_MAX


def test_every_task_of_a_batch_may_have_a_state_of_its_own() -> None:
    assert records.RUNS_MAX >= BATCH_TASKS_MAX


def test_kinds_differ_and_take_a_byte() -> None:
    kinds = [records.PUT, records.DEAD, records.RESULT, records.KEY]
    assert len(set(kinds)) == len(kinds)
    assert all(0 < kind < 256 for kind in kinds)
