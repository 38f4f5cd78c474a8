"""Tasks that are called over HTTP."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import zqueue

app = zqueue.App(retries=0)
seen: list[Any] = []
gate = threading.Event()


@app.task
def double(x: Any) -> Any:
    return x * 2


@app.task
def fail(text: str) -> None:
    raise ValueError(text)


@app.task
async def wait() -> str:
    """Ends when the gate is open, and tells how far it has come."""
    zqueue.current().progress(1, 2)
    while not gate.is_set():
        await asyncio.sleep(0.01)
    return "open"


@app.task
def trace() -> str:
    return zqueue.current().traceparent


@app.task
def packed() -> bytes:
    return b"bytes"


@app.batch(queue="events", max_size=1000, max_wait=0.01)
def keep(bodies: list[Any]) -> None:
    seen.extend(bodies)
