"""Outcomes: the table is about every status, and names what there is to count."""

from __future__ import annotations

from zqueue.broker.outcomes import ON_EGRESS, ON_EXPIRED, ON_FAILED, ON_RETRY, OUTCOMES
from zqueue.core.counters import NAMES
from zqueue.wire.messages import CANCELLED, DONE, FAILED, RESULTS, RETRY, RETURNED


def test_each_status_of_a_settlement_has_one() -> None:
    assert set(OUTCOMES) == {DONE, RESULTS, FAILED, RETURNED, CANCELLED, RETRY}
    assert all(status == outcome.status for status, outcome in OUTCOMES.items())
    assert {outcome.counter for outcome in (*OUTCOMES.values(), ON_EGRESS)} <= set(NAMES)


def test_what_comes_back_is_neither_carried_nor_kept() -> None:
    back, again = (outcome for outcome in OUTCOMES.values() if not outcome.final)
    assert (back.status, back.carries, back.kept) == (RETURNED, False, False)
    assert again is ON_RETRY, "and that is kept if there are no attempts left"


def test_only_failures_are_kept() -> None:
    all_of_them = (*OUTCOMES.values(), ON_EGRESS, ON_EXPIRED)
    kept = [outcome for outcome in all_of_them if outcome.kept]
    assert kept == [ON_FAILED, ON_RETRY, ON_EXPIRED]
    assert repr(ON_FAILED) == "<Outcome 2: failed>"
