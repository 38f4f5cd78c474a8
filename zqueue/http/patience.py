"""Patience: when a connection is given up. Pure: a driver looks, and this decides.

A client owes two things: the rest of a request's head, and to take what is sent to it. A body may
take as long as its application waits for it.
"""

from __future__ import annotations

import dataclasses

PROGRESS_BYTES = 64 << 10
"""Who takes so many bytes in `Limits.write_s` is slow, but not stuck."""


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What a server allows its clients."""

    connections_max: int
    head_bytes_max: int = 16 << 10
    head_s: float = 10.0
    """From the connection, or the first byte of a further request, until its head is complete."""
    write_s: float = 10.0
    """How long a client may take nothing of what waits for it."""
    idle_s: int = 75
    """How long a connection is kept between two requests. It ends earlier if others need it."""


class Patience:
    """Watches one connection."""

    __slots__ = ("_limits", "_unsent", "_waits_since")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waits_since: float | None = None
        self._unsent = 0

    def is_over(self, now: float, head_since: float | None, unsent: int, *, is_stuck: bool) -> bool:
        """Whether to end the connection, seen at ``now`` seconds.

        ``head_since`` is when a head began that is not complete, ``unsent`` how many bytes wait for
        the client, and ``is_stuck`` whether nothing more is written until it takes some of them.
        """
        if head_since is not None and now - head_since > self._limits.head_s:
            return True
        if not is_stuck:
            self._waits_since = None
            return False
        if self._waits_since is None or unsent <= self._unsent - PROGRESS_BYTES:
            self._waits_since, self._unsent = now, unsent
        return now - self._waits_since > self._limits.write_s
