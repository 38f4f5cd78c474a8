"""Counters: what happened, kept as it happens and never recounted."""

from __future__ import annotations

NAMES = (
    "published", "ingested", "delivered", "egressed", "done", "failed", "redelivered", "returned",
    "dead", "duplicates", "stale", "refused", "postponed", "garbage", "results", "results_lost",
    "workers_lost",
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
        self.redelivered = 0
        """Taken back from a worker that was lost or timed out, and ready again."""
        self.returned = 0
        """Given back unstarted by a worker, and ready again."""
        self.dead = 0
        self.duplicates = 0
        """Batches that a producer sent again and the broker had already."""
        self.stale = 0
        """Settlements of tasks that were not open: the lease had been taken away."""
        self.refused = 0
        """Batches refused."""
        self.postponed = 0
        """Batches that came when their queue was over its bound; the producer sends them again."""
        self.garbage = 0
        """Messages that were no messages."""
        self.results = 0
        """Results sent to submitters."""
        self.results_lost = 0
        """Results whose submitter was gone."""
        self.workers_lost = 0
        """Workers that died or fell silent."""

    def add(self, other: Counters) -> None:
        """Count what another one counted."""
        for name in NAMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def as_dict(self) -> dict[str, int]:
        """Name to value."""
        return {name: getattr(self, name) for name in NAMES}
