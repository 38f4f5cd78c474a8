"""Liveness: what is concluded from not hearing from somebody."""

from __future__ import annotations

from collections import OrderedDict


class Liveness:
    """Who was last heard when, by id, kept in that order, so that the silent ones stand in front.

    One timeout serves all, hence hearing from somebody is a move to the end and the next
    deadline is the first one's: both O(1).
    """

    __slots__ = ("_heard", "timeout_s")

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._heard: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._heard)

    def __repr__(self) -> str:
        return f"<Liveness of {len(self)}, timeout {self.timeout_s} s>"

    def hear(self, key: bytes, now: float) -> None:
        """Somebody is alive now."""
        self._heard[key] = now
        self._heard.move_to_end(key)

    def forget(self, key: bytes) -> None:
        """Somebody left; no conclusion is wanted any more."""
        self._heard.pop(key, None)

    def forget_longest(self) -> bytes:
        """Remove and return the one not heard from for the longest time."""
        return self._heard.popitem(last=False)[0]

    def next_deadline(self) -> float | None:
        """When the most silent one will count as lost; None if there is nobody."""
        for heard in self._heard.values():
            return heard + self.timeout_s
        return None

    def lost(self, now: float) -> list[bytes]:
        """Remove and return those not heard from for the timeout."""
        gone: list[bytes] = []
        for key, heard in self._heard.items():
            if heard + self.timeout_s > now:
                break
            gone.append(key)
        for key in gone:
            del self._heard[key]
        return gone
