"""Which handler runs a batch."""

from __future__ import annotations

import pytest

from zqueue.errors import UnknownTask
from zqueue.handlers import Handler
from zqueue.worker.leases import LeasedBatch
from zqueue.worker.lookup import Lookup


def batch(task: str, queue: str) -> LeasedBatch:
    return LeasedBatch(queue, task, False, 1, 1, 0, b"")


LOOKUP = Lookup({
    "alone": Handler("alone", "a", print),
    "one": Handler("one", "b", print),
    "two": Handler("two", "b", print),
})  # fmt: skip


def test_by_name() -> None:
    assert LOOKUP.find(batch("two", "b")).name == "two"
    assert LOOKUP.find(batch("two", "elsewhere")).name == "two"


def test_by_the_queue_that_has_just_one() -> None:
    assert LOOKUP.find(batch("", "a")).name == "alone"


def test_unknown() -> None:
    with pytest.raises(UnknownTask, match=r"no task 'three' .*alone, one, two"):
        LOOKUP.find(batch("three", "a"))
    for queue in ("b", "c"):
        with pytest.raises(UnknownTask, match=f"queue '{queue}' has not one handler"):
            LOOKUP.find(batch("", queue))
