"""The components that can be measured, and how each is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from . import systems
from .lab import Lab, measure_parts


class Entry(NamedTuple):
    """A component, as it is listed."""

    text: str
    measure: Callable[[Lab], None]


CATALOGUE: dict[str, Entry] = {
    "queue": Entry("MemoryQueue beside queue.SimpleQueue and queue.Queue", measure_parts),
    "codec": Entry("packing, unpacking and splitting batches, beside msgpack", measure_parts),
    "task": Entry("what a producer and a worker do for each task, beside msgpack", measure_parts),
    "machine": Entry("the broker's decisions, without sockets", measure_parts),
    "pool": Entry("producer, broker and workers, end to end, beside raw pyzmq",
                  systems.measure_pool),
    "memory": Entry("a broker with a full queue, and after many tasks went through",
                    systems.measure_memory),
    "gc": Entry("garbage collections of broker, worker and producer under full load",
                systems.measure_gc),
}  # fmt: skip
"""In the order in which they are measured."""
