"""A history: what was observed of a run, whoever ran it. `checker` judges it.

Tasks are numbered by whoever sends them, and every body carries its number, so producers,
handlers and results speak of the same thing. A simulated run writes its history as it goes; a
run of real processes is put together from what they left behind.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple


class Sent(NamedTuple):
    """A producer accepted a task."""

    at: float
    task: int
    producer: str
    queue: str
    name: str
    reply: bool


class Confirmed(NamedTuple):
    """A producer heard that a task was taken, by this broker."""

    at: float
    task: int
    broker: str


class Refused(NamedTuple):
    """A producer heard that a task will never be taken."""

    at: float
    task: int
    code: str


class Began(NamedTuple):
    """A handler was called with a task."""

    at: float
    task: int
    worker: str
    attempt: int
    """As the worker was told."""


class Ended(NamedTuple):
    """A handler returned (``done``), raised (``failed``, ``retry``), or its worker was killed:
    because of this task, which took too long (``late``), or for another reason (``cut``)."""

    at: float
    task: int
    worker: str
    how: str


class Told(NamedTuple):
    """A submitter heard what became of its task: ``value``, or the name of an error."""

    at: float
    task: int
    how: str
    value: object = None


class Dead(NamedTuple):
    """A broker set a task aside."""

    at: float
    task: int
    reason: str


class Replayed(NamedTuple):
    """Somebody made a dead letter a task again."""

    at: float
    task: int


class Dropped(NamedTuple):
    """A dead letter is kept no more: somebody dropped it, or it made room for another."""

    at: float
    task: int


class Kept(NamedTuple):
    """At the end a task is a dead letter."""

    at: float
    task: int


class Delivered(NamedTuple):
    """A broker handed out some tasks of a batch for the first time: here is the first of them."""

    at: float
    task: int


class Revived(NamedTuple):
    """A broker handed out a task though it was stored that it is over."""

    at: float
    task: int


class Postponed(NamedTuple):
    """A batch met a full queue, or one that drains: it comes again later, behind others."""

    at: float
    tasks: tuple[int, ...]


class Fault(NamedTuple):
    """Something was done to a process, a connection or the disk."""

    at: float
    kind: str
    whom: str
    until: float
    """How long somebody may find out of it, for the first time."""


class Measured(NamedTuple):
    """What a broker or a peer held, and what it may hold."""

    at: float
    what: str
    held: int
    most: int


class Asked(NamedTuple):
    """What was asked for a task beside its handler."""

    at: float
    task: int
    due: float = 0.0
    """Not to run before."""
    expires_s: float = 0.0
    """Not to run so long after it was sent; 0: whenever."""
    key: str = ""
    window_s: float = 0.0
    """For how long there is one task of that key."""


class HandedOut(NamedTuple):
    """A broker handed out a task that expires, or is of the plain lane's way out; or it is one of
    several brokers, and named."""

    at: float
    task: int
    broker: str = ""


class Unwanted(NamedTuple):
    """Somebody asked for a task to be cancelled."""

    at: float
    task: int


class Withdrawn(NamedTuple):
    """A broker is back that had a task which its producer gave to another one meanwhile."""

    at: float
    task: int
    broker: str


class Cancelled(NamedTuple):
    """A broker took a task out of its queue, for nobody wants it."""

    at: float
    task: int


class Jumped(NamedTuple):
    """The wall clock was set forward, or back."""

    at: float
    seconds: float


class PowerLost(NamedTuple):
    """What a broker confirmed since then may be lost."""

    at: float
    since: float


class Left(NamedTuple):
    """At the end: what did not come to an end, though no fault happened any more."""

    what: str


Event = (
    Sent | Confirmed | Refused | Began | Ended | Told | Dead | Replayed | Dropped | Kept | Delivered
    | Revived | Postponed | Fault | Measured | Left | Asked | HandedOut | Unwanted | Cancelled
    | Jumped | PowerLost | Withdrawn
)  # fmt: skip


@dataclasses.dataclass
class History:
    """Events, in the order in which they were observed."""

    events: list[Event] = dataclasses.field(default_factory=list)
    durable: bool = False
    """Confirmed tasks survive the broker's process."""
    crashes_max: int = 3
    brokers: int = 1
    stored_s: float = 0.2
    """By then it is stored that a task is over."""

    def add(self, event: Event) -> None:
        self.events.append(event)
