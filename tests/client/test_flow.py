"""The window: how much may be unconfirmed, by how quickly it is confirmed."""

from __future__ import annotations

import pytest

from zqueue.client.flow import BATCHES_LEAST, BATCHES_MAX, BYTES_MAX, Window


def confirm(window: Window, batches: int, every_s: float, now: float = 10.0) -> float:
    """Confirms come one after the other. Returns when the last one came."""
    for _ in range(batches):
        now += every_s
        window.confirmed(now)
    return now


@pytest.mark.parametrize(
    ("rate", "batches"),
    [(1, BATCHES_LEAST), (600, BATCHES_LEAST), (2_000, 100), (4_000, 200), (50_000, BATCHES_MAX)],
)
def test_it_is_what_confirms_in_50_ms(rate: int, batches: int) -> None:
    window = Window()
    confirm(window, max(3, rate), 1 / rate)
    assert window.batches == pytest.approx(batches, abs=batches * 0.11)
    assert window.has_room(window.batches - 1)
    assert not window.has_room(window.batches)


def test_bytes_count_beyond_the_least_number_of_batches() -> None:
    window = Window()
    confirm(window, 4_000, 1 / 4_000)
    for _ in range(16):
        window.sent(BYTES_MAX // 16)
    assert window.has_room(BATCHES_LEAST - 1)
    assert not window.has_room(BATCHES_LEAST)
    window.settled(BYTES_MAX // 16)
    assert window.has_room(BATCHES_LEAST)
    assert repr(window).startswith("<Window of ")


def test_a_full_queue_narrows_it_until_confirms_come_quickly_again() -> None:
    window = Window()
    now = confirm(window, 4_000, 1 / 4_000)
    window.narrow("queue 'q' is full")
    assert not window.has_room(BATCHES_LEAST)
    assert window.why_full
    confirm(window, 1, 1.0, now)
    assert window.batches == BATCHES_LEAST, "the pause was long"
    assert not window.why_full
    confirm(window, 1_000, 1 / 4_000, now + 1.0)
    assert window.has_room(150)
