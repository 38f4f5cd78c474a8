"""Counters: what happened, kept as it happens and never recounted."""

from __future__ import annotations

DEAD = ("dead_failed", "dead_timeout", "dead_crashed", "dead_malformed", "dead_expired")
"""Those that became dead letters, by the reason."""

NAMES = (
    "published", "ingested", "delivered", "egressed", "done", "failed", "expired", "cancelled",
    "redelivered", "returned", "retried", "dead", *DEAD, "replayed", "duplicates", "deduplicated",
    "stale", "refused", "postponed", "garbage", "forbidden", "results",
    "results_lost", "workers_lost",
)  # fmt: skip


class Counters:
    """What a broker did since it started, with one queue or beside all queues.

    Each is a number of tasks unless it says otherwise.
    """

    __slots__ = NAMES

    def __init__(self) -> None:
        self.published = 0
        self.ingested = 0
        """Taken from the plain lane."""
        self.delivered = 0
        """Given to workers, redeliveries included."""
        self.egressed = 0
        """Sent out on the plain lane."""
        self.done = 0
        self.failed = 0
        self.expired = 0
        """Were too old when it was their turn, and did not run."""
        self.cancelled = 0
        """Did not run, or were ended, because somebody asked for that."""
        self.redelivered = 0
        """Taken back from a worker that was lost or timed out, and ready again."""
        self.returned = 0
        """Given back unstarted by a worker, and ready again."""
        self.retried = 0
        """Failed or ran too long, and are tried again."""
        self.dead = 0
        """Became dead letters, for one of these reasons."""
        self.dead_failed = 0
        self.dead_timeout = 0
        self.dead_crashed = 0
        self.dead_malformed = 0
        self.dead_expired = 0
        self.replayed = 0
        """Were dead letters, and are tasks of this queue again."""
        self.duplicates = 0
        """Batches that a producer sent again and the broker had already."""
        self.deduplicated = 0
        """Tasks that were not put, for another one had their key."""
        self.stale = 0
        """Settlements of tasks that were not open: the lease had been taken away."""
        self.refused = 0
        """Batches refused."""
        self.postponed = 0
        """Batches that came when their queue was over its bound; the producer sends them again."""
        self.garbage = 0
        """Messages that were no messages."""
        self.forbidden = 0
        """Messages of clients whose key does not allow them."""
        self.results = 0
        """Results sent to submitters."""
        self.results_lost = 0
        """Results whose submitter was gone."""
        self.workers_lost = 0
        """Workers that died or fell silent."""

    def count(self, name: str, tasks: int) -> None:
        """Count so many more."""
        if name == "done":  # Nearly always; by name takes ten times as long.
            self.done += tasks
        else:
            setattr(self, name, getattr(self, name) + tasks)

    def bury(self, reason: str, tasks: int) -> None:
        """So many became dead letters."""
        self.dead += tasks
        self.count(f"dead_{reason}", tasks)

    def add(self, other: Counters) -> None:
        """Count what another one counted."""
        for name in NAMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def as_dict(self) -> dict[str, int]:
        """Name to value."""
        return {name: getattr(self, name) for name in NAMES}
