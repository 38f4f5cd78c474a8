"""How long tasks of each name ran in one process: what is drawn as a worker's last minute.

Theory of operation. Seconds are added up by name, since the start, so an observer that misses a
report misses nothing. Only the `NAMES_MAX` names that ran last are told one by one, for a report is
small; what others ran since they were told goes to `OTHER`, so no time is lost. A name that comes
back begins at zero.
"""

from __future__ import annotations

from collections.abc import Iterable

NAMES_MAX = 8
"""Names that are told one by one. More could not be told apart by their colours."""

OTHER = "(other)"
"""What stands for all further names. No task can have that name."""


class Ran:
    """Seconds that tasks ran, by name. Those that run side by side count each."""

    __slots__ = ("_other_s", "_seconds", "_told")

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        """The one that ran last comes last."""
        self._told: dict[str, float] = {}
        self._other_s = 0.0

    def __repr__(self) -> str:
        return f"<Ran {', '.join(self._seconds)}>"

    def add(self, name: str, seconds: float) -> None:
        """A task of that name ran so long."""
        self._seconds[name] = self._seconds.pop(name, 0.0) + seconds
        if len(self._seconds) > NAMES_MAX:
            oldest = next(iter(self._seconds))
            self._other_s += max(0.0, self._seconds.pop(oldest) - self._told.pop(oldest, 0.0))

    def report(self, now_running: Iterable[tuple[str, float]]) -> dict[str, float]:
        """Seconds since the start, by name; ``now_running`` have run so long and are not over."""
        told = dict(self._seconds)
        for name, seconds in now_running:
            if name in told or len(told) < NAMES_MAX:
                told[name] = told.get(name, 0.0) + seconds
        self._told = told
        if self._other_s:
            told = {**told, OTHER: self._other_s}
        return {name: round(seconds, 3) for name, seconds in told.items()}
