"""Presence: who greets, who is silent, who leaves, and what becomes of what they had.

Theory of operation. Liveness belongs to peers: producers, supervisors and lone workers speak for
themselves, and a supervisor's heartbeats also speak for its workers. A worker that is gone gives
back what it had; a producer may come back, and its results are held for it until then.
"""

from __future__ import annotations

from ..auth.users import User
from ..config import Limits
from ..errors import ProtocolError
from ..wire.headers import unpack_map
from ..wire.messages import (
    CRASHED,
    MALFORMED,
    REASONS,
    REPLACED,
    TIMEOUT,
    TOO_MANY_PEERS,
    Departed,
    Goodbye,
    Heartbeat,
    Hello,
    Refuse,
    Welcome,
)
from .book import Book, Timer
from .dispatch import Dispatch
from .held import HeldResults
from .intake import Intake
from .peers import Peer, ProducerPeer, Send, SupervisorPeer, WorkerPeer
from .roster import Loss, Roster
from .settling import Settling

PRODUCER_AWAY_S = 600.0
"""How long a producer that left without a word is remembered, seconds: for that long, batches
that it sends again are recognised."""

NAMED_AWAY_S = 86_400.0
"""The same for a producer with a name, seconds: somebody may have to start it again."""

GOODBYE_S = 0.5
"""How long a worker or observer may take to answer the goodbye of a broker that ends, seconds: it
has nothing to lose. A producer, to which results are on their way, has the time after which it is
taken for lost."""

OTHER_HAS_THE_NAME = "another process of this name came later"


