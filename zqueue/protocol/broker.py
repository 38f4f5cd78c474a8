"""The broker's machine: who is there, what they say, and what they are answered.

Theory of operation. Peers are known by the routing id under which the ROUTER socket has them.
A peer says `Hello`, then what its role may say (`_says`); anything else is refused and
counted, and never harms anybody but its sender. Tasks come in through `Intake` and leave
through `Dispatch`; this file joins the two to the peers.

Liveness belongs to peers: producers, supervisors and lone workers speak for themselves, and a
supervisor's heartbeats also speak for its workers.

What is decided while messages are received is sent by `to_send`, deliveries and results before
confirms: whoever waits for work or a result should not wait for bookkeeping.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from typing import Any

from ..core.counters import Counters
from ..core.dead import DeadLetters
from ..core.liveness import Liveness
from ..core.pauses import Pauses, add_up
from ..errors import ProtocolError
from .codec import pack
from .dispatch import Dispatch
from .figures import ADDED_UP, Figures, PausesByRole
from .intake import Ingest, Intake
from .messages import (
    CRASHED,
    DRAIN,
    MALFORMED,
    OPEN,
    PAUSE,
    REASONS,
    RESUME,
    TOO_MANY_PEERS,
    UNKNOWN_PEER,
    UNKNOWN_QUEUE,
    WRONG_ROLE,
    Ask,
    Await,
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
    Welcome,
    decode,
    encode,
    unpack_map,
)
from .peers import Producer, Queue, Supervisor, Worker, origin_number

PRODUCER_AWAY_S = 600.0
"""How long a producer that left without a word is remembered, seconds: for that long, batches
that it sends again are recognised."""

REPORT_BYTES_MAX = 4096
"""Bytes of what is kept of a worker's report. They are all told together."""

LISTED_MAX = 500
"""Queues, workers or tasks listed in one answer to `Ask`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What a broker may hold, and how long it waits for a sign of life."""

    queue_tasks_max: int = 1_000_000
    queue_bytes_max: int = 256 << 20
    bytes_max: int = 1 << 30
    queues_max: int = 10_000
    peers_max: int = 1_000
    crashes_max: int = 3
    heartbeat_s: float = 1.0
    liveness_s: float = 5.0


class Loss(enum.Enum):
    """How a peer was lost."""

    LEFT = "it said goodbye"
    REPLACED = "it greeted again, and forgot what it had"
    MISBEHAVED = "it broke the protocol"
    SILENT = "nothing was heard from it"
    UNREACHABLE = "its connection is gone"


class Observer:
    """A peer that only looks."""

    __slots__ = ("peer",)

    def __init__(self, peer: bytes) -> None:
        self.peer = peer


Peer = Producer | Worker | Supervisor | Observer


