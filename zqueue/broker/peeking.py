"""Peeking: the first tasks of a queue, ready and delayed, told to whoever asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..core.batch import Batch
from ..errors import ProtocolError
from ..wire.codec import array_header
from ..wire.headers import unpack_map
from ..wire.messages import MALFORMED, UNKNOWN_QUEUE
from ..wire.unpacking import index_bodies
from .book import Book
from .peers import ProducerPeer, Queue

PEEK_MAX = 100
"""Tasks in one answer."""

PEEK_BODY_BYTES_MAX = 16 << 10
"""Bytes of a body that are told, and otherwise none: a part of one cannot be read."""


def peek(book: Book, frames: list[bytes], origin: int) -> dict[str, Any]:
    """The answer to `Ask` ``peek``; ``origin`` is that of what came by the plain lane.

    Raises `ProtocolError`.
    """
    which = unpack_map(frames[0]) if frames else {}
    name, task, most = which.get("queue"), which.get("task", ""), which.get("limit", 10)
    if type(name) is not str or type(task) is not str or type(most) is not int or most < 1:
        raise ProtocolError(MALFORMED, "peek where? name a queue, a task or none, and how many")
    queue = book.queues.get(name)
    if queue is None:
        raise ProtocolError(UNKNOWN_QUEUE, f"there is no queue {name[:128]!r}")
    return {
        "queue": name,
        "ready": queue.ready.ready_tasks,
        "tasks": list(_first(book, queue, task, min(most, PEEK_MAX), origin)),
        "delayed": queue.ready.delayed_tasks,
        "delayed_tasks": _next_due(book, queue, task, min(most, PEEK_MAX), origin),
    }


def _first(book: Book, queue: Queue, task: str, most: int, origin: int) -> Iterator[dict[str, Any]]:
    for batch in queue.ready.waiting():
        if task and batch.frame.task != task:
            continue
        for place in range(min(most, batch.count)):
            yield _tell(book, batch.part(place, 1), origin)
        most -= batch.count
        if most <= 0:
            return


def _next_due(book: Book, queue: Queue, task: str, most: int, origin: int) -> list[dict[str, Any]]:
    """Those that are due first, each with the time until then."""
    return [
        {**_tell(book, batch.part(place, 1), origin),
         "due_in_s": round(max(0.0, due - book.now), 3)}
        for due, delayed in queue.ready.delayed.first(most, task)
        for batch in (book.with_body(delayed),)
        for place in range(min(most, batch.count))
    ][:most]  # fmt: skip


def _tell(book: Book, one: Batch, origin: int) -> dict[str, Any]:
    frame = one.frame
    producer = frame.origin
    who = producer.number if isinstance(producer, ProducerPeer) else origin
    told: dict[str, Any] = {
        "id": f"{who:012x}-{frame.sequence}-{one.first}",
        "task": frame.task,
        "attempt": one.attempt,
        "age_s": round(max(0.0, book.now - frame.at) + frame.age_us / 1e6, 3),
    }
    if not frame.body:
        return {**told, "bytes": 0, "body": None, "error": "its body is about to be stored"}
    try:
        packed = one.body(index_bodies, array_header)
        body = packed[slice(*index_bodies(packed)[:2])]
    except ProtocolError as error:
        return {**told, "bytes": 0, "body": None, "error": str(error)}
    is_told = len(body) <= PEEK_BODY_BYTES_MAX
    return {**told, "bytes": len(body), "body": body if is_told else None}
