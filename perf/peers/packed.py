"""What somebody writes by hand around a transport: packing, and a worker's loop.

No dispatch by name, no retries: the worker tells what to do by the type of what it got.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from peers.working import executed_slot, note_latency, words

TEXTS = 64
"""Texts in one message of those that pack several."""


def codec(name: str = "msgpack") -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    """How bodies are packed and unpacked."""
    if name == "ormsgpack":
        import ormsgpack as chosen
    else:
        import msgpack as chosen
    return chosen.packb, chosen.unpackb


def no_ops(
    tasks: int, bodies: int, pack: Callable[[Any], bytes], make: Callable[[int], Any]
) -> Iterator[bytes]:
    """The messages of W1, with so many bodies in each."""
    if bodies == 1:
        return (pack(make(i)) for i in range(tasks))
    return (
        pack([make(i) for i in range(start, min(start + bodies, tasks))])
        for start in range(0, tasks, bodies)
    )


def text_messages(chunks: list[str], bodies: int, pack: Callable[[Any], bytes]) -> list[bytes]:
    """The messages of W3."""
    if bodies == 1:
        return [pack(chunk) for chunk in chunks]
    return [pack(chunks[start : start + TEXTS]) for start in range(0, len(chunks), TEXTS)]


def worker(name: str = "msgpack") -> Callable[[bytes], bytes | None]:
    """A function that does what a message asks for, and returns the result's message if any."""
    pack, unpack = codec(name)
    done = executed_slot()

    def work(message: bytes) -> bytes | None:
        got = unpack(message)
        kind = type(got)
        if kind is list:
            kind = type(got[0])
            if kind is str:
                return pack([words(text) for text in got])
            if kind is not int:
                for _ in got:  # Stands for the handler.
                    pass
                done[0] += len(got)
                return None
        if kind is str:
            return pack([words(got)])
        if kind is int:
            note_latency(*got)
        else:
            done[0] += 1
        return None

    return work
