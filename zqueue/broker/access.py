"""Access: what the users of a broker with keys may say, and what becomes of who may not any more.

A user is whom the transport has authenticated for that very message: a routing id proves nothing,
nor does the id of a producer or a worker.
"""

from __future__ import annotations

from typing import Any

from ..auth.users import ADMIN, OBSERVE, User, Users
from ..core.counters import Counters
from ..errors import ProtocolError
from ..wire.headers import unpack_map
from ..wire.messages import FORBIDDEN, IMPORT, REVOKED, Ask, Cancel, Control, Hello, Refuse
from .aside import LETTER_ACTIONS
from .peers import Peer, Send
from .permissions import (
    NOBODY,
    OBSERVER,
    ONLY_ADMIN,
    PERMISSIONS,
    PRODUCER,
    SENDS,
    SUPERVISOR,
    WORKER,
    WORKS,
    check_queue,
)
from .presence import Presence
from .roster import Loss, Roster

FOR_ALL = frozenset({"info"})
"""Questions that any user may ask: where tasks go, and whether all is well."""

FIGURES = frozenset({"info", "stats"})
"""Questions whose answers have no bodies of tasks in them."""

LOOKS = frozenset({OBSERVE})


GREETS_AS = {
    PRODUCER: SENDS,
    WORKER: WORKS,
    SUPERVISOR: WORKS,
    OBSERVER: frozenset({OBSERVE}),
}
"""What a user must be to greet as a peer of that role."""


class Access:
    """Who is known, and may do what it does. ``users``: None where there are no keys, and everybody
    may do everything."""

    def __init__(
        self, users: Users | None, roster: Roster, presence: Presence, counters: Counters,
        send: Send,
    ) -> None:  # fmt: skip
        self.users = users
        self._roster = roster
        self._presence = presence
        self._counters = counters
        self._send = send

    def __repr__(self) -> str:
        return f"<Access of {self.users!r}>"

    def find(self, key: str) -> User | None:
        """The user of that public key; None where there are no keys."""
        return None if self.users is None else self.users.of_key(key)

    def admits(
        self, peer: bytes, known: Peer | None, key: str, message: Any, frames: list[bytes],
        now: float,
    ) -> bool:  # fmt: skip
        """Whether a message is to be heard; that of nobody who is known still is dropped.

        Raises `ProtocolError` if its user may not say that.
        """
        user = self.find(key)
        if user is not None:
            check_user(user, known, message, frames)
            return True
        self._counters.forbidden += 1
        if known is not None and known.key == key:
            self._end(peer, known, REVOKED, "is not in the broker's list any more", now)
        return False

    def count(self, error: ProtocolError) -> None:
        """A message was refused for that."""
        if error.code == FORBIDDEN:
            self._counters.forbidden += 1
        else:
            self._counters.garbage += 1

    def may_push(self, key: str, queue: str) -> bool:
        """Whether a user, by its key, may put something into a queue by the plain lane."""
        if self.users is None:
            return True
        user = self.users.of_key(key)
        may = user is not None and user.has_role(SENDS) and user.may_use(queue)
        self._counters.forbidden += not may
        return may

    def change(self, users: Users, now: float) -> None:
        """The list has changed. Whoever is not in it any more, or may not do what it does, is lost:
        what it has goes to others."""
        self.users = users
        for peer, known in list(self._roster.peers.items()):
            user = users.of_key(known.key)
            if user is None or user.name != known.user:
                self._end(peer, known, REVOKED, "is not in the broker's list any more", now)
            elif not may_stay(user, known):
                self._end(peer, known, FORBIDDEN, "does not allow this any more", now)

    def _end(self, peer: bytes, known: Peer, code: str, why: str, now: float) -> None:
        self._presence.lose(peer, now, Loss.REVOKED)
        self._send(peer, Refuse(code, 0, f"the key of {known.user!r} {why}"), [])


def check_user(user: User, known: Peer | None, message: Any, frames: list[bytes]) -> None:
    """Raise `ProtocolError` if a user may not say that, or not of that queue.

    A batch and a worker's queues are checked by those who take them.
    """
    kind = type(message)
    wanted = PERMISSIONS[kind].users if kind in PERMISSIONS else NOBODY
    if kind is Ask and message.what not in FOR_ALL:
        wanted = LOOKS
    if not user.has_role(wanted):
        roles = " or ".join(sorted(wanted | ONLY_ADMIN))
        text = f"{kind.__name__} is for the role {roles}, which {user.name!r} does not have"
        raise ProtocolError(FORBIDDEN, text)
    if known is not None and known.user != user.name:
        raise ProtocolError(FORBIDDEN, f"{user.name!r} is not whom this connection was opened by")
    if kind is Hello:
        if not user.has_role(GREETS_AS.get(message.role, NOBODY)):
            raise ProtocolError(FORBIDDEN, f"{user.name!r} may not be a {message.role[:40]}")
    elif kind is Cancel:
        own = known is not None and all(not run[0] for run in message.tasks) and message.tasks
        if not own and ADMIN not in user.roles:
            raise ProtocolError(FORBIDDEN, f"{user.name!r} may cancel its own tasks only")
        if not own:
            check_queue(user, message.queue)
    elif kind is Control:
        _check_control(user, message, frames)
    elif kind is Ask and message.what not in FIGURES:
        check_queue(user, _queue_asked_for(frames))


def may_stay(user: User, known: Peer) -> bool:
    """Whether a peer may go on as what it greeted, after the list of users has changed."""
    if not user.has_role(GREETS_AS[known.role]):
        return False
    queues = known.about.get("queues", ()) if known.role == WORKER else ()
    return all(user.may_use(queue) for queue in queues)


def _check_control(user: User, message: Control, frames: list[bytes]) -> None:
    """Which letters are meant is said beside the queue that they are to go to, if they are."""
    if message.action not in LETTER_ACTIONS:
        check_queue(user, message.queue)
        return
    check_queue(user, "" if message.action == IMPORT else _queue_asked_for(frames))
    if message.queue:
        check_queue(user, message.queue)


def _queue_asked_for(frames: list[bytes]) -> str:
    queue = unpack_map(frames[0]).get("queue", "") if frames else ""
    return queue if type(queue) is str else ""
