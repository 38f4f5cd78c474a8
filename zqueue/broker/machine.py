"""The broker's machine: who is there, what they say, and what they are answered.

Theory of operation. Peers are known by the routing id under which the ROUTER socket has them.
A peer says `Hello`, then what its role may say (`permissions`); anything else is refused and
counted, and never harms anybody but its sender. Tasks come in through `Intake`, leave through
`Dispatch`, and end in `Settling`; this file joins the three to the
peers (`Roster`, `Presence`).

What is decided while messages are received is sent by `to_send`, deliveries and results before
confirms: whoever waits for work or a result should not wait for bookkeeping.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..auth.users import Users
from ..config import Limits
from ..core.counters import Counters
from ..core.dead import DeadLetters
from ..core.lease import LeaseTable
from ..core.records import Fact, Record, Recovered
from ..errors import ProtocolError
from ..wire.codec import pack
from ..wire.headers import decode, encode, unpack_map
from ..wire.messages import (
    MALFORMED,
    OPEN,
    UNKNOWN_PEER,
    WRONG_ROLE,
    Ask,
    Await,
    Cancel,
    Control,
    Credit,
    Departed,
    Goodbye,
    Heartbeat,
    Hello,
    Message,
    Progress,
    Publish,
    Refuse,
    Report,
    Result,
    Settle,
    Tell,
    Withdraw,
)
from .access import Access
from .aside import Aside
from .book import QUEUE_UNUSED_S, Book, Timer
from .cancelling import Cancelling
from .commands import Commands
from .dispatch import Dispatch
from .figures import ADDED_UP, Figures
from .held import HeldResults
from .intake import Ingest, Intake
from .journal import OVER_WAITS_S, Journal
from .keys import Keys
from .peers import Peer, ProducerPeer, WorkerPeer, origin_number
from .permissions import STRANGER, permits
from .presence import Presence
from .recovery import Read, Recovery
from .retrying import Retrying
from .roster import Loss, Roster
from .settling import Settling
from .telling import Teller

STRANGERS_EVERY_S = 0.1
"""How often a peer hears that it is unknown here, seconds."""

STRANGERS_MAX = 1000
"""Peers of which is known when they heard it. Then all are forgotten, and hear it once more."""

REPORT_BYTES_MAX = 4096
"""Bytes of what is kept of a peer's report. They are all told together."""


def _always_one() -> float:
    """Chance where none is wanted: what waits, waits as long as it may."""
    return 1.0


