"""What a broker tells to whoever asks: its state, its figures, its dead letters (`aside`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import ProtocolError
from ..stats.pauses import Pauses, add_up
from ..wire.codec import pack
from ..wire.messages import MALFORMED
from .aside import Aside
from .book import Book
from .figures import Figures
from .peeking import peek
from .peers import Queue, SupervisorPeer, WorkerPeer, origin_number
from .roster import LISTED_MAX, Roster


class Teller:
    """Describes a broker as plain data."""

    def __init__(
        self, id: bytes, book: Book, roster: Roster, aside: Aside, figures: Figures,
    ) -> None:  # fmt: skip
        self.about: Callable[[], dict[str, Any]] = dict
        """What the process adds."""
        self.pauses = Pauses()
        """Of this process's garbage collector; whoever drives the machine feeds it."""
        self.is_draining = False
        self._id = id
        self._book = book
        self._roster = roster
        self._aside = aside
        self._figures = figures

    def __repr__(self) -> str:
        return f"<Teller of {self._book!r}, {self._roster!r}>"

    def answer(self, what: str, frames: list[bytes]) -> list[bytes]:
        """The frames that answer `Ask`, the first one a map. Raises `ProtocolError`."""
        if what == "info":
            return [pack(self.info())]
        if what == "stats":
            return [pack(self.stats())]
        if what == "dead":
            return self._aside.tell(frames)
        if what == "dead-groups":
            return self._aside.tell_groups(frames)
        if what == "peek":
            return [pack(peek(self._book, frames, origin_number(self._id)))]
        text = f"cannot tell {what[:40]!r}: ask for info, stats, dead, dead-groups or peek"
        raise ProtocolError(MALFORMED, text)

    def info(self) -> dict[str, Any]:
        """The state of things."""
        book, roster = self._book, self._roster
        peers = list(roster.peers.values())
        supervisors = [peer for peer in peers if isinstance(peer, SupervisorPeer)]
        # One that lost its connection may be here twice for a while.
        reports = {p.id: (p.role, p.report) for p in peers if "gc" in p.report}
        return {
            "id": self._id.hex(),
            "draining": self.is_draining,
            "bytes": book.budget.bytes,
            "bytes_max": book.budget.bytes_max,
            "bytes_held": book.budget.held,
            "bytes_keys": book.budget.keys,
            "bytes_unsent": book.budget.unsent,
            "producers": sum(1 for p in roster.producers.values() if p.peer is not None),
            "queues": {
                name: _queue_info(book.queues[name], book.now)
                for name in sorted(book.queues)[:LISTED_MAX]
            },
            "workers": [_worker_info(w) for w in list(roster.workers.values())[:LISTED_MAX]],
            "supervisors": [_supervisor_info(s) for s in supervisors[:LISTED_MAX]],
            "tasks": dict(list(roster.tasks.items())[:LISTED_MAX]),
            "counters": book.totals().as_dict(),
            "dead": self._aside.totals(),
            "gc_pause_ms": {
                "broker": self.pauses.stats(),
                "worker": add_up([]),
                **roster.pauses.add_up(reports.values()),
            },
            **self.about(),
        }

    def stats(self) -> dict[str, Any]:
        """What metrics are made of: as `info`, with all counters and histograms since the start.

        Histograms are as `Histogram.to_wire` gives them.
        """
        book, state = self._book, self.info()
        for name, told in state["queues"].items():
            queue = book.queues[name]
            oldest = queue.ready.oldest()
            told["oldest_s"] = 0.0 if oldest is None else max(0.0, book.now - oldest)
            told["counters"] = queue.counters.as_dict()
            if queue.wait is not book.other_wait:
                told["wait"] = queue.wait.to_wire()
                told["batches"] = queue.batches.to_wire()
        return {
            **state,
            "other_queues": {
                "queues": max(0, len(book.queues) - len(state["queues"])),
                "wait": book.other_wait.to_wire(),
                "batches": book.other_batches.to_wire(),
            },
            "beside_queues": book.counters.as_dict(),
            "figures": {name: meter.to_wire() for name, meter in self._figures.tasks.items()},
            "confirm": self._figures.confirm.to_wire(),
        }


def _queue_info(queue: Queue, now: float) -> dict[str, Any]:
    ready = queue.ready
    due = ready.delayed.next_due()
    return {
        "ready": ready.ready_tasks + ready.far_tasks,
        "leased": ready.leased_tasks,
        "delayed": ready.delayed_tasks,
        "due_in_s": None if due is None else round(max(0.0, due - now), 3),
        "bytes": ready.bytes,
        "tasks_max": ready.tasks_max,
        "bytes_max": ready.bytes_max,
        "workers": len(queue.servers),
        "withheld": len(queue.withheld),
        "paused": queue.paused,
        "draining": queue.draining,
        "plain": queue.egress,
    }


def _supervisor_info(supervisor: SupervisorPeer) -> dict[str, Any]:
    about = supervisor.about
    return {
        "pid": about.get("pid"),
        "host": about.get("host"),
        "version": about.get("version"),
        "report": supervisor.report,
    }


def _worker_info(worker: WorkerPeer) -> dict[str, Any]:
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
