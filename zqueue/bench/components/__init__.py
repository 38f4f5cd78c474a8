"""The components that can be measured, and how each is.

A component is a module with a function ``measure(lab)``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import NamedTuple

from ..lab import ALONE, Lab


class Entry(NamedTuple):
    """A component, as it is listed."""

    text: str
    role: str
    """What the measuring process is called in its figures."""


CATALOGUE: dict[str, Entry] = {
    "queue": Entry("MemoryQueue beside queue.SimpleQueue and queue.Queue, in one process", ALONE),
    "codec": Entry("packing, unpacking and splitting batches, beside plain msgpack", ALONE),
    "machine": Entry("the broker's decisions, without sockets", ALONE),
    "broker": Entry("the broker process, between bare peers", "peers"),
    "pool": Entry("producer, broker and workers, end to end, beside raw pyzmq", "producer"),
    "memory": Entry("a broker with a full queue, and after many tasks went through", "producer"),
    "gc": Entry("garbage collections of broker, worker and producer under full load", "producer"),
}  # fmt: skip
"""In the order in which they are measured."""


def measurer(name: str) -> Callable[[Lab], None]:
    """What measures a component."""
    measure: Callable[[Lab], None] = importlib.import_module(f".{name}", __name__).measure
    return measure
