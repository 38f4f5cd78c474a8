"""Backoff: how long to wait before the next try."""

from __future__ import annotations

from collections.abc import Callable


class Backoff:
    """Doubling delays with full jitter, between ``low_s`` and ``high_s``.

    Jitter keeps a thousand peers from coming back in the same instant; drawing the whole delay
    at random spreads them best (M. Brooker, "Exponential Backoff And Jitter", AWS, 2015).
    ``random`` gives numbers in [0, 1).
    """

    __slots__ = ("_ceiling_s", "_random", "high_s", "low_s")

    def __init__(self, random: Callable[[], float], *, low_s: float, high_s: float) -> None:
        self._random = random
        self.low_s = low_s
        self.high_s = high_s
        self._ceiling_s = low_s

    def next(self) -> float:
        """The next delay, seconds."""
        self._ceiling_s = min(self._ceiling_s * 2, self.high_s)
        return self.low_s + self._random() * (self._ceiling_s - self.low_s)

    def reset(self) -> None:
        """It worked: start again from the shortest delay."""
        self._ceiling_s = self.low_s
