"""Tasks that the benchmarks run."""

from __future__ import annotations

from time import monotonic_ns
from typing import Any

import zqueue

app = zqueue.App()

_latencies_ns: list[int] = []


@app.task(queue="noop")
def noop(body: Any) -> None:
    """Nothing."""


@app.task(queue="probe")
def probe(sent_ns: int) -> None:
    """Notes how long ago it was sent: the system's monotonic clock is one for all processes."""
    _latencies_ns.append(monotonic_ns() - sent_ns)


@app.task(queue="probe")
def collect() -> list[int]:
    """What `probe` noted since the last time."""
    noted = _latencies_ns[:]
    _latencies_ns.clear()
    return noted
