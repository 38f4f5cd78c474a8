"""Fetching: results that are asked for by id, at once, later, or as events."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any

from ..client.mailbox import mailbox_of
from ..client.replies import TaskFuture
from ..errors import RemoteError
from ..http.asgi import NO_STORE, Answer, Receive, Send, until_gone
from .decoding import encode_json
from .hearing import done_of
from .kept import Entry, Kept
from .problems import Problem

JSON = b"application/json"

STREAMS_MAX = 1_000
"""Event streams that may be open at once."""

IDLE_S = 15.0
"""After so many seconds without an event a stream sends a comment, which keeps it open."""


class Result:
    """A result that is to come."""

    def __init__(self, future: TaskFuture[Any]) -> None:
        self._future: TaskFuture[Any] | None = future
        self.done = done_of(future)
        self.body = b""
        """As JSON, once it is done."""
        self._news: asyncio.Event | None = None

    def settle(self) -> None:
        """It is done: keep what it says."""
        assert self._future is not None
        self.body = outcome_of(self._future)
        self._future = None

    @property
    def progress(self) -> tuple[int, int] | None:
        """``(done, total)``, as its handler said last."""
        return None if self._future is None else self._future.progress

    def news(self) -> asyncio.Event:
        """Is set when there is progress."""
        if self._news is None:
            self._news = news = asyncio.Event()
            if self._future is not None:
                post = mailbox_of(asyncio.get_running_loop()).post
                self._future.add_progress_callback(lambda _: post(news.set))
        return self._news


def outcome_of(future: TaskFuture[Any]) -> bytes:
    """What became of a task, as JSON: its result, or its error."""
    if future.cancelled():
        told: dict[str, Any] = {"type": "Cancelled", "text": "the task was cancelled"}
    elif (error := future.exception()) is None:
        return b'{"result":' + encode_json(future.result()) + b"}"
    elif isinstance(error, RemoteError):
        told = {"type": error.type_name, "text": error.text}
    else:
        told = {"type": type(error).__name__, "text": str(error)}
    return json.dumps({"error": told}).encode()


class Fetcher:
    """Keeps results, and gives them out."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._start = secrets.token_hex(8)
        self._kept: Kept[Result] = Kept()
        self._streams = 0
        self._closed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Fetcher: {self._kept!r}, {self._streams} streams>"

    def close(self) -> None:
        """End all streams, and all waiting."""
        self._closed.set()

    def keep(self, queue: str, future: TaskFuture[Any]) -> tuple[str, Result]:
        """Keep a task's result: its id, and what is known of it."""
        name = f"{self._start}-{secrets.token_hex(16)}"
        result = Result(future)
        self._kept.add(name, queue, result)
        result.done.add_done_callback(lambda _: self._is_there(name, result))
        return name, result

    def _is_there(self, id: str, result: Result) -> None:
        result.settle()
        self._kept.done(id, len(result.body), self._loop.time())

    def find(self, id: str) -> Entry[Result]:
        """What is known of a result. Raises `Problem`: 410."""
        entry = self._kept.get(id, self._loop.time())
        if entry is None:
            raise Problem(410, "This result is kept no more, or is another gateway's.")
        return entry

    async def wait(self, result: Result, seconds: float) -> bool:
        """Whether a result is there within so many seconds."""
        if not result.done.done() and seconds:
            closed = asyncio.ensure_future(self._closed.wait())
            waits: set[asyncio.Future[Any]] = {result.done, closed}
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            closed.cancel()
        return bool(result.body)

    def answer(self, result: Result, *headers: tuple[bytes, bytes]) -> Answer:
        """What is known of a result now."""
        if result.body:
            return Answer(200, JSON, result.body, (NO_STORE, *headers))
        told = {"state": "pending", "progress": result.progress}
        return Answer(202, JSON, json.dumps(told).encode(), (NO_STORE, *headers))

    async def stream(self, result: Result, receive: Receive, send: Send) -> None:
        """Tell of a result as events: ``progress``, and in the end ``result`` or ``error``.

        Raises `Problem`: 503.
        """
        if self._streams >= STREAMS_MAX:
            raise Problem(503, f"{STREAMS_MAX} event streams are open already.", retry_s=5)
        self._streams += 1
        gone = asyncio.ensure_future(until_gone(receive))
        try:
            headers = [(b"content-type", b"text/event-stream; charset=utf-8"), NO_STORE]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await self._send_events(result, gone, send)
            if not gone.done():
                await send({"type": "http.response.body", "body": b""})
        finally:
            self._streams -= 1
            gone.cancel()

    async def _send_events(self, result: Result, gone: asyncio.Future[None], send: Send) -> None:
        news, told, event = result.news(), None, b": open\n\n"
        while not (gone.done() or self._closed.is_set()):
            if result.body:
                kind = b"result" if result.body.startswith(b'{"result"') else b"error"
                event = b"event: %b\ndata: %b\n\n" % (kind, result.body)
            elif result.progress is not None and result.progress != told:
                told = result.progress
                event = b'event: progress\ndata: {"done":%d,"total":%d}\n\n' % told
            await send({"type": "http.response.body", "body": event, "more_body": True})
            if result.body:
                return
            news.clear()
            waits: set[asyncio.Future[Any]] = {
                gone, result.done, asyncio.ensure_future(news.wait()),
                asyncio.ensure_future(self._closed.wait()),
            }  # fmt: skip
            done, _ = await asyncio.wait(waits, timeout=IDLE_S, return_when=asyncio.FIRST_COMPLETED)
            for each in waits - {gone, result.done}:
                each.cancel()
            event = b"" if done else b": idle\n\n"
