"""The roster: which peers are here, which left and may come back, and who speaks for whom."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any

from ..auth.users import User
from ..config import Limits
from ..errors import ProtocolError
from ..wire.messages import FORBIDDEN, MALFORMED, Hello
from .book import Book
from .figures import PauseTotals
from .held import HeldResults
from .peers import ObserverPeer, Peer, ProducerPeer, SupervisorPeer, WorkerPeer
from .permissions import OBSERVER, PRODUCER, SUPERVISOR, WORKER, check_queue
from .skills import names_of

LISTED_MAX = 500
"""Queues, workers or tasks listed in one answer to `Ask`."""

FIRST_MAX = 1 << 62
"""Where a producer may begin to number: there must be numbers left."""


class Loss(enum.Enum):
    """How a peer was lost."""

    LEFT = "it said goodbye"
    REPLACED = "it greeted again, and forgot what it had"
    MISBEHAVED = "it broke the protocol"
    SILENT = "nothing was heard from it"
    UNREACHABLE = "its connection is gone"
    BEHIND = "it reads too slowly"
    REVOKED = "its key is not known any more"


class Roster:
    """Peers by routing id and by id."""

    def __init__(self, limits: Limits, book: Book, held: HeldResults) -> None:
        self.peers: dict[bytes, Peer] = {}
        """Those that are here, by routing id."""
        self.producers: dict[bytes, ProducerPeer] = {}
        """Also those that are away."""
        self.workers: dict[bytes, WorkerPeer] = {}
        self.former: dict[bytes, ProducerPeer] = {}
        """Producers by where they were before: what cannot be sent there is for them still."""
        self.tasks: dict[str, str] = {}
        """Task name to queue, as workers said."""
        self.pauses = PauseTotals()
        self._away: dict[bytes, None] = {}
        """Producers that may come back, those that left first in front."""
        self._limits = limits
        self._book = book
        self._held = held

    def __repr__(self) -> str:
        return f"<Roster of {len(self.peers)} peers, {len(self._away)} away>"

    def is_full(self) -> bool:
        """Whether there is no room for another peer."""
        return len(self.peers) >= self._limits.peers_max

    def earlier(self, hello: Hello, peer: bytes) -> list[bytes]:
        """Where peers are that this greeting replaces, for it has forgotten what they said."""
        before: Peer | None = None
        if hello.role == PRODUCER:
            before = self.producers.get(hello.id)
        elif hello.role == WORKER:
            before = self.workers.get(hello.id)
        found = {} if before is None or before.peer is None else {before.peer: None}
        if peer in self.peers:
            found[peer] = None
        return list(found)

    def is_replaced(self, hello: Hello, about: dict[str, Any]) -> bool:
        """Whether another process of this producer's name came later, as far as numbers tell."""
        known, first = self.producers.get(hello.id), _first_of(about)
        if known is None or not known.first or not first or hello.role != PRODUCER:
            return False
        return known.first != first <= known.taken.highest

    def is_taken_over(self, peer: bytes, about: dict[str, Any]) -> bool:
        """Whether a greeting in the place of this peer is another process's, of the same name."""
        known, first = self.peers[peer], _first_of(about)
        return isinstance(known, ProducerPeer) and first > 0 and 0 < known.first != first

    def check_owner(self, hello: Hello, user: User) -> None:
        """Raise `ProtocolError` if the peer of that id is another user's, also while it is away."""
        known: Peer | None = None
        if hello.role == PRODUCER:
            known = self.producers.get(hello.id)
        elif hello.role == WORKER:
            known = self.workers.get(hello.id)
        if known is not None and known.user not in ("", user.name):
            raise ProtocolError(FORBIDDEN, f"{user.name!r} is not whose {hello.role} that is")

    def welcome(
        self, hello: Hello, peer: bytes, about: dict[str, Any], user: User | None = None
    ) -> Peer:
        """Somebody is here. Raises `ProtocolError`, and then nobody is."""
        known: Peer
        if hello.role == PRODUCER:
            known = self._welcome_producer(hello.id, peer, _first_of(about))
        elif hello.role == WORKER:
            known = self._welcome_worker(hello.id, peer, about, user)
        elif hello.role == SUPERVISOR:
            known = SupervisorPeer(hello.id, peer, about)
        elif hello.role == OBSERVER:
            known = ObserverPeer(hello.id, peer)
        else:
            raise ProtocolError(MALFORMED, f"unknown role {hello.role[:40]!r}")
        known.user = "" if user is None else user.name
        self.peers[peer] = known
        return known

    def _welcome_producer(self, id: bytes, peer: bytes, first: int) -> ProducerPeer:
        producer = self.producers.get(id)
        if producer is None:
            producer = self._add_producer(id)
        self._away.pop(id, None)
        producer.peer = peer
        if first and first != producer.first:
            producer.first = first
            producer.is_new = True
            producer.taken.begin(first)
        return producer

    def _add_producer(self, id: bytes) -> ProducerPeer:
        producer = self.producers[id] = ProducerPeer(id)
        if len(self._away) > 10 * self._limits.peers_max:
            self.forget_producer(next(iter(self._away)))
        return producer

    def _welcome_worker(
        self, id: bytes, peer: bytes, about: dict[str, Any], user: User | None
    ) -> WorkerPeer:
        names, tasks = about.get("queues"), about.get("tasks")
        if type(names) is not list or not names or not all(type(n) is str for n in names):
            raise ProtocolError(MALFORMED, "a worker must name its queues")
        if user is not None:
            for name in names:
                check_queue(user, name)
        worker = WorkerPeer(id, peer, about, self._book.open(list(dict.fromkeys(names))))
        self.workers[id] = worker
        for queue in worker.queues:
            queue.join(worker, names_of(tasks, queue.ready.name))
        if type(tasks) is dict and len(self.tasks) + len(tasks) <= 10 * LISTED_MAX:
            self.tasks.update(
                (task, queue)
                for task, queue in tasks.items()
                if type(task) is str and type(queue) is str and self._may_move(user, task, queue)
            )
        return worker

    def _may_move(self, user: User | None, task: str, queue: str) -> bool:
        """Whether a user may say to which queue a task goes: producers go by that."""
        return user is None or all(map(user.may_use, (queue, self.tasks.get(task, queue))))

    def remove(self, peer: bytes) -> Peer | None:
        """Somebody is not here any more. A producer is away, until it is forgotten."""
        known = self.peers.pop(peer, None)
        if known is None:
            return None
        self._keep_pauses(known)
        if isinstance(known, WorkerPeer):
            del self.workers[known.id]
        elif isinstance(known, ProducerPeer):
            known.peer = None
            self._away[known.id] = None
            self.former[peer] = known
            if len(self.former) > self._limits.peers_max:
                del self.former[next(iter(self.former))]
        return known

    def forget_producer(self, id: bytes) -> None:
        """A producer that is away will not be known if it comes back."""
        del self._away[id]
        producer = self.producers.pop(id)
        producer.is_forgotten = True
        self._held.forget(producer)

    def recall(self, id: bytes) -> ProducerPeer:
        """A producer that the broker before this one knew; it is away."""
        producer = self.producers.get(id)
        if producer is None:
            producer = self._add_producer(id)
            self._away[id] = None
        return producer

    def away(self) -> Iterable[bytes]:
        """Ids of the producers that may come back, those that left first in front."""
        return self._away

    def is_away(self, id: bytes) -> bool:
        """Whether a producer left and may come back."""
        return id in self._away

    def supervised(self, supervisor: SupervisorPeer, id: bytes) -> WorkerPeer | None:
        """The worker of that id, if this supervisor speaks for it."""
        worker = self.workers.get(id)
        if worker is None or worker.supervisor != supervisor.id or worker.user != supervisor.user:
            return None
        return worker

    def has_supervisor(self, worker: WorkerPeer) -> bool:
        """Whether one is here that speaks for this worker."""
        return any(
            isinstance(peer, SupervisorPeer)
            and peer.id == worker.supervisor
            and peer.user == worker.user
            for peer in self.peers.values()
        )

    def _keep_pauses(self, known: Peer) -> None:
        """Reports are cumulative: keep the last one until the peer, if it comes back, reports."""
        if not any(peer.id == known.id and "gc" in peer.report for peer in self.peers.values()):
            self.pauses.left(known.id, known.role, known.report)
        known.report = {}


def _first_of(about: dict[str, Any]) -> int:
    """Where a producer that has a name began to number; 0: it says nothing of that."""
    first = about.get("first")
    return first if type(first) is int and 0 < first <= FIRST_MAX else 0
