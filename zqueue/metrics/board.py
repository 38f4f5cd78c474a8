"""The board: the newest snapshot, rendered at most once a second for any number of clients.

Theory of operation. `Board.tick` is called once a second, after brokers have answered. It renders
nothing: the first request after a tick does, as JSON or in one of Prometheus' formats, and all
further requests get the same bytes until the next tick. Without requests nothing is rendered.
Rendering may take a quarter of a second: it is for a thread of its own.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from time import monotonic, time

from ..stats.pauses import Pauses
from .broker_watch import snapshot_of
from .exposition import Form, Source, expose
from .poller import Poller
from .series import Json

STALE_S = 5.0
"""A broker that has not answered for so many seconds is not ready."""


class Board:
    """The last answers of all brokers, in every format. For any number of threads.

    ``pauses`` are those of this process.
    """

    def __init__(self, pollers: Sequence[Poller], pauses: Pauses) -> None:
        self._pollers = pollers
        self._pauses = pauses
        self._ticks = 0
        self._ticked_at = monotonic()
        self._making = threading.Lock()
        self._made_at = -1
        self._made_of: tuple[Poller, ...] = ()
        self._snapshot: Json = {}
        self._json = b""
        self._exposed: dict[Form, bytes] = {}

    def __repr__(self) -> str:
        return f"<Board of {len(self._pollers)} brokers, tick {self._ticks}>"

    @property
    def urls(self) -> dict[str, str]:
        """Where to ask each broker, by the address that is shown."""
        return {poller.watch.url: poller.url for poller in self._pollers}

    def tick(self) -> None:
        """Expire what was rendered."""
        self._ticks += 1
        self._ticked_at = monotonic()

    @property
    def since_tick_s(self) -> float:
        """Seconds since the last tick: about one at most in a healthy process."""
        return monotonic() - self._ticked_at

    def snapshot(self) -> Json:
        """The snapshot, not to be changed."""
        with self._making:
            self._make()
            return self._snapshot

    def as_json(self) -> bytes:
        """The snapshot as JSON, in one line."""
        with self._making:
            self._make()
            if not self._json:
                self._json = json.dumps(self._snapshot, separators=(",", ":")).encode()
            return self._json

    def exposed(self, form: Form) -> bytes:
        """All metrics in a format of Prometheus."""
        with self._making:
            self._make()
            if form not in self._exposed:
                with self._locked():
                    self._exposed[form] = expose(self._sources(), form, self._pauses.lengths)
            return self._exposed[form]

    def problems(self, ready_workers: int) -> list[str]:
        """Why the sidecar is not ready, a sentence each: none is named, one does not answer,
        or has fewer than ``ready_workers`` workers. Empty if it is ready."""
        brokers = self.snapshot()["brokers"]
        problems = [] if brokers else ["No broker is named yet."]
        for broker in brokers:
            if broker["state"] in ("waiting", "lost"):
                problems.append(broker["problem"])
            elif broker["seen_s"] > STALE_S:
                problems.append(f"{broker['url']} has not answered for {broker['seen_s']:.0f} s.")
            elif len(broker["workers"]) < ready_workers:
                there = len(broker["workers"])
                problems.append(f"{broker['url']} has {there} of {ready_workers} workers.")
        return problems

    def _make(self) -> None:
        ticks = self._ticks
        if self._made_at == ticks:
            return
        self._made_of = tuple(self._pollers)
        with self._locked():
            watches = [poller.watch for poller in self._made_of]
            self._snapshot = snapshot_of(watches, monotonic(), time())
        self._json, self._exposed, self._made_at = b"", {}, ticks

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """No poller feeds its watch meanwhile."""
        with contextlib.ExitStack() as locks:
            for poller in self._made_of:
                locks.enter_context(poller.lock)
            yield

    def _sources(self) -> list[Source]:
        return [
            Source(broker, poller.watch, poller.polls, poller.failures, poller.poll_s)
            for broker, poller in zip(self._snapshot["brokers"], self._made_of, strict=True)
        ]
