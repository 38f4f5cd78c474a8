"""What a connection sent, and what it tells of that: its events."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import ZQueueError
from ..wire.headers import encode, make
from ..wire.messages import IMPATIENT, MOVED, REPLY, Publish
from .questions import Asked

EMPTY = b"\x90"
"""A batch without a body, which every broker refuses."""


RESUBMITS_MAX = 3
"""How often a batch is sent again whose results were lost. Whoever loses more brokers than that
within one task wants to know."""


class Sent:
    """A published batch."""

    __slots__ = ("been", "born", "confirmed", "copies", "doubtful", "frames", "holder", "known",
                 "lane", "moved", "nbytes", "open", "owed", "promise", "reply", "resent",
                 "resubmits", "results_to_come", "sequence", "since", "tasks",
                 "withdrawn")  # fmt: skip

    def __init__(
        self, sequence: int, lane: Any, body: bytes, tasks: int, reply: Any, since: float,
        age_s: float, promise: Any = None,
    ) -> None:  # fmt: skip
        self.sequence = sequence
        self.lane = lane
        self.frames = [b"", body, lane.options] if lane.options else [b"", body]
        """What goes out, and goes out again after a loss; nothing once it is confirmed."""
        self.nbytes = len(body)
        """Of its bodies."""
        self.tasks = tasks
        self.reply = reply
        """Where its results go; None if they are not wanted."""
        self.since = since
        """When it was published."""
        self.born = since - age_s
        """When its oldest body came; of delayed ones the youngest."""
        self.promise = promise
        """Who waits for its confirm, and would not have it wait for room; None: nobody does."""
        self.holder: Any = None
        """The connection that has it."""
        self.been: tuple[Any, ...] = ()
        """Those that had it before."""
        self.moved = 0
        """`MOVED`, where it was numbered by another one."""
        self.confirmed = False
        self.withdrawn: ZQueueError | None = None
        """Why it is not wanted any more: only its number goes out, to be used up."""
        self.known: tuple[int, int] | None = None
        """Origin and batch of the task that has its key, if the broker named another one."""
        self.open = 0 if reply is None else (1 << tasks) - 1
        """Positions without a result, as bits."""
        self.owed = self.open
        """Positions of which the present broker has sent no result, as far as we have heard."""
        self.results_to_come: int | None = None
        """Results that are still to come, as the broker said when we asked (`Await`); None: we have
        not asked since we were welcomed. Some may be of tasks that ran again, and whose result came
        before."""
        self.resubmits = RESUBMITS_MAX if reply is not None and lane.resubmit else 0
        """How often it may be sent again because its results were lost."""
        self.resent = False
        """Whether a broker may have taken it, and sent its results, without our hearing of it."""
        self.copies = 0
        """How often it was sent on this link and not answered: once for each welcome."""
        self.doubtful = False
        """Whether it was sent to a broker that does not answer for it any more."""

    def __repr__(self) -> str:
        state = "confirmed" if self.confirmed else "unconfirmed"
        return f"<Sent #{self.sequence}, {self.tasks} tasks, {state}, {self.open:b} open>"

    def goes_to(self, holder: Any, *, moved: bool) -> None:
        """Another connection has it from now on."""
        self.been += (self.holder,)
        self.holder = holder
        self.moved = MOVED if moved else 0
        self.leaves_its_broker()
        self.results_to_come = self.known = None
        self.resent = False

    def leaves_its_broker(self) -> None:
        """Whoever had it will not tell what became of it: another one owes all of it."""
        self.copies = 0
        self.doubtful = self.doubtful or bool(self.frames[0])
        self.frames[0] = b""
        self.owed = 0 if self.reply is None else (1 << self.tasks) - 1

    def again(self) -> None:
        """Its results were lost: it is unconfirmed again."""
        self.resubmits -= 1
        self.confirmed = self.resent = False
        self.results_to_come = self.known = self.promise = None
        self.leaves_its_broker()

    def withdraw(self, error: ZQueueError) -> None:
        """Have no body of it sent any more. A broker that has taken it before confirms the number,
        one that has not refuses an empty batch: either way no gap is left in the numbers."""
        self.withdrawn = error
        self.frames = [b"", EMPTY]

    def to_send(self, now: float) -> list[bytes]:
        """As it goes out now. Options may say that its time ends so long after it was sent: that
        goes on while there is no broker."""
        self.copies += 1
        if self.frames[0] and not self.lane.options:
            return self.frames
        flags = self.moved | (REPLY if self.reply is not None else 0)
        flags |= IMPATIENT if self.promise else 0
        age_us = int((now - self.born) * 1e6)
        publish = (self.sequence, self.lane.queue, self.lane.task, flags, age_us)
        self.frames[0] = encode(make(Publish, publish))
        return self.frames


class Confirmed(NamedTuple):
    """The broker has taken responsibility for these batches."""

    batches: list[Sent]


class BatchRefused(NamedTuple):
    """The broker will never take this batch."""

    sent: Sent
    code: str
    text: str


class Postponed(NamedTuple):
    """A batch met a full queue, or a broker about to stop; it goes out again by itself."""

    sent: Sent
    code: str
    text: str


class ResultsCame(NamedTuple):
    """Some tasks of an awaited batch are over; for some of them it may not be the first time."""

    sent: Sent
    first: int
    tasks: int
    status: int
    frame: bytes
    last: bool
    """Nothing of the batch is awaited any more."""


class Progressed(NamedTuple):
    """A task of an awaited batch runs, and reports how far it has come."""

    sent: Sent
    position: int
    done: int
    total: int


class ResultsLost(NamedTuple):
    """What is still awaited of this batch will not come."""

    sent: Sent
    text: str


class Resubmitted(NamedTuple):
    """The results of this batch were lost, and it goes out again, as its tasks may run twice."""

    sent: Sent


class AlreadyKnown(NamedTuple):
    """A task was not put in its queue, for another one has its key."""

    sent: Sent
    origin: int
    sequence: int
    """Of that one."""
    first: Sent | None
    """That one, if its result is awaited here."""


class EarlierCame(NamedTuple):
    """Results came for what an earlier process of our name submitted."""

    tasks: int


class Answered(NamedTuple):
    """The broker answered."""

    asked: Asked


class Dismissed(NamedTuple):
    """Nothing more can be sent here."""

    text: str


ConnectionEvent = (
    Confirmed | BatchRefused | Postponed | ResultsCame | Progressed | ResultsLost | Resubmitted
    | AlreadyKnown
    | EarlierCame | Answered | Dismissed
)  # fmt: skip
