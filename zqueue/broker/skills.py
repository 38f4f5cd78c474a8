"""Skills: which tasks the workers of one queue have, and whether they differ in that.

Theory of operation. A worker says the names of its tasks when it greets; one that says none has
all. While all workers of a queue have the same, nothing is looked up for any task: whoever is next
gets it, and a task that none of them has fails in the worker. Where they differ (two apps on one
queue, or old and new workers during a deploy) tasks wait by name (`ReadyQueue.sort`), and one that
some worker has goes to nobody else.

What a worker had still counts for a while after it left, or a restart of the only worker that has a
task would let the others fail it.
"""

from __future__ import annotations

from typing import Any

Names = frozenset[str] | None
"""What a worker has: task names, the empty one for bodies without a name; None: all there are."""

SKILLS_KEPT_S = 30.0
"""How long what a worker had counts after it left, seconds: its successor has loaded its app by
then."""


def names_of(tasks: Any, queue: str) -> Names:
    """What a worker has for a queue, by the map of task names to queues with which it greeted."""
    if type(tasks) is not dict or not tasks:
        return None
    own = sum(1 for home in tasks.values() if home == queue)
    return frozenset([*tasks, ""] if own == 1 else tasks)


class Skills:
    """How many workers of a queue have which names."""

    __slots__ = ("_counts", "_same", "has_all", "is_mixed", "known")

    def __init__(self) -> None:
        self._same: dict[Names, Names] = {}
        self._counts: dict[Names, int] = {}
        """Workers that are here; 0 for those who left not long ago."""
        self.known: frozenset[str] = frozenset()
        """Every name that somebody said."""
        self.has_all = False
        """Whether somebody has all there are."""
        self.is_mixed = False
        """Whether somebody who is here lacks what somebody has."""

    def __repr__(self) -> str:
        return f"<Skills: {len(self.known)} names, {'mixed' if self.is_mixed else 'all alike'}>"

    def join(self, names: Names) -> Names:
        """A worker is here that has these. Returns the same names, once for all who have them."""
        names = self._same.setdefault(names, names)
        self._counts[names] = self._counts.get(names, 0) + 1
        if self._counts[names] == 1:
            self._look()
        return names

    def leave(self, names: Names) -> bool:
        """One is gone. Whether it was the last that had these: `forget` them after a while."""
        self._counts[names] -= 1
        if self._counts[names]:
            return False
        self._look()
        return True

    def forget(self, names: Names) -> None:
        """Nobody who had these has come back, unless somebody did."""
        if self._counts.get(names) == 0:
            del self._counts[names], self._same[names]
            self._look()

    def has_rest(self, names: Names) -> bool:
        """Whether a worker that has these may get tasks of names that nobody said."""
        return names is None or not self.has_all

    def _look(self) -> None:
        self.has_all = None in self._counts
        self.known = frozenset().union(*(names for names in self._counts if names is not None))
        most = None if self.has_all else self.known
        self.is_mixed = any(count and names != most for names, count in self._counts.items())
