"""Task options: what a producer asks for the tasks of a batch, beside their handler.

They travel as a map of their own behind the bodies (`Publish`), and only what was asked for is in
it. A broker that meets an option that it does not know refuses the batch: whoever asks for a delay
is not served by a task that runs at once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ..errors import ProtocolError
from .codec import pack
from .headers import unpack_map
from .messages import MALFORMED

OPTIONS_BYTES_MAX = 4096
"""Bytes in the map: a key and a few numbers."""

SPAN_MS_MAX = 10 * 366 * 86_400_000
"""No delay, window or pause is longer: ten years, milliseconds."""

WALL_MS_MAX = 253_402_300_800_000
"""No time is later than the year 9999, milliseconds since 1970."""

RETRIES_MAX = 1000
"""No task is tried again more often: with pauses of ten minutes that takes three days."""

KEY_BYTES_MAX = 256


class TaskOptions(NamedTuple):
    """What was asked for tasks; None: nothing, so that the task's own or the app's counts."""

    delay_ms: int | None = None
    """Not before so many milliseconds have passed since they were sent."""
    at_ms: int | None = None
    """Not before the wall clock says that, milliseconds since 1970."""
    expires_ms: int | None = None
    """Not at all, once so many milliseconds have passed since they were sent."""
    key: str | None = None
    """Text that names the task: there is one of each key at a time. Of a batch of one."""
    key_window_ms: int | None = None
    """For how long the key counts, milliseconds since it was sent."""
    retries: int | None = None
    """How often a task that failed is tried again."""
    backoff_ms: int | None = None
    """How long it waits before the first of these at most, milliseconds; twice that before each
    that follows."""
    backoff_max_ms: int | None = None
    """And never longer than that, milliseconds."""
    resubmit: bool | None = None
    """Whether its producer sends it again if its result is lost. No broker is told."""

    def pack(self) -> bytes:
        """The map of what was asked for; no bytes: nothing that a broker is told."""
        asked = self._replace(resubmit=None)._asdict()
        told = {name: value for name, value in asked.items() if value is not None}
        return pack(told) if told else b""

    def apart(self) -> tuple[int, TaskOptions]:
        """The time that was asked for, as one number, and the rest (see `timed`)."""
        if self.at_ms is not None:
            return -1 - self.at_ms, self._replace(at_ms=None)
        if self.delay_ms is not None:
            return 1 + self.delay_ms, self._replace(delay_ms=None)
        return 0, self

    def timed(self, time: int) -> TaskOptions:
        """With such a time, of those that have none."""
        if time < 0:
            return self._replace(at_ms=-1 - time)
        return self._replace(delay_ms=time - 1) if time else self

    @property
    def is_policy(self) -> bool:
        """Whether anything is asked for that concerns retries."""
        return not (self.retries is self.backoff_ms is self.backoff_max_ms is None)


_BOUNDS = {
    "delay_ms": (0, SPAN_MS_MAX),
    "at_ms": (0, WALL_MS_MAX),
    "expires_ms": (1, SPAN_MS_MAX),
    "key_window_ms": (1, SPAN_MS_MAX),
    "retries": (0, RETRIES_MAX),
    "backoff_ms": (0, SPAN_MS_MAX),
    "backoff_max_ms": (0, SPAN_MS_MAX),
}
"""The least and the most of each number."""


@lru_cache(1024)  # Those of a lane are the same for each of its batches.
def unpack_options(frame: bytes) -> TaskOptions:
    """What is asked for in a map. Raises `ProtocolError`: it makes no sense."""
    asked = unpack_map(frame, nbytes_max=OPTIONS_BYTES_MAX)
    for name, value in asked.items():
        if name == "key":
            if type(value) is not str or not 1 <= len(value.encode()) <= KEY_BYTES_MAX:
                raise ProtocolError(MALFORMED, f"a key has 1 to {KEY_BYTES_MAX} bytes")
        elif name not in _BOUNDS:
            raise ProtocolError(MALFORMED, f"unknown option {name[:40]!r}")
        else:
            least, most = _BOUNDS[name]
            if type(value) is not int or not least <= value <= most:
                raise ProtocolError(MALFORMED, f"{name} is a number from {least} to {most}")
    if "delay_ms" in asked and "at_ms" in asked:
        raise ProtocolError(MALFORMED, "either delay_ms or at_ms")
    if "key_window_ms" in asked and "key" not in asked:
        raise ProtocolError(MALFORMED, "key_window_ms is of a key")
    return TaskOptions(**asked)
