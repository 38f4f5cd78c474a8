"""Outcomes: how tasks leave a broker's books, or come back, and what that means.

One row for each status of `Settle`, and one for the plain lane. Whoever deals with tasks that are
settled reads here what to do, and asks for no status.
"""

from __future__ import annotations

from ..wire.messages import CANCELLED, DONE, EXPIRED, FAILED, RESULTS, RETRY, RETURNED


class Outcome:
    """What a status means.

    ``carries``: a frame with a value for each task travels with it. ``final``: the tasks are over.
    ``counter`` of their queue counts them. ``kept``: they become dead letters if nobody wants their
    results; if somebody does, that one hears of every final status but the plain lane's. Kept and
    not final: that is so only if there are no attempts left.
    """

    __slots__ = ("carries", "counter", "final", "kept", "status")

    def __init__(
        self, status: int, counter: str, *, carries: bool, final: bool, kept: bool = False
    ) -> None:
        self.status = status
        self.counter = counter
        self.carries = carries
        self.final = final
        self.kept = kept

    def __repr__(self) -> str:
        return f"<Outcome {self.status}: {self.counter}>"


ON_DONE = Outcome(DONE, "done", carries=False, final=True)
ON_RESULTS = Outcome(RESULTS, "done", carries=True, final=True)
ON_FAILED = Outcome(FAILED, "failed", carries=True, final=True, kept=True)
ON_RETURNED = Outcome(RETURNED, "returned", carries=False, final=False)
ON_CANCELLED = Outcome(CANCELLED, "cancelled", carries=False, final=True)
ON_RETRY = Outcome(RETRY, "retried", carries=True, final=False, kept=True)
"""They failed, and are tried again while there are attempts left."""
ON_EXPIRED = Outcome(EXPIRED, "expired", carries=False, final=True, kept=True)
"""They were too old when it was their turn; no worker says so."""
ON_EGRESS = Outcome(DONE, "egressed", carries=False, final=True)
"""Tasks that left by the plain lane; the status travels nowhere."""

OUTCOMES = {
    outcome.status: outcome
    for outcome in (ON_DONE, ON_RESULTS, ON_FAILED, ON_RETURNED, ON_CANCELLED, ON_RETRY)
}
"""By the status of a run in `Settle`."""
