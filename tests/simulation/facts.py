"""What a history shows, sorted by task. Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, TypeVar

from .history import (
    Asked,
    Began,
    Cancelled,
    Confirmed,
    Dead,
    Delivered,
    Dropped,
    Ended,
    Fault,
    HandedOut,
    History,
    Jumped,
    Kept,
    Left,
    Measured,
    Postponed,
    PowerLost,
    Replayed,
    Revived,
    Sent,
    Told,
    Unwanted,
    Withdrawn,
)

GIVEN_UP = frozenset({"WorkerLost", "TaskTimeout", "UnknownTask", "Expired", "CancelledError"})
"""What a submitter is told of a task that will not run to its end."""

OUT = "out"
"""The queue that leaves by the plain lane."""

T = TypeVar("T")


class ByTask(dict[int, list[T]]):
    """Events by their task; none of those that it does not know."""

    def __missing__(self, task: int) -> list[T]:
        return []


def _by_task(events: list[Any]) -> ByTask[Any]:
    found: ByTask[Any] = ByTask()
    for event in events:
        found.setdefault(event.task, []).append(event)
    return found


class Facts:
    """A history, sorted by task."""

    def __init__(self, history: History) -> None:
        self.history = history
        events: dict[type, list[Any]] = defaultdict(list)
        for event in history.events:
            events[type(event)].append(event)
        self.sent: dict[int, Sent] = {sent.task: sent for sent in events[Sent]}
        self.asked: dict[int, Asked] = {asked.task: asked for asked in events[Asked]}
        self.confirmed: ByTask[Confirmed] = _by_task(events[Confirmed])
        self.began: ByTask[Began] = _by_task(events[Began])
        self.ended: ByTask[Ended] = _by_task(events[Ended])
        self.told: ByTask[Told] = _by_task(events[Told])
        self.dead: ByTask[Dead] = _by_task(events[Dead])
        self.handed_out: ByTask[HandedOut] = _by_task(events[HandedOut])
        self.cancelled: ByTask[Cancelled] = _by_task(events[Cancelled])
        self.withdrawn: list[Withdrawn] = events[Withdrawn]
        self.unwanted = {event.task for event in events[Unwanted]}
        self.dropped = {event.task for event in events[Dropped]}
        self.kept = {event.task for event in events[Kept]}
        self.replayed = [event.task for event in events[Replayed]]
        self.postponed = {task for event in events[Postponed] for task in event.tasks}
        self.delivered: list[Delivered] = events[Delivered]
        self.revived: list[Revived] = events[Revived]
        self.faults: list[Fault] = events[Fault]
        self.measured: list[Measured] = events[Measured]
        self.left: list[Left] = events[Left]
        self.power_lost: list[PowerLost] = events[PowerLost]
        self.forward_s = sum(max(0.0, jump.seconds) for jump in events[Jumped])
        """How much earlier things may happen, for a broker that starts goes by the wall clock."""
        self.back_s = sum(max(0.0, -jump.seconds) for jump in events[Jumped])
        self.stopped = {fault.whom for fault in self.faults if fault.kind == "stop"}
        """Among them brokers that ended when they were asked to, and all was as it should be."""
        self.killed = {fault.whom for fault in self.faults if fault.kind in ("kill", "end")}
        self.keys: dict[tuple[str, str], list[int]] = {}
        """Tasks of each queue and key, in the order in which they were sent."""
        for task, asked in self.asked.items():
            if asked.key:
                self.keys.setdefault((self.sent[task].queue, asked.key), []).append(task)
        for tasks in self.keys.values():  # Whoever cancels one of a key cancels what it stands for.
            if not self.unwanted.isdisjoint(tasks):
                self.unwanted.update(tasks)

    def ran(self, task: int) -> bool:
        """Whether a handler came to the end of it, or to the end of its time; or it has left."""
        if any(end.how != "cut" for end in self.ended[task]):
            return True
        return self.has_left(task)

    def has_left(self, task: int) -> bool:
        """Whether it was taken from its queue for the plain lane."""
        return self.sent[task].queue == OUT and bool(self.handed_out[task])

    def given_up(self, task: int) -> bool:
        """Whether it was set aside, cancelled, or its submitter heard why it will not run.

        One that is gone, or lost the result, hears nothing: then workers were lost often enough.
        """
        hows = {told.how for told in self.told[task]}
        if self.dead[task] or self.cancelled[task] or hows & GIVEN_UP:
            return True
        sent = self.sent[task]
        is_deaf = "ResultLost" in hows or (sent.producer in self.killed and not hows)
        if is_deaf and sent.reply and task in self.asked and self.asked[task].expires_s:
            return True
        hits = sum(fault.until >= sent.at for fault in self.faults)
        return sent.reply and is_deaf and hits >= self.history.crashes_max

    def is_gone(self, task: int) -> bool:
        """Whether it may be lost: every broker that confirmed it had only its memory, and died; or
        it was confirmed too shortly before the power was lost."""
        confirms = self.confirmed[task]
        if not self.history.durable:
            return all(c.broker in self.killed for c in confirms)
        ended = {f.whom: f.at for f in self.faults if f.kind == "kill"}
        # One that was under way when its broker died is heard later.
        return any(self.may_be_forgotten(min(c.at, ended.get(c.broker, c.at))) for c in confirms)

    def may_be_forgotten(self, at: float) -> bool:
        """Whether the power was lost too shortly after an instant for what was said then."""
        return any(power.since <= at <= power.at for power in self.power_lost)

    def is_another_of_its_key(self, task: int) -> bool:
        """Whether it was not put in its queue, for another one had its key."""
        asked = self.asked.get(task)
        others = self.keys[self.sent[task].queue, asked.key] if asked and asked.key else []
        return any(
            other != task and (self.ran(other) or self.given_up(other) or self.is_gone(other))
            for other in others
        )

    def taken(self, task: int) -> tuple[float, float] | None:
        """Between which instants a broker took it, if it did."""
        signs = [event.at for event in (*self.confirmed[task], *self.began[task])]
        return (self.sent[task].at, min(signs)) if signs else None

    def hits(self, task: int, until: float, *others: str) -> int:
        """How many faults befell whoever had a task, the broker among them, until an instant."""
        since = self.sent[task].at
        whom = {*others, *(began.worker for began in self.began[task])}
        whom |= {worker.partition("/")[0] for worker in whom}
        return sum(
            fault.until >= since
            and fault.at <= until
            and (fault.whom in whom or (fault.whom.startswith("broker") and fault.kind != "stop"))
            for fault in self.faults
        )

    def given_up_brokers(self, task: int, until: float) -> int:
        """With several brokers: how often one may have been given up though no fault befell it. It
        was told to stop, or its producer lost the connection."""
        if self.history.brokers == 1:
            return 0
        sent = self.sent[task]
        return sum(
            f.until >= sent.at
            and f.at <= until
            and (f.whom == sent.producer or (f.kind == "stop" and f.whom.startswith("broker")))
            for f in self.faults
        )

    def batch_sent_at(self, task: int) -> float:
        """When the oldest of a batch was sent: of those of its lane that were confirmed with it."""
        sent, asked, confirms = self.sent[task], self.asked.get(task), self.confirmed[task]
        lane = sent[2:], asked and asked.expires_s
        with_it = [
            other.at
            for other in self.sent.values()
            if confirms and self.confirmed[other.task][:1] and other[2:] == lane[0]
            and self.confirmed[other.task][0].at == confirms[0].at
            and (found := self.asked.get(other.task)) and found.expires_s == lane[1]
        ]  # fmt: skip
        return min([sent.at, *with_it])

    def sent_again(self, task: int, until: float) -> int:
        """To how many brokers it may have been sent in vain: they ended as they were asked to, and
        what they confirmed was lost on a connection that a fault befell, too."""
        sent = self.sent[task]
        if not any(f.whom == sent.producer and f.until >= sent.at for f in self.faults):
            return 0
        heard_at = min((c.at for c in self.confirmed[task]), default=until)
        return sum(
            f.kind == "stop" and f.whom.startswith("broker") and sent.at <= f.at <= heard_at
            for f in self.faults
        )
