"""The window: how much of a lane may be unconfirmed.

Theory of operation. A broker that confirms at once needs a few batches on their way, and no more;
one that first syncs them to disk confirms hundreds together. So a lane may have on its way what is
confirmed in `TARGET_S`, as measured: enough to hide a sync, little enough that a full queue is soon
felt. It is never less than `BATCHES_LEAST`.
"""

from __future__ import annotations

BATCHES_LEAST = 32
"""Batches that may be unconfirmed whatever was measured. 4 MiB of full ones: they hide the way to
the broker and back many times over."""

BATCHES_MAX = 256
"""Batches that may be unconfirmed at most. With 512 tasks each, a broker that syncs takes 0.94 of
the rate of one that does not; with 32 it is 0.5 to 0.76, as quick as the disk is."""

BYTES_MAX = 32 << 20
"""Of all that is unconfirmed beyond the least number of batches, bytes."""

TARGET_S = 0.05
"""What is confirmed in so long may be unconfirmed, seconds."""

MEASURE_S = 0.01
"""How long confirms are counted before the rate is believed, seconds."""


class Window:
    """Measures confirms, and says whether another batch may be sent."""

    __slots__ = ("_confirmed", "_since", "batches", "bytes", "why_full")

    def __init__(self) -> None:
        self.batches = BATCHES_LEAST
        """How many may be unconfirmed, as far as the bytes allow."""
        self.bytes = 0
        """Of what is unconfirmed."""
        self.why_full = ""
        """Why a batch was not taken, unless another one was confirmed since."""
        self._confirmed = 0
        self._since = 0.0

    def __repr__(self) -> str:
        return f"<Window of {self.batches} batches, {self.bytes} bytes in it>"

    def has_room(self, in_flight: int) -> bool:
        """Whether another batch may be sent while so many are unconfirmed."""
        if in_flight < BATCHES_LEAST:
            return True
        return in_flight < self.batches and self.bytes < BYTES_MAX

    def sent(self, nbytes: int) -> None:
        """A batch of so many bytes is on its way."""
        self.bytes += nbytes

    def settled(self, nbytes: int) -> None:
        """A batch is on its way no more."""
        self.bytes -= nbytes

    def confirmed(self, now: float) -> None:
        """A batch was confirmed."""
        self.why_full = ""
        self._confirmed += 1
        elapsed_s = now - self._since
        if elapsed_s >= MEASURE_S:
            at_target = int(self._confirmed * TARGET_S / elapsed_s)
            self.batches = min(max(at_target, BATCHES_LEAST), BATCHES_MAX)
            self._confirmed = 0
            self._since = now

    def narrow(self, why: str) -> None:
        """The broker would not take a batch now, and said why: the least must do."""
        self.batches = BATCHES_LEAST
        self.why_full = why
