"""A broker, workers and a gateway as processes, for one scenario."""

from __future__ import annotations

import json
import os
import socket
import sys
import urllib.request
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from lab.usage import rss_bytes

from scenarios.plans import Scenario, due
from scenarios.slow_reader import SlowReader
from zqueue.testing import Cluster

HERE = Path(__file__).parent
BODY_BYTES = 1_024
USERS = 64
"""Connections. Where posts must wait, as many as come due in `WAITED_S`, so that they are sent."""
WAITED_S = 4.0
ANSWER_S = 30.0
LEFT_S = 60.0
"""For the tasks that are left when all posts are answered."""


class Post(NamedTuple):
    """What came of one. Times in seconds from the start."""

    number: int
    due: float
    sent: float
    ended: float
    status: int
    said: bool
    """Whether a refusal said when to come again."""

    @property
    def latency_ms(self) -> float:
        """From when it was due."""
        return 1e3 * (self.ended - self.due)


class Seen(NamedTuple):
    """Memory at a time, bytes."""

    at: float
    gateway: int
    broker: int


class Site(Cluster):
    """All processes of a run; a context manager that leaves none of them."""

    def __init__(self, scenario: Scenario, rate: float, seconds: float, data: Path) -> None:
        self.due = list(due(scenario, rate, seconds))
        self._users = max(USERS, int(WAITED_S * rate)) if scenario.waits else USERS
        holds = int(len(self.due) * scenario.holds) * BODY_BYTES
        bounds = ("--queue-bytes", str(holds)) if holds else ()
        durable = ("--data-dir", str(data), "--durability", "os") if scenario.durable else ()
        super().__init__(broker_options=bounds + durable)
        self.slow_reader: SlowReader | None = None
        self._record = self.folder / "record"
        os.environ["RECORD"] = str(self._record)
        with self._left_on_error():
            self.start_workers(HERE / "app.py", 2)
            self.port = _free_port()
            self.gateway = self.processes.zqueue(
                "gateway", "--listen", f"127.0.0.1:{self.port}", "--url", self.url
            )
            self.gateway.wait_until(lambda: "gateway at" in self.gateway.err, what="a gateway")

    def load(self) -> float:
        """Start the load. Returns when the first post is due."""
        plan = {
            "url": f"http://127.0.0.1:{self.port}", "path": "/v1/queues/events",
            "size": BODY_BYTES, "users": self._users, "answer_s": ANSWER_S, "due": self.due,
        }  # fmt: skip
        (self.folder / "plan").write_text(json.dumps(plan))
        self._load = self.processes.start(
            "load", sys.executable, HERE / "load.py", self.folder / "plan", self.folder / "posts"
        )
        return float(self._load.wait_until(lambda: self._load.out.strip(), what="the load"))

    def seen(self, at: float) -> Seen:
        """Memory, now."""
        return Seen(at, rss_bytes(self.gateway.pid), rss_bytes(self.broker.pid))

    def control(self, action: str) -> None:
        """Pause or resume the queue."""
        url = f"http://127.0.0.1:{self.port}/v1/queues/events/{action}"
        asked = urllib.request.Request(url, b"", {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=30):
            pass

    def read_slowly(self) -> None:
        """Let one client read slowly, until the end."""
        self.slow_reader = SlowReader(self.port)
        self._leaving.callback(self.slow_reader.end)

    def posts(self) -> list[Post]:
        """Wait for the end of the load: what came of each post that was answered in time."""
        if self._load.wait(2 * ANSWER_S):
            raise RuntimeError(self._load.err)
        lines = (self.folder / "posts").read_text().splitlines()
        return sorted(Post(*json.loads(line)) for line in lines)

    def noted(self) -> Counter[int]:
        """How often the workers had each number, when nothing is left to do."""
        if self.slow_reader is not None:
            self.slow_reader.end()
        self.gateway.stop()
        self.broker.wait_idle(LEFT_S)
        return Counter(map(int, self._record.read_bytes().split()))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
