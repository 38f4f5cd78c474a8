"""Members: which brokers a list names now, where some of it is told by sources. Pure.

Theory of operation. A file is read every second, a name resolved every half minute, clients at
different times. What a source said last holds until it says something else: one that cannot be
asked, or names nobody, takes no broker away, for that would cost more than a broker that is gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..config import BROKERS_MAX, Address, BrokerList, Source

FILE_S = 1.0
"""How often a file is read, seconds."""

NAME_S, NAME_SPREAD = 30.0, 0.2
"""How often a name is resolved, seconds, and by which share sooner or later."""

AGAIN_S = 3.0
"""The same of a name that could not be resolved."""


class Members:
    """What a list of brokers names. ``random`` gives numbers from 0 to 1."""

    def __init__(self, brokers: BrokerList, random: Callable[[], float]) -> None:
        self._fixed = brokers.addresses
        self._random = random
        self._found: dict[Source, tuple[Address, ...]] = dict.fromkeys(brokers.sources, ())
        self._ask_at = dict.fromkeys(brokers.sources, float("-inf"))
        self._troubles: dict[Source, str] = {}
        self._members = list(brokers.addresses)
        self._left_out = 0
        self.news: deque[str] = deque()
        """For the log: what cannot be asked, and what has no room."""

    def __repr__(self) -> str:
        return f"<Members: {len(self._members)}>"

    @property
    def addresses(self) -> list[Address]:
        """The brokers that there are now."""
        return list(self._members)

    @property
    def trouble(self) -> str:
        """Why a source cannot be asked; empty: each can."""
        return next(iter(self._troubles.values()), "")

    def due(self, now: float) -> list[Source]:
        """Ask these now, and tell what they say: `found` or `failed`."""
        return [source for source, at in self._ask_at.items() if at <= now]

    def found(self, source: Source, addresses: list[Address], now: float) -> bool:
        """A source names these. Says whether anything changed."""
        if not addresses:
            return self.failed(source, f"{source.url} names no broker", now)
        self._ask_at[source] = now + self._pause(source)
        self._troubles.pop(source, None)
        self._found[source] = tuple(addresses)
        return self._gather()

    def failed(self, source: Source, why: str, now: float) -> bool:
        """A source could not be asked: what it said before holds."""
        self._ask_at[source] = now + min(AGAIN_S, self._pause(source))
        if self._troubles.get(source) != why:
            self._troubles[source] = why
            kept = len(self._found[source])
            self.news.append(f"{why}; {kept} that it named before are kept" if kept else why)
        return False

    def next_deadline(self) -> float | None:
        """When to ask again; None: there is nobody to ask."""
        return min(self._ask_at.values(), default=None)

    def _pause(self, source: Source) -> float:
        if source.path is not None:
            return FILE_S
        return NAME_S * (1 + NAME_SPREAD * (2 * self._random() - 1))

    def _gather(self) -> bool:
        """Those that are there already stay first: none is left for one that has no room."""
        named = {each.url: each for each in self._fixed}
        for addresses in self._found.values():
            for each in addresses:
                named.setdefault(each.url, each)
        before = [named.pop(each.url) for each in self._members if each.url in named]
        members = [*before, *named.values()]
        left_out, members = len(members[BROKERS_MAX:]), members[:BROKERS_MAX]
        if left_out and left_out != self._left_out:
            self.news.append(f"{left_out} brokers are left out: {BROKERS_MAX} may be named")
        self._left_out = left_out
        has_changed, self._members = members != self._members, members
        return has_changed
