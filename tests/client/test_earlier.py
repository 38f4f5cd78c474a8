"""Earlier results: each is given until it is dealt with, and bounded by bytes."""

from __future__ import annotations

from zqueue.client.earlier import (
    EARLIER_BYTES_MAX,
    OVERHEAD_BYTES,
    TAKEN_MAX,
    EarlierResult,
    EarlierResults,
    EarlierRun,
    task_id,
)
from zqueue.wire.codec import pack
from zqueue.wire.messages import FAILED, RESULTS

FRAME = pack(["x", "y"])


def run(sequence: int, frame: bytes = FRAME, status: int = RESULTS) -> EarlierRun:
    return EarlierRun(0xABC, sequence, 3, 2, status, frame)


def test_their_ids_are_those_of_the_tasks() -> None:
    first, second = run(7).results()
    assert first == EarlierResult("000000000abc-7-3", "x", None)
    assert second.id == task_id(0xABC, 7, 4)
    failed = run(7, pack([["ValueError", "no", ""]] * 2), FAILED).results()[0]
    assert (failed.value, str(failed.error)) == (None, "ValueError: no")


def test_in_order_and_again_until_dealt_with() -> None:
    earlier = EarlierResults()
    assert earlier.give() is None
    assert [earlier.add(run(n)) for n in (1, 2, 1)] == [False] * 3
    first = earlier.give()
    assert first == run(1)
    assert not earlier.add(run(1)), "the broker sends it again: it is not dealt with yet"
    assert len(earlier) == 1
    earlier.give_back(first)
    assert (earlier.give(), repr(earlier)) == (run(1), "<EarlierResults: 1 wait, 1 given>")
    earlier.took(first)
    assert earlier.add(run(1)), "it was taken: the broker need not keep it"
    assert earlier.give() == run(2)


def test_they_are_bounded() -> None:
    earlier, frame = EarlierResults(), bytes(EARLIER_BYTES_MAX // 2 - OVERHEAD_BYTES)
    for sequence in (1, 2, 3):
        assert not earlier.add(run(sequence, frame))
    assert len(earlier) == 2, "the third comes to the next process"
    for sequence in range(10, 10 + TAKEN_MAX + 5):
        earlier.took(run(sequence))
    assert len(earlier._taken) == TAKEN_MAX