class BrokerProtocol:
    """One broker's conversations with all its peers.

    ``id`` is 8 random bytes, ``first_lease`` a random number; both new at every start. With a
    `Journal` somebody has to store what `to_store` gives, and say so by `stored`: only then are
    batches confirmed. Who recovers what was stored gives the id again that the broker had.
    """

    def __init__(
        self,
        id: bytes,
        limits: Limits,
        *,
        first_lease: int = 1,
        egress: frozenset[str] = frozenset(),
        journal: Journal | None = None,
        users: Users | None = None,
        chance: Callable[[], float] = _always_one,
    ) -> None:
        self.id = id
        self.limits = limits
        self.counters = Counters()
        """Of what belongs to no queue; `Book.totals` has all."""
        self.figures = Figures()
        self.dead = DeadLetters(letters_max=limits.dead_max, bytes_max=limits.dead_bytes_max)
        self.book = Book(limits, self.counters, egress, journal)
        self.held = HeldResults(self.book.budget, self.counters, journal)
        self.roster = Roster(limits, self.book, self.held)
        self._peers = self.roster.peers
        self._out: list[tuple[bytes, list[bytes]]] = []
        self._timers = self.book.timers
        self.strangers: dict[bytes, float] = {}
        """When they may hear again that they are."""
        self.keys = Keys(self.book)
        self.intake = Intake(self.book, self.held, self.keys, self._send)
        self.aside = Aside(id, self.book, self.dead, self.intake)
        self.recovery = Recovery(self.book, self.roster, self.aside, self.held, self.keys)
        self._awaits: list[tuple[ProducerPeer, list[int]]] = []
        """What cannot be answered until all was found that a store has."""
        self.teller = Teller(id, self.book, self.roster, self.aside, self.figures)
        self.settling = Settling(
            self.book, LeaseTable(first_lease), self.aside, self.held, self._send,
            crashes_max=limits.crashes_max, retrying=Retrying(chance),
        )  # fmt: skip
        self.dispatch = Dispatch(
            self.book, self.settling, self._send, crashes_max=limits.crashes_max,
            origin=origin_number(id),
        )  # fmt: skip
        self.presence = Presence(
            id, limits, self.book, self.roster, self.held, self.intake, self.settling,
            self.dispatch, self._send,
        )  # fmt: skip
        self.access = Access(users, self.roster, self.presence, self.counters, self._send)
        self.cancelling = Cancelling(
            self.book, self.intake, self.settling, self.keys, self._send, origin=origin_number(id)
        )
        self.commands = Commands(self.book, self.cancelling, self.aside, self._send)
        self._handlers: dict[type[Any], Callable[[bytes, Any, Any, list[bytes], float], None]] = {
            Heartbeat: self.presence.on_heartbeat,
            Goodbye: self.presence.on_goodbye,
            Publish: self._on_publish,
            Await: self._on_await,
            Withdraw: self.cancelling.on_withdraw,
            Credit: self._on_credit,
            Settle: self._on_settle,
            Progress: self._on_progress,
            Departed: self.presence.on_departed,
            Report: self._on_report,
            Ask: self._on_ask,
            Cancel: self.commands.on_cancel,
            Control: self.commands.on_control,
        }

    def __repr__(self) -> str:
        return f"<BrokerProtocol {self.roster!r}, {self.book!r}, {self.dispatch.leases!r}>"

    # --- the machine's calls ---

    def receive(self, peer: bytes, user: str, frames: list[bytes], now: float) -> None:
        """Take a message of a peer. Whatever it holds, this does not raise.

        ``user`` is the public key that the transport has authenticated; empty where there is none.
        """
        self.book.now = now
        try:
            message = decode(frames[0]) if frames else None
            if message is None:
                raise ProtocolError(MALFORMED, "no header")
            self._receive(peer, user, message, frames[1:], now)
        except ProtocolError as error:
            self.access.count(error)
            self._send(peer, Refuse(error.code, 0, str(error)), [])

    def ingest(self, frames: list[bytes], now: float, user: str = "") -> Ingest:
        """Take a message ``[queue, batch]`` of the plain lane, from that user."""
        self.book.now = now
        if len(frames) != 2 or len(frames[0]) > 128:
            self.counters.garbage += 1
            return Ingest.REFUSED
        queue = frames[0].decode("ascii", "replace")
        if not self.access.may_push(user, queue):
            return Ingest.REFUSED
        return self.intake.ingest(queue, frames[1])

    def unreachable(
        self, peer: bytes, frames: list[bytes], now: float, *, is_gone: bool = True
    ) -> None:
        """``frames`` could not be sent to a peer: the socket says that it is gone, or it reads too
        slowly. One that is there still is told to greet anew once it says anything."""
        if not is_gone or not self.presence.cut_off(peer):
            self.presence.lose(peer, now, Loss.UNREACHABLE if is_gone else Loss.BEHIND)
            self._keep_result(peer, frames)

    def _keep_result(self, peer: bytes, frames: list[bytes]) -> None:
        """What a producer was not sent is for it still, wherever it comes back."""
        producer = self.roster.former.get(peer)
        message = decode(frames[0])
        if producer is not None and isinstance(message, Result) and message.status != OPEN:
            self.counters.results -= message.tasks  # Counted when it goes out at last.
            frame = frames[1] if len(frames) > 1 else b""
            self.settling.send_result(producer, message, frame)

    def tick(self, now: float) -> None:
        """Time has passed: do what is due."""
        self.book.now = now
        for kind, key in self._timers.due(now):
            if kind is Timer.SILENT:
                self.presence.look_whether_silent(key, now)
            elif kind is Timer.SUSPECTS:
                self.dispatch.reserve(key)
            elif kind is Timer.SKILLS:
                self.dispatch.forget_skills(*key)
            elif kind is Timer.DELAYED:
                self.book.wake(key)
            elif kind is Timer.KEYS:
                self.keys.end()
            elif kind is Timer.READ:
                self.book.read_on()
            elif kind is Timer.STORE:
                self.press()
            elif kind is Timer.UNUSED:
                self.book.end_unused()
            elif self.roster.is_away(key):
                self.roster.forget_producer(key)

    def next_deadline(self) -> float | None:
        """When `tick` wants to be called at the latest."""
        return self._timers.next_deadline()

    def to_send(self) -> list[tuple[bytes, list[bytes]]]:
        """Messages that should go out now: ``(peer, frames)``, in order.

        Call it until it returns nothing: confirms are not prepared before the rest is on its way.
        """
        self.dispatch.hand_out()
        if not self._out:
            self.intake.send_confirms()
        if self.book.has_unused:
            self._look_for_unused()
        out, self._out = self._out, []
        return out

    def to_store(self) -> tuple[int, list[Record]] | None:
        """What must survive and was not handed out before, under a ticket; None: nothing, now."""
        journal = self.book.journal
        if journal is None or journal.is_empty():
            return None
        if journal.is_pressing:
            self._timers.cancel((Timer.STORE, None))
            return journal.to_store()
        if (Timer.STORE, None) not in self._timers:
            self._timers.set((Timer.STORE, None), self.book.now + OVER_WAITS_S)
        return None

    def stored(self, ticket: int) -> None:
        """All up to that ticket survives: confirms and answers that waited for it go out with
        `to_send`."""
        if self.book.journal is not None:
            self.intake.stored(self.book.journal, ticket)
            self.commands.stored(ticket)
            self.book.wake_starved()

    def has_to_store(self) -> bool:
        """Whether there is anything that `to_store` has not handed out, pressing or not."""
        return self.book.journal is not None and not self.book.journal.is_empty()

    def press(self) -> None:
        """What is to be stored waits for no company."""
        if self.book.journal is not None:
            self.book.journal.press()

    def store_is_full(self, why: str) -> None:
        """There is no room for anything new, for this reason; empty: there is again."""
        self.book.store_full = why

    def facts(self) -> list[Fact]:
        """All facts in force, so that what told them before may be forgotten."""
        journal, roster, queues = self.book.journal, self.roster, self.book.queues
        if journal is None:
            return []
        return journal.facts(roster.producers.values(), queues.values())

    def recover(self, recovered: Recovered, read: Read, now: float) -> None:
        """Take up what another broker of this id left. Before the first peer; then call
        `recover_more` until it says that this was all. Bodies are read from the store by ``read``,
        whenever it is their turn."""
        self.book.now = now
        self.recovery.begin(recovered, read)

    def recover_more(self, entries: int, now: float) -> bool:
        """Take up so many entries more. Says whether there may be others."""
        self.book.now = now
        if self.recovery.go_on(entries):
            return True
        for producer_id in self.roster.away():
            if (producer := self.roster.producers[producer_id]).peer is None:
                self.presence.away(producer, now)
        for producer in self.roster.producers.values():
            if producer.peer is not None and producer.held:
                self.presence.send_held(producer)
        awaits, self._awaits = self._awaits, []
        for producer, sequences in awaits:
            if producer.peer is not None:
                self.settling.answer_await(producer, sequences)
        return False

    def set_wall(self, wall_s: float, now: float) -> None:
        """The wall clock says ``wall_s``, seconds since 1970. It may be set at any time."""
        self.book.wall_s = wall_s - now

    def drain(self) -> None:
        """Take no new tasks; go on with those that are here, or that workers have if all others
        outlive this broker."""
        self.intake.draining = self.teller.is_draining = True
        self.dispatch.is_closed = self.book.journal is not None

    def say_goodbye(self, now: float) -> None:
        """Tell all peers that this broker ends; it welcomes nobody any more."""
        self.presence.ends_at = now
        for peer in self.roster.peers:
            self._send(peer, Goodbye(), [])

    def goodbye_deadline(self) -> float | None:
        """Until when a broker that ends waits for its peers' goodbyes; None: all have said it."""
        return self.presence.goodbye_deadline()

    def is_saturated(self) -> bool:
        """Whether every worker has so much to do that none waits for what comes next."""
        for worker in self.roster.workers.values():
            if not worker.is_saturated():
                return False
        return bool(self.roster.workers)

    # --- peers ---

    def _receive(
        self, peer: bytes, user: str, message: Message, frames: list[bytes], now: float
    ) -> None:
        kind = type(message)
        known = self._peers.get(peer)
        role = STRANGER if known is None else known.role
        access = self.access
        if access.users is not None and not access.admits(peer, known, user, message, frames, now):
            return
        if permits(kind, role):
            if isinstance(message, Hello):
                self.strangers.pop(peer, None)
                self.presence.on_hello(peer, message, frames, now, access.find(user), user)
                return
            if known is not None and kind is not Ask and kind is not Control:
                known.heard_at = now
            self._handlers[kind](peer, known, message, frames, now)
        elif known is None:
            if isinstance(message, Settle):  # It was taken for lost, and its tasks given away.
                self.settling.count_stale(message)
            # It may have sent much that is on its way: answers to all of that would fill its pipe.
            if now >= self.strangers.get(peer, now):
                if len(self.strangers) >= STRANGERS_MAX:
                    self.strangers.clear()
                self.strangers[peer] = now + STRANGERS_EVERY_S
                self._send(peer, Refuse(UNKNOWN_PEER, 0, "say hello first"), [])
        else:
            raise ProtocolError(WRONG_ROLE, f"{kind.__name__} is not for a {role}")

    def _look_for_unused(self) -> None:
        self.book.has_unused = False
        timer = (Timer.UNUSED, None)
        if timer not in self._timers:
            self._timers.set(timer, self.book.now + QUEUE_UNUSED_S)

    def _on_report(
        self, peer: bytes, known: Peer, message: Report, frames: list[bytes], now: float
    ) -> None:
        if len(frames) != 1:
            raise ProtocolError(MALFORMED, "Report has one frame after its header")
        report = unpack_map(frames[0])
        state = {name: value for name, value in report.items() if name not in ADDED_UP}
        if len(pack(state)) > REPORT_BYTES_MAX:
            raise ProtocolError(MALFORMED, f"the report is over {REPORT_BYTES_MAX} bytes")
        self.figures.add(report)
        known.report = state
        if "gc" in state:
            self.roster.pauses.is_back(known.id)

    # --- tasks ---

    def _on_publish(
        self, peer: bytes, producer: ProducerPeer, message: Publish, frames: list[bytes], now: float
    ) -> None:
        if not message.sequence:
            raise ProtocolError(MALFORMED, "sequences begin at 1")
        # Without one frame, or two, there is no batch, and it is refused as such.
        body = frames[0] if 1 <= len(frames) <= 2 else b""
        options = frames[1] if len(frames) == 2 else None
        user = None if self.access.users is None else self.access.find(producer.key)
        self.intake.publish(producer, message, body, options, user)

    def _on_await(
        self, peer: bytes, producer: ProducerPeer, message: Await, frames: list[bytes], now: float
    ) -> None:
        if self.recovery.is_running:  # Nobody can tell yet.
            self._awaits.append((producer, message.sequences))
        else:
            self.settling.answer_await(producer, message.sequences)
        for sequence, first in zip(message.taken[::2], message.taken[1::2], strict=False):
            self.held.drop(producer, sequence, first)

    def _on_credit(
        self, peer: bytes, worker: WorkerPeer, message: Credit, frames: list[bytes], now: float
    ) -> None:
        self.dispatch.set_credit(worker, message.credit)

    def _on_settle(
        self, peer: bytes, worker: WorkerPeer, message: Settle, frames: list[bytes], now: float
    ) -> None:
        try:
            self.settling.settle(worker, message, frames)
        except ProtocolError:
            # What it holds would never be settled: it must begin anew.
            self.presence.lose(peer, now, Loss.MISBEHAVED)
            raise
        self.dispatch.offer_to(worker)

    def _on_progress(
        self, peer: bytes, worker: WorkerPeer, message: Progress, frames: list[bytes], now: float
    ) -> None:
        self.settling.send_progress(worker, message)

    # --- whoever looks ---

    def _on_ask(
        self, peer: bytes, known: Peer | None, message: Ask, frames: list[bytes], now: float
    ) -> None:
        self._send(peer, Tell(), self.teller.answer(message.what, frames))

    def _send(self, peer: bytes, message: Message, frames: list[bytes]) -> None:
        self._out.append((peer, [encode(message), *frames]))
