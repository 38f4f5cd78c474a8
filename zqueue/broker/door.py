"""The door of a broker with keys: who may come in, and when the list of them has changed.

libzmq asks once, when a connection is made; what is said over it is checked for each message by
`access`, so a client whose key was revoked is not heard any more, though it is connected.
"""

from __future__ import annotations

import logging
from typing import Any

from ..auth.files import read_broker_pair, read_users, users_stamp
from ..auth.users import PRODUCE, WORK, Users
from ..errors import ConfigError

logger = logging.getLogger(__name__)

LEASED = "zqueue"
INGEST = "zqueue.ingest"
EGRESS = "zqueue.egress."
"""ZAP's domains: one for each socket. The last one with the name of its queue."""


class Door:
    """A broker's key pair, and whom it knows. Raises `ConfigError`."""

    def __init__(self, directory: str) -> None:
        self.pair = read_broker_pair(directory)
        self._directory = directory
        self._stamp = self._seen = users_stamp(directory)
        self.users = read_users(directory)
        self._trouble = ""

    def __repr__(self) -> str:
        return f"<Door of {self._directory}, {len(self.users)} clients>"

    def judge(self, domain: str, key: str) -> bool:
        """Whether who has that public key may connect to a socket of that domain."""
        user = self.users.of_key(key)
        if user is None:
            return False
        if domain == INGEST:
            return user.has_role(frozenset({PRODUCE}))
        if domain.startswith(EGRESS):
            return user.has_role(frozenset({WORK})) and user.may_use(domain[len(EGRESS) :])
        return domain == LEASED

    def look(self, *, at_once: bool = False) -> Users | None:
        """The list, if it has changed, and has not since the last look. One that cannot be read
        leaves all as it is, and is told."""
        stamp, seen = users_stamp(self._directory), self._seen
        self._seen = stamp
        if not at_once and (stamp == self._stamp or stamp != seen):
            return None  # Who writes it in place may not be done.
        self._stamp = stamp
        try:
            self.users = read_users(self._directory)
        except ConfigError as error:
            self._trouble = str(error)
            logger.error("the list of clients is as it was before, for %s", error)
            return None
        self._trouble = ""
        logger.info("the list of clients has changed: %d are known", len(self.users))
        return self.users

    def status(self, refused: int) -> dict[str, Any]:
        """For the answer to `Ask`. ``refused``: connections that were not let in."""
        return {"clients": len(self.users), "refused": refused, "trouble": self._trouble}
