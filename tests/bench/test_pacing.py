"""Open-loop load: when tasks are due, and what is counted from then on."""

from __future__ import annotations

from itertools import pairwise
from time import monotonic_ns

from zqueue.bench.pacing import Latencies, pace, schedule


def test_instants_are_fixed_beforehand() -> None:
    assert list(schedule(1_000, 4, 0.25e-6)) == [1_250, 1_500, 1_750, 2_000]


def test_instants_do_not_drift() -> None:
    """A third of a second has no end as a number: after a million of them it is still exact."""
    *_, last = schedule(0, 900_000, 1 / 3)
    assert last == 300_000 * 10**9


def test_nothing_is_sent_before_it_is_due() -> None:
    sent: list[tuple[int, int]] = []
    pace(20, 0.001, lambda due_ns: sent.append((due_ns, monotonic_ns())))
    assert all(now_ns >= due_ns for due_ns, now_ns in sent)
    assert [b - a for (a, _), (b, _) in pairwise(sent)] == [1_000_000] * 19


def test_a_slow_send_delays_no_instant() -> None:
    """What could not be sent in time is sent at once, and counts from when it was due."""
    sent: list[tuple[int, int]] = []

    def send(due_ns: int) -> None:
        sent.append((due_ns, monotonic_ns()))
        if len(sent) == 1:
            while monotonic_ns() < due_ns + 20_000_000:
                pass  # The system hangs for 20 ms, twenty times the distance between two tasks.

    pace(20, 0.001, send)
    assert sent[-1][0] - sent[0][0] == 19_000_000
    late = [now_ns - due_ns for due_ns, now_ns in sent]
    assert late[1] > late[10] > 5_000_000  # A closed loop would have shown one slow task.


def test_figures_of_the_sender_itself() -> None:
    latencies = Latencies(from_due=[150, 250, 350], from_call=[100, 100, 300])
    figures = latencies.figures()
    assert figures["p50"] == 250
    assert figures["max"] == 350
    assert figures["call_p50"] == 100
    assert figures["late_p50"] == 50
