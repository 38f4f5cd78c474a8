"""Permissions: which role may say what to a broker, strangers included, and which user.

One table over all kinds of messages. What is not listed is refused, so a kind that is added later
is closed until somebody opens it here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..auth.users import ADMIN, OBSERVE, PRODUCE, WORK, User
from ..errors import ProtocolError
from ..wire.messages import (
    FORBIDDEN,
    Ask,
    Await,
    Cancel,
    Control,
    Credit,
    Departed,
    Goodbye,
    Heartbeat,
    Hello,
    Progress,
    Publish,
    Report,
    Settle,
    Withdraw,
)

PRODUCER, WORKER, SUPERVISOR, OBSERVER = "producer", "worker", "supervisor", "observer"

STRANGER = "stranger"
"""The role of a peer that the broker has not welcomed, or forgot."""

KNOWN = frozenset({PRODUCER, WORKER, SUPERVISOR, OBSERVER})
EVERYBODY = KNOWN | {STRANGER}
NOBODY: frozenset[str] = frozenset()


class Rule(NamedTuple):
    """Who may say something."""

    peers: frozenset[str]
    """Roles of peers, as they greeted."""
    users: frozenset[str]
    """Roles of users, where there are keys; `ADMIN` may say all."""


ANY_USER = frozenset({PRODUCE, WORK, OBSERVE})
ONLY_ADMIN = frozenset({ADMIN})

SENDS = frozenset({PRODUCE})
WORKS = frozenset({WORK})

PERMISSIONS: dict[type[Any], Rule] = {
    Hello: Rule(EVERYBODY, ANY_USER),
    Heartbeat: Rule(KNOWN, ANY_USER),
    Goodbye: Rule(KNOWN, ANY_USER),
    Publish: Rule(frozenset({PRODUCER}), SENDS),
    Withdraw: Rule(frozenset({PRODUCER}), SENDS),
    Await: Rule(frozenset({PRODUCER}), SENDS),
    Credit: Rule(frozenset({WORKER}), WORKS),
    Settle: Rule(frozenset({WORKER}), WORKS),
    Progress: Rule(frozenset({WORKER}), WORKS),
    Departed: Rule(frozenset({SUPERVISOR}), WORKS),
    Report: Rule(frozenset({PRODUCER, WORKER, SUPERVISOR}), frozenset({PRODUCE, WORK})),
    Ask: Rule(EVERYBODY, ANY_USER),
    Cancel: Rule(EVERYBODY, SENDS),
    Control: Rule(EVERYBODY, ONLY_ADMIN),
}


def permits(kind: type[Any], role: str) -> bool:
    """Whether a peer of that role may say that."""
    rule = PERMISSIONS.get(kind)
    return rule is not None and role in rule.peers


def check_queue(user: User, queue: str) -> None:
    """Raise `ProtocolError` if a queue is not for a user. Empty: all queues together."""
    if not user.may_use(queue):
        what = f"queue {queue[:128]!r}" if queue else "all queues together: name one"
        raise ProtocolError(FORBIDDEN, f"{user.name!r} may not use {what}")