class Presence:
    """Who is here, and who is lost."""

    def __init__(
        self, id: bytes, limits: Limits, book: Book, roster: Roster, held: HeldResults,
        intake: Intake, settling: Settling, dispatch: Dispatch, send: Send,
    ) -> None:  # fmt: skip
        self._id = id
        self._book = book
        self._limits = limits
        self._counters = book.counters
        self._timers = book.timers
        self._roster = roster
        self._held = held
        self._intake = intake
        self._settling = settling
        self._dispatch = dispatch
        self._send = send
        self.ends_at: float | None = None
        """When this broker said goodbye. Nobody is welcomed any more."""

    def __repr__(self) -> str:
        return f"<Presence of {self._roster!r}>"

    def on_hello(
        self, peer: bytes, message: Hello, frames: list[bytes], now: float, user: User | None,
        key: str = "",
    ) -> None:  # fmt: skip
        """Welcome a peer, in the place of whom it was before, or of another process of its name."""
        if self.ends_at is not None:
            return  # Whoever greets is better served by the next broker.
        if message.look:
            self._welcome(peer, None)
            return
        about = unpack_map(frames[0]) if frames else {}
        if user is not None:
            self._roster.check_owner(message, user)
        if self._roster.is_replaced(message, about):
            self._welcome(peer, self._roster.producers[message.id])
            return
        for earlier in self._roster.earlier(message, peer):
            if earlier != peer and self._roster.is_taken_over(earlier, about):
                self._send(earlier, Refuse(REPLACED, 0, OTHER_HAS_THE_NAME), [])
            self.lose(earlier, now, Loss.REPLACED)
        if self._roster.is_full():
            self._send(peer, Refuse(TOO_MANY_PEERS, 0, "the broker has no room for you"), [])
            return
        known = self._roster.welcome(message, peer, about, user)
        known.key = key
        known.heard_at = now
        self._timers.set((Timer.SILENT, peer), now + self._limits.liveness_s)
        self._welcome(peer, known)
        if isinstance(known, ProducerPeer):
            self._timers.cancel((Timer.AWAY, known.id))
            self.send_held(known)

    def send_held(self, producer: ProducerPeer) -> None:
        """Send what was held for a producer that is back."""
        for result, frame in self._held.take(producer):
            self._settling.send_result(producer, result, frame)

    def _welcome(self, peer: bytes, known: Peer | None) -> None:
        """Say who we are: also, to nobody, who only looks."""
        limits, following = self._limits, 0
        if isinstance(known, ProducerPeer) and known.first:
            following = known.taken.highest + 1
        heartbeat_ms, liveness_ms = int(limits.heartbeat_s * 1000), int(limits.liveness_s * 1000)
        durable, look = int(self._book.journal is not None), int(known is None)
        welcome = Welcome(self._id, heartbeat_ms, liveness_ms, following, durable, look)
        self._send(peer, welcome, [])

    def goodbye_deadline(self) -> float | None:
        """Until when the goodbyes of those who are here are waited for. None: all have said it."""
        peers = self._roster.peers.values()
        if self.ends_at is None or not peers:
            return None
        has_producers = any(isinstance(peer, ProducerPeer) for peer in peers)
        return self.ends_at + (self._limits.liveness_s if has_producers else GOODBYE_S)

    def look_whether_silent(self, peer: bytes, now: float) -> None:
        """Lose a peer that was not heard from for too long."""
        silent_at = self._roster.peers[peer].heard_at + self._limits.liveness_s
        if silent_at <= now:
            self.lose(peer, now, Loss.SILENT)
        else:
            self._timers.set((Timer.SILENT, peer), silent_at)

    def lose(self, peer: bytes, now: float, how: Loss) -> None:
        """A peer is gone."""
        known = self._roster.remove(peer)
        self._timers.cancel((Timer.SILENT, peer))
        if isinstance(known, ProducerPeer):
            if how is Loss.LEFT and not known.open and not known.held:
                self._roster.forget_producer(known.id)
            else:
                self.away(known, now)
        elif isinstance(known, WorkerPeer):
            if how in (Loss.SILENT, Loss.UNREACHABLE, Loss.BEHIND, Loss.REVOKED):
                self._counters.workers_lost += 1
            # Had a silent worker died, its supervisor would have said so: that is the network,
            # or the whole host. Of a worker without one, silence is all we ever hear.
            alone = not known.supervisor
            crashed = how is Loss.UNREACHABLE or (how is Loss.SILENT and alone)
            self._take_back(known, crashed=crashed)

    def away(self, producer: ProducerPeer, now: float) -> None:
        """A producer may come back, for a while."""
        away_s = NAMED_AWAY_S if producer.first else PRODUCER_AWAY_S
        self._timers.set((Timer.AWAY, producer.id), now + away_s)

    def _take_back(self, worker: WorkerPeer, *, crashed: bool, text: str = "") -> None:
        self._dispatch.forget(worker)
        self._settling.take_back(worker, crashed=crashed, text=text)

    def on_heartbeat(
        self, peer: bytes, known: Peer, message: Heartbeat, frames: list[bytes], now: float
    ) -> None:
        """A peer lives, and so do the workers that it names."""
        if isinstance(known, SupervisorPeer):
            for worker_id in message.workers:
                worker = self._roster.supervised(known, worker_id)
                if worker is not None and not worker.cut_off:
                    worker.heard_at = now
        self._send(peer, Heartbeat([]), [])

    def on_goodbye(
        self, peer: bytes, known: Peer, message: Goodbye, frames: list[bytes], now: float
    ) -> None:
        """A peer leaves."""
        self._intake.send_confirms()
        self.lose(peer, now, Loss.LEFT)
        self._send(peer, Goodbye(), [])

    def on_departed(
        self, peer: bytes, supervisor: SupervisorPeer, message: Departed, frames: list[bytes],
        now: float,
    ) -> None:  # fmt: skip
        """A worker of this supervisor is gone."""
        if message.reason not in REASONS:
            raise ProtocolError(MALFORMED, f"unknown reason {message.reason[:40]!r}")
        worker = self._roster.supervised(supervisor, message.worker)
        if worker is None:
            return
        assert worker.peer is not None
        self._roster.remove(worker.peer)
        self._timers.cancel((Timer.SILENT, worker.peer))
        crashed = message.reason == CRASHED
        if crashed:
            self._counters.workers_lost += 1
        if message.reason == TIMEOUT:
            self._settling.time_out(worker, message)
        self._take_back(worker, crashed=crashed, text=message.text)

    def cut_off(self, peer: bytes) -> bool:
        """The connection of a peer is gone. Returns whether it is a worker of a supervisor, which
        knows whether it crashed, or was ended for a time-out, and is about to say. If it lives, it
        greets anew. If neither happens, it is silent."""
        known = self._roster.peers.get(peer)
        if not isinstance(known, WorkerPeer) or not self._roster.has_supervisor(known):
            return False
        known.cut_off = True
        known.credit = 0
        return True
