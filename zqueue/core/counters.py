"""Counters: what happened, kept as it happens and never recounted."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(slots=True)
class Counters:
    """What a broker did since it started. Each is a number of tasks unless it says otherwise."""

    published: int = 0
    ingested: int = 0
    """Taken from the plain lane."""
    delivered: int = 0
    """Given to workers, redeliveries included."""
    egressed: int = 0
    """Sent out on the plain lane."""
    done: int = 0
    failed: int = 0
    redelivered: int = 0
    """Taken back from a worker that was lost or timed out, and ready again."""
    returned: int = 0
    """Given back unstarted by a worker, and ready again."""
    dead: int = 0
    duplicates: int = 0
    """Batches that a producer sent again and the broker had already."""
    stale: int = 0
    """Settlements of tasks that were not open: the lease had been taken away."""
    refused: int = 0
    """Batches refused."""
    postponed: int = 0
    """Batches that came when their queue was over its bound; the producer sends them again."""
    garbage: int = 0
    """Messages that were no messages."""
    results: int = 0
    """Results sent to submitters."""
    results_lost: int = 0
    """Results whose submitter was gone."""
    workers_lost: int = 0
    """Workers that died or fell silent."""

    def as_dict(self) -> dict[str, int]:
        """Name to value."""
        return dataclasses.asdict(self)
