"""The soft time-out: an alarm that rings inside a handler, in the main thread."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import TaskTimeout

RING_AGAIN_S = 0.001

_is_shielded = False


@contextmanager
def shielded() -> Iterator[None]:
    """No alarm rings in here; it rings afterwards. For the main thread."""
    global _is_shielded
    before, _is_shielded = _is_shielded, True
    try:
        yield
    finally:
        _is_shielded = before


def is_shielded() -> bool:
    """Whether nothing may be raised in the main thread now."""
    return _is_shielded


def call_with_alarm(task: Callable[[], Any], limit_s: float) -> Any:
    """Call something in the main thread, raising `TaskTimeout` inside it after a while.

    What rings in a finalizer is swallowed by Python; then it rings again.
    """
    running = True

    def ring(number: int, frame: object) -> None:
        if _is_shielded:
            signal.setitimer(signal.ITIMER_REAL, RING_AGAIN_S)
        elif running:
            raise TaskTimeout(text=f"ran longer than {limit_s:g} s")

    def swallowed(unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, TaskTimeout):
            signal.setitimer(signal.ITIMER_REAL, RING_AGAIN_S)
        else:
            hook_before(unraisable)

    before = signal.signal(signal.SIGALRM, ring)
    hook_before, sys.unraisablehook = sys.unraisablehook, swallowed
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        value = task()
        running = False
        return value
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        sys.unraisablehook = hook_before
