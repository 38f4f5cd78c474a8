"""What somebody writes by hand around a transport: packing, and a worker's loop.

No dispatch by name, no retries: the worker tells what to do by the type of what it got.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from bodies import body

from peers.driver import executed_slot, note_latency, words

TEXTS = 64
"""Texts in one message of those that pack several."""


def codec(name: str = "msgpack") -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    """How bodies are packed and unpacked."""
    if name == "ormsgpack":
        import ormsgpack as chosen
    else:
        import msgpack as chosen
    return chosen.packb, chosen.unpackb


def no_ops(tasks: int, bodies: int, pack: Callable[[Any], bytes]) -> Iterator[bytes]:
    """The messages of W1, with so many bodies in each."""
    if bodies == 1:
        return (pack(body(i)) for i in range(tasks))
    return (
        pack([body(i) for i in range(start, min(start + bodies, tasks))])
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
        if type(got) is dict:
            done[0] += 1
        elif type(got) is list:
            if type(got[0]) is not dict:
                return pack([words(text) for text in got])
            for _ in got:  # Stands for the handler.
                pass
            done[0] += len(got)
        elif type(got) is int:
            note_latency(got)
        else:
            return pack([words(got)])
        return None

    return work