class BrokerProtocol:
    """One broker's conversations with all its peers.

    ``id`` is 8 random bytes, ``first_lease`` a random number; both new at every start.
    """

    def __init__(
        self,
        id: bytes,
        limits: Limits,
        *,
        first_lease: int = 1,
        egress: frozenset[str] = frozenset(),
    ) -> None:
        self.id = id
        self.limits = limits
        self.about: Callable[[], dict[str, Any]] = dict
        """What the process adds to the answer to `Ask`."""
        self.pauses = Pauses()
        """Of this process's garbage collector; whoever drives the machine feeds it."""
        self.counters = Counters()
        """Of what belongs to no queue; `totals` has all."""
        self.figures = Figures()
        self.dead = DeadLetters()
        self._out: list[tuple[bytes, list[bytes]]] = []
        self.intake = Intake(
            self.counters,
            self._send,
            queue_tasks_max=limits.queue_tasks_max,
            queue_bytes_max=limits.queue_bytes_max,
            bytes_max=limits.bytes_max,
            queues_max=limits.queues_max,
            egress=egress,
        )
        self.dispatch = Dispatch(
            self.intake,
            self.counters,
            self.dead,
            self._send,
            first_lease=first_lease,
            crashes_max=limits.crashes_max,
            origin=origin_number(id),
        )
        for name in egress:
            self.intake.queue(name)
        self._peers: dict[bytes, Peer] = {}
        self._liveness: Liveness = Liveness(limits.liveness_s)
        self._producers: dict[bytes, Producer] = {}
        self._away: Liveness = Liveness(PRODUCER_AWAY_S)
        self._former: dict[bytes, Producer] = {}
        """Producers by where they were before: what cannot be sent there is for them still."""
        self._workers: dict[bytes, Worker] = {}
        self._tasks: dict[str, str] = {}
        self._ending = False
        self._pauses = PausesByRole()
        self._says: dict[
            type[Any],
            tuple[tuple[type[Any], ...], Callable[[Any, Any, list[bytes], float], None]],
        ]
        self._says = {
            Publish: ((Producer,), self._on_publish),
            Await: ((Producer,), self._on_await),
            Credit: ((Worker,), self._on_credit),
            Settle: ((Worker,), self._on_settle),
            Progress: ((Worker,), self._on_progress),
            Report: ((Worker, Producer, Supervisor), self._on_report),
            Departed: ((Supervisor,), self._on_departed),
        }
        """Who may say what, beside `Hello`, `Heartbeat`, `Goodbye`, `Ask` and `Control`, which all
        may."""

    def __repr__(self) -> str:
        return (
            f"<BrokerProtocol {len(self._peers)} peers, {len(self.intake.queues)} queues, "
            f"{self.dispatch.leases!r}>"
        )

    # --- the machine's calls ---

    def receive(self, peer: bytes, frames: list[bytes], now: float) -> None:
        """Take a message. Whatever it holds, this does not raise."""
        self.intake.now = now
        try:
            message = decode(frames[0]) if frames else None
            if message is None:
                raise ProtocolError(MALFORMED, "no header")
            self._receive(peer, message, frames[1:], now)
        except ProtocolError as error:
            self.counters.garbage += 1
            self._send(peer, Refuse(error.code, 0, str(error)), [])

    def ingest(self, frames: list[bytes], now: float) -> Ingest:
        """Take a message ``[queue, batch]`` of the plain lane."""
        self.intake.now = now
        if len(frames) != 2 or len(frames[0]) > 128:
            self.counters.garbage += 1
            return Ingest.REFUSED
        return self.intake.ingest(frames[0].decode("ascii", "replace"), frames[1])

    def unreachable(self, peer: bytes, frames: list[bytes], now: float) -> None:
        """The socket says that a peer is gone; ``frames`` could not be sent to it."""
        known = self._peers.get(peer)
        if isinstance(known, Worker) and self._has_supervisor(known):
            # Whether it crashed, or was ended for a time-out, its supervisor knows, and is about to
            # say. If it lives, it greets anew. If neither happens, it is silent.
            known.cut_off = True
            known.credit = 0
            return
        self._lose(peer, now, Loss.UNREACHABLE)
        producer = self._former.get(peer)
        message = decode(frames[0])
        if producer is not None and isinstance(message, Result) and message.status != OPEN:
            self.counters.results -= message.tasks  # Counted when it goes out at last.
            frame = frames[1] if len(frames) > 1 else b""
            self.dispatch.send_result(producer, message, frame)

    def tick(self, now: float) -> None:
        """Time has passed: who was silent for too long is lost."""
        self.intake.now = now
        for peer in self._liveness.lost(now):
            self._lose(peer, now, Loss.SILENT)
        for producer_id in self._away.lost(now):
            del self._producers[producer_id]

    def next_deadline(self) -> float | None:
        """When `tick` wants to be called at the latest."""
        silent, away = self._liveness.next_deadline(), self._away.next_deadline()
        if silent is None or away is None:
            return away if silent is None else silent
        return min(silent, away)

    def to_send(self) -> list[tuple[bytes, list[bytes]]]:
        """Messages that should go out now: ``(peer, frames)``, in order.

        Call it until it returns nothing: confirms are not prepared before the rest is on its way.
        """
        self.dispatch.hand_out()
        if not self._out:
            self.intake.send_confirms()
        out, self._out = self._out, []
        return out

    def drain(self) -> None:
        """Take no new tasks; go on with those that are here."""
        self.intake.draining = True

    def say_goodbye(self) -> None:
        """Tell all peers that this broker is about to end; it welcomes nobody any more."""
        self._ending = True
        for peer in self._peers:
            self._send(peer, Goodbye(), [])

    def has_peers(self) -> bool:
        """Whether anybody is connected who has not said goodbye."""
        return bool(self._peers)

    def is_empty(self) -> bool:
        """Whether no task is ready or leased."""
        return not any(queue.ready.tasks for queue in self.intake.queues.values())

    def is_saturated(self) -> bool:
        """Whether every worker has so much to do that none waits for what comes next."""
        for worker in self._workers.values():
            if not worker.is_saturated():
                return False
        return bool(self._workers)

    # --- peers ---

    def _receive(self, peer: bytes, message: Message, frames: list[bytes], now: float) -> None:
        known = self._peers.get(peer)
        said = self._says.get(type(message))
        if said is not None and type(known) in said[0]:
            self._liveness.hear(peer, now)
            said[1](known, message, frames, now)
        elif isinstance(message, Hello):
            self._on_hello(peer, message, frames, now)
        elif isinstance(message, Ask):
            self._send(peer, Tell(), [self._tell(message.what)])
        elif isinstance(message, Control):
            self._control(peer, message)
        elif known is None:
            if isinstance(message, Settle):  # It was taken for lost, and its tasks given away.
                self.dispatch.count_stale(message)
            self._send(peer, Refuse(UNKNOWN_PEER, 0, "say hello first"), [])
        elif isinstance(message, Heartbeat):
            self._liveness.hear(peer, now)
            self._on_heartbeat(known, message, now)
            self._send(peer, Heartbeat([]), [])
        elif isinstance(message, Goodbye):
            self.intake.send_confirms()
            self._lose(peer, now, Loss.LEFT)
            self._send(peer, Goodbye(), [])
        else:
            what = type(message).__name__
            raise ProtocolError(WRONG_ROLE, f"{what} is not for a {type(known).__name__.lower()}")

    def _on_hello(self, peer: bytes, message: Hello, frames: list[bytes], now: float) -> None:
        if self._ending:
            return  # Whoever greets is better served by the next broker.
        about = unpack_map(frames[0]) if frames else {}
        self._lose_former_self(message, peer, now)
        if len(self._peers) >= self.limits.peers_max:
            self._send(peer, Refuse(TOO_MANY_PEERS, 0, "the broker has no room for you"), [])
            return
        producer: Producer | None = None
        if message.role == "producer":
            producer = self._peers[peer] = self._welcome_producer(message.id, peer)
        elif message.role == "worker":
            self._peers[peer] = self._welcome_worker(message.id, peer, about, now)
        elif message.role == "supervisor":
            self._peers[peer] = Supervisor(message.id, peer, about)
        elif message.role == "observer":
            self._peers[peer] = Observer(peer)
        else:
            raise ProtocolError(MALFORMED, f"unknown role {message.role[:40]!r}")
        self._liveness.hear(peer, now)
        limits = self.limits
        welcome = Welcome(self.id, int(limits.heartbeat_s * 1000), int(limits.liveness_s * 1000))
        self._send(peer, welcome, [])
        if producer is not None:
            for result, frame in producer.take_held():
                self.dispatch.send_result(producer, result, frame)

    def _lose_former_self(self, message: Hello, peer: bytes, now: float) -> None:
        """Whoever greets again has forgotten, or lost, what was said before."""
        before: Producer | Worker | None = None
        if message.role == "producer":
            before = self._producers.get(message.id)
        elif message.role == "worker":
            before = self._workers.get(message.id)
        if before is not None and before.peer is not None:
            self._lose(before.peer, now, Loss.REPLACED)
        if peer in self._peers:
            self._lose(peer, now, Loss.REPLACED)

    def _welcome_producer(self, id: bytes, peer: bytes) -> Producer:
        producer = self._producers.get(id)
        if producer is None:
            producer = self._producers[id] = Producer(id)
            if len(self._away) > 10 * self.limits.peers_max:
                del self._producers[self._away.forget_longest()]
        self._away.forget(id)
        producer.peer = peer
        return producer

    def _welcome_worker(self, id: bytes, peer: bytes, about: dict[str, Any], now: float) -> Worker:
        names, tasks = about.get("queues"), about.get("tasks")
        if type(names) is not list or not names or not all(type(n) is str for n in names):
            raise ProtocolError(MALFORMED, "a worker must name its queues")
        worker = Worker(id, peer, about, [self.intake.queue(name) for name in dict.fromkeys(names)])
        self._workers[id] = worker
        for queue in worker.queues:
            queue.workers += 1
        if type(tasks) is dict and len(self._tasks) + len(tasks) <= 10 * LISTED_MAX:
            self._tasks.update(
                (task, queue)
                for task, queue in tasks.items()
                if type(task) is str and type(queue) is str
            )
        return worker

    def _lose(self, peer: bytes, now: float, how: Loss) -> None:
        """A peer is gone."""
        known = self._peers.pop(peer, None)
        self._liveness.forget(peer)
        if known is not None and not isinstance(known, Observer):
            self._keep_pauses(known)
        if isinstance(known, Producer):
            known.peer = None
            self._former[peer] = known
            if len(self._former) > self.limits.peers_max:
                del self._former[next(iter(self._former))]
            if how is Loss.LEFT and not known.open:
                del self._producers[known.id]
            else:
                self._away.hear(known.id, now)
        elif isinstance(known, Worker):
            self._lose_worker(known)
            if how in (Loss.SILENT, Loss.UNREACHABLE):
                self.counters.workers_lost += 1
            # Had a silent worker died, its supervisor would have said so: that is the network,
            # or the whole host. Of a worker without one, silence is all we ever hear.
            alone = not known.supervisor
            crashed = how is Loss.UNREACHABLE or (how is Loss.SILENT and alone)
            self.dispatch.take_back(known, crashed=crashed)

    def _keep_pauses(self, known: Producer | Worker | Supervisor) -> None:
        """Whoever leaves may come back, and tells again what it told; or is back already."""
        here = (p for p in self._peers.values() if not isinstance(p, Observer))
        if not any(peer.id == known.id and "gc" in peer.report for peer in here):
            self._pauses.left(known.id, _role_of(known), known.report)
        known.report = {}

    def _has_supervisor(self, worker: Worker) -> bool:
        """Whether one is here that speaks for this worker."""
        return any(
            isinstance(peer, Supervisor) and peer.id == worker.supervisor
            for peer in self._peers.values()
        )

    def _lose_worker(self, worker: Worker) -> None:
        del self._workers[worker.id]
        for queue in worker.queues:
            queue.workers -= 1

    # --- what they say ---

    def _on_heartbeat(self, known: Peer, message: Heartbeat, now: float) -> None:
        if isinstance(known, Supervisor):
            for worker_id in message.workers:
                worker = self._workers.get(worker_id)
                if worker is None or worker.supervisor != known.id:
                    continue
                if not worker.cut_off:
                    self._liveness.hear(worker.peer, now)

    def _on_publish(
        self, producer: Producer, message: Publish, frames: list[bytes], now: float
    ) -> None:
        if not message.sequence:
            raise ProtocolError(MALFORMED, "sequences begin at 1")
        # Without just one frame there is no batch, and it is refused as such.
        self.intake.publish(producer, message, frames[0] if len(frames) == 1 else b"")

    def _on_await(
        self, producer: Producer, message: Await, frames: list[bytes], now: float
    ) -> None:
        self.dispatch.answer_await(producer, message.sequences)

    def _on_credit(self, worker: Worker, message: Credit, frames: list[bytes], now: float) -> None:
        self.dispatch.set_credit(worker, message.credit)

    def _on_settle(self, worker: Worker, message: Settle, frames: list[bytes], now: float) -> None:
        try:
            self.dispatch.settle(worker, message, frames)
        except ProtocolError:
            # What it holds would never be settled: it must begin anew.
            self._lose(worker.peer, now, Loss.MISBEHAVED)
            raise

    def _on_progress(
        self, worker: Worker, message: Progress, frames: list[bytes], now: float
    ) -> None:
        self.dispatch.send_progress(worker, message)

    def _on_report(
        self,
        peer: Worker | Producer | Supervisor,
        message: Report,
        frames: list[bytes],
        now: float,
    ) -> None:
        if len(frames) != 1:
            raise ProtocolError(MALFORMED, "Report has one frame after its header")
        report = unpack_map(frames[0])
        state = {name: value for name, value in report.items() if name not in ADDED_UP}
        if len(pack(state)) > REPORT_BYTES_MAX:
            raise ProtocolError(MALFORMED, f"the report is over {REPORT_BYTES_MAX} bytes")
        self.figures.add(report)
        peer.report = state
        if "gc" in state:
            self._pauses.is_back(peer.id)

    def _on_departed(
        self, supervisor: Supervisor, message: Departed, frames: list[bytes], now: float
    ) -> None:
        if message.reason not in REASONS:
            raise ProtocolError(MALFORMED, f"unknown reason {message.reason[:40]!r}")
        worker = self._workers.get(message.worker)
        if worker is None or worker.supervisor != supervisor.id:
            return
        self._peers.pop(worker.peer, None)
        self._liveness.forget(worker.peer)
        self._keep_pauses(worker)
        self._lose_worker(worker)
        if message.reason == CRASHED:
            self.counters.workers_lost += 1
        self.dispatch.depart(worker, message)

    def _control(self, peer: bytes, message: Control) -> None:
        queue = self.intake.queues.get(message.queue)
        if message.action not in (PAUSE, DRAIN, RESUME):
            raise ProtocolError(MALFORMED, f"cannot {message.action[:40]!r} a queue")
        if queue is None:
            text = f"there is no queue {message.queue[:128]!r}"
            self._send(peer, Refuse(UNKNOWN_QUEUE, 0, text), [])
            return
        if message.action == PAUSE:
            queue.paused = True
        elif message.action == DRAIN:
            queue.draining = True
        else:
            queue.paused = queue.draining = False
            self.intake.changed[queue] = None
        state = {"queue": message.queue, "paused": queue.paused, "draining": queue.draining}
        self._send(peer, Tell(), [pack(state)])

    # --- what is told ---

    def _tell(self, what: str) -> bytes:
        if what == "info":
            return pack(self.info())
        if what == "stats":
            return pack(self.stats())
        if what == "dead":
            letters = [list(letter) for letter in self.dead.newest(100)]
            return pack({"letters": letters, "total": self.dead.total})
        raise ProtocolError(MALFORMED, f"cannot tell {what[:40]!r}: ask for info, stats or dead")

    def info(self) -> dict[str, Any]:
        """The state of things, as plain data."""
        peers = [peer for peer in self._peers.values() if not isinstance(peer, Observer)]
        supervisors = [peer for peer in peers if isinstance(peer, Supervisor)]
        # One that lost its connection may be here twice for a while.
        reports = {p.id: (_role_of(p), p.report) for p in peers if "gc" in p.report}
        return {
            "id": self.id.hex(),
            "draining": self.intake.draining,
            "bytes": self.intake.budget.bytes,
            "bytes_max": self.intake.budget.bytes_max,
            "producers": sum(1 for p in self._producers.values() if p.peer is not None),
            "queues": {
                name: _queue_info(self.intake.queues[name])
                for name in sorted(self.intake.queues)[:LISTED_MAX]
            },
            "workers": [_worker_info(w) for w in list(self._workers.values())[:LISTED_MAX]],
            "supervisors": [_supervisor_info(s) for s in supervisors[:LISTED_MAX]],
            "tasks": dict(list(self._tasks.items())[:LISTED_MAX]),
            "counters": self.totals().as_dict(),
            "dead": {
                "kept": len(self.dead),
                "evicted": self.dead.evicted,
                "total": self.dead.total,
            },
            "gc_pause_ms": {
                "broker": self.pauses.stats(),
                "worker": add_up([]),
                **self._pauses.add_up(reports.values()),
            },
            **self.about(),
        }

    def totals(self) -> Counters:
        """What was counted, in all queues and beside them."""
        totals = Counters()
        totals.add(self.counters)
        for queue in self.intake.queues.values():
            totals.add(queue.counters)
        return totals

    def stats(self) -> dict[str, Any]:
        """What metrics are made of: as `info`, with all counters and histograms since the start.

        Histograms are as `Histogram.to_wire` gives them.
        """
        intake, state = self.intake, self.info()
        for name, told in state["queues"].items():
            queue = intake.queues[name]
            oldest = queue.ready.oldest()
            told["oldest_s"] = 0.0 if oldest is None else max(0.0, intake.now - oldest)
            told["counters"] = queue.counters.as_dict()
            if queue.wait is not intake.other_wait:
                told["wait"] = queue.wait.to_wire()
                told["batches"] = queue.batches.to_wire()
        return {
            **state,
            "other_queues": {
                "queues": max(0, len(intake.queues) - len(state["queues"])),
                "wait": intake.other_wait.to_wire(),
                "batches": intake.other_batches.to_wire(),
            },
            "beside_queues": self.counters.as_dict(),
            "figures": {name: meter.to_wire() for name, meter in self.figures.tasks.items()},
            "confirm": self.figures.confirm.to_wire(),
        }

    def _send(self, peer: bytes, message: Message, frames: list[bytes]) -> None:
        self._out.append((peer, [encode(message), *frames]))


def _queue_info(queue: Queue) -> dict[str, Any]:
    ready = queue.ready
    return {
        "ready": ready.ready_tasks,
        "leased": ready.leased_tasks,
        "bytes": ready.bytes,
        "tasks_max": ready.tasks_max,
        "bytes_max": ready.bytes_max,
        "workers": queue.workers,
        "withheld": len(queue.withheld),
        "paused": queue.paused,
        "draining": queue.draining,
        "plain": queue.egress,
    }


def _role_of(peer: Peer) -> str:
    return type(peer).__name__.lower()


def _supervisor_info(supervisor: Supervisor) -> dict[str, Any]:
    about = supervisor.about
    return {
        "pid": about.get("pid"),
        "host": about.get("host"),
        "version": about.get("version"),
        "report": supervisor.report,
    }


def _worker_info(worker: Worker) -> dict[str, Any]:
    about = worker.about
    return {
        "id": worker.id.hex()[:8],  # Not all of it: who knows it can take the worker's place.
        "pid": about.get("pid"),
        "host": about.get("host"),
        "version": about.get("version"),
        "queues": [queue.ready.name for queue in worker.queues],
        "credit": worker.credit,
        "in_flight": worker.in_flight,
        "report": worker.report,
    }
