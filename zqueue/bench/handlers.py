"""The tasks that benchmarks run in workers."""

from __future__ import annotations

import gc
import sys
from time import monotonic_ns
from typing import Any

from ..app import App
from .pauses import Collections

app = App()

_from_due_ns: list[int] = []
_from_call_ns: list[int] = []
_collections = Collections()
_is_watched = False


@app.task(queue="noop")
def noop(body: Any) -> None:
    """Nothing."""


@app.task(queue="probe")
def probe(due_ns: int, call_ns: int) -> None:
    """Notes how long ago it was due, and sent. (The system's monotonic clock is one for all
    processes.)"""
    now_ns = monotonic_ns()
    _from_due_ns.append(now_ns - due_ns)
    _from_call_ns.append(now_ns - call_ns)


@app.task(queue="probe")
def collect() -> list[list[int]]:
    """What `probe` noted since the last time."""
    noted = [_from_due_ns[:], _from_call_ns[:]]
    _from_due_ns.clear()
    _from_call_ns.clear()
    return noted


@app.task(queue="probe")
def census() -> dict[str, Any]:
    """What this worker process has: blocks, and the collections since the last census."""
    global _is_watched
    if not _is_watched:
        _collections.begin()
        _is_watched = True
    spans = [list(span) for span in _collections.spans]
    _collections.spans.clear()
    return {
        "blocks": sys.getallocatedblocks(),
        "spans": spans,
        "threshold": list(gc.get_threshold()),
    }
