"""Calls: what each route does, once its request was let in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any, NamedTuple

from ..auth.users import EVERY_QUEUE, User
from ..client.replies import TaskFuture
from ..errors import ZQueueError
from ..http.asgi import NO_STORE, TEXT, Answer, Receive, Scope, Send, header
from ..wire.traced import traced
from . import wants as asks
from .body import Body, Stalls
from .cloud_events import binary_event, check_event, check_events, is_binary_event
from .counts import KIND, Counts
from .decoding import decode_json, decode_msgpack
from .fetching import JSON, Fetcher, outcome_of
from .hearing import done_of
from .outlet import Outlet
from .overseeing import LETTERS_MAX, Overseer, as_data
from .posting import CONFIRM_S, Poster, Target, not_confirmed
from .problems import Problem, problem_of
from .repeats import Repeats
from .room import Room
from .streaming import Stream
from .wants import EVENT, EVENTS, MSGPACK, NDJSON, Wants, read_wants

HELD_BYTES_MAX = 64 << 20
"""Of bodies and batches of all clients together."""

BODIES = (asks.JSON, NDJSON, MSGPACK, EVENT, EVENTS)
CALLS = (asks.JSON, NDJSON, MSGPACK)
"""What bodies of a queue, and calls, may be."""

EVENTS_MAX = 4096
"""In a batch of events."""

LINES_AHEAD = 4
"""Batches of a stream of calls whose results are not written yet, beside those unconfirmed."""

WRITE_BYTES = 32 << 10
"""How much of results gathers before it is sent, if they come fast."""


class Asked(NamedTuple):
    """A request that was let in."""

    scope: Scope
    receive: Receive
    send: Send
    user: User | None
    name: str
    """What its path names."""
    body: Body

    def may_use(self, queue: str) -> bool:
        """Whether its token is for a queue. Empty: for all queues together."""
        return self.user is None or self.user.may_use(queue)

    def check_queue(self, queue: str) -> None:
        """Raises `Problem`: 403."""
        if not self.may_use(queue):
            raise Problem(403, f"This token is not for queue {queue!r}.")


Call = Callable[[Asked], Awaitable[Answer | None]]
"""None: it has answered itself."""


def _json(told: Any, status: int = 200, *headers: tuple[bytes, bytes]) -> Answer:
    return Answer(status, JSON, json.dumps(told).encode(), (NO_STORE, *headers))


ONE_ACCEPTED = Answer(202, JSON, b'{"accepted": 1}', ())  # Nobody stores what a POST is answered.


class Calls:
    """Everything that a running gateway does, in its loop."""

    def __init__(self, outlet: Outlet, url: str, tasks: dict[str, str]) -> None:
        self._outlet = outlet
        self._tasks = tasks
        """Queues of tasks that are known beforehand."""
        self._loop = asyncio.get_running_loop()
        self._poster = Poster(outlet)
        self._fetcher = Fetcher()
        self._overseer = Overseer(url, outlet)
        self._repeats = Repeats()
        self.room = Room(HELD_BYTES_MAX)
        self.stalls = Stalls()
        self.counts = Counts()

    def __repr__(self) -> str:
        return f"<Calls: {self._poster!r}, {self._fetcher!r}, {self.room!r}>"

    def find(self, call: str) -> Call:
        """The call of a route."""
        found: Call = getattr(self, call)
        return found

    def stop_waiting(self) -> None:
        """Answer who waits for a result, and end event streams."""
        self._fetcher.close()

    def close(self) -> None:
        """Ask the broker no more."""
        self.stop_waiting()
        self._overseer.close()

    # --- posts ---

    async def post_bodies(self, asked: Asked) -> Answer | None:
        """Bodies of a queue."""
        asked.check_queue(asked.name)
        target = Target(asked.name)
        given = dict(asked.scope["headers"])
        if is_binary_event(given):
            return await self._once(asked, _wants_of_event(asked.scope), target, self._accept)
        wants = read_wants(given, BODIES)
        if wants.kind == NDJSON:
            return await self._take_lines(asked, wants, target)
        return await self._once(asked, wants, target, self._accept)

    async def post_call(self, asked: Asked) -> Answer | None:
        """A call of a task, or many."""
        queue = self._tasks.get(asked.name) or await self._overseer.queue_of(asked.name)
        asked.check_queue(queue)
        wants = read_wants(dict(asked.scope["headers"]), CALLS)
        target = Target(queue, asked.name, results=True)
        if wants.kind != NDJSON:
            return await self._once(asked, wants, target, self._call)
        if wants.is_streamed:
            await self._stream_calls(asked, wants, target)
            return None
        return await self._take_lines(asked, wants, target._replace(results=False), to_body)

    async def _once(
        self, asked: Asked, wants: Wants, target: Target,
        do: Callable[[Asked, Wants, Target, bytes], Awaitable[Answer]],
    ) -> Answer:  # fmt: skip
        """Do what is asked with a body that is read as a whole, once for each idempotency key."""
        data = await asked.body.whole()
        if not wants.key:
            return await do(asked, wants, target, data)
        name = "" if asked.user is None else asked.user.name
        key = (name, asked.scope["path"], wants.key)
        known = self._repeats.begin(key, wants.kind.encode() + b"\n" + data, self._loop.time())
        if known is not None:
            return known
        try:
            answer = await do(asked, wants, target, data)
        except BaseException:
            self._repeats.forget(key)
            raise
        self._repeats.end(key, answer, self._loop.time())
        return answer

    async def _accept(self, asked: Asked, wants: Wants, target: Target, data: bytes) -> Answer:
        if wants.kind == EVENTS:
            return await self._accept_events(wants, target, data)
        await self._post(target, _with_trace(_value_of(asked.scope, wants, data), wants), data)
        return ONE_ACCEPTED

    async def _accept_events(self, wants: Wants, target: Target, data: bytes) -> Answer:
        events = check_events(decode_json(data))
        if len(events) > EVENTS_MAX:
            raise Problem(413, f"A batch has at most {EVENTS_MAX:,} events.")
        if not events:
            return _json({"accepted": 0}, 202)
        try:
            confirmation = self._outlet.publish(
                target.queue, [_with_trace(event, wants) for event in events]
            )
            done = done_of(confirmation)
            await asyncio.wait({done}, timeout=CONFIRM_S)
            if not done.done():
                raise not_confirmed()
            confirmation.result()
        except ZQueueError as error:
            raise problem_of(error) from None
        self.counts.accepted += len(events)
        return _json({"accepted": len(events)}, 202)

    async def _call(self, asked: Asked, wants: Wants, target: Target, data: bytes) -> Answer:
        value = to_body(_value_of(asked.scope, wants, data))
        future = await self._post(target, _with_trace(value, wants), data)
        assert future is not None
        name, result = self._fetcher.keep(target.queue, future)
        await self._fetcher.wait(result, wants.wait_s)
        place = f"{asked.scope.get('root_path', '')}/v1/results/{name}".encode()
        applied = ((b"preference-applied", b"wait=%d" % wants.wait_s),) if wants.wait_s else ()
        return self._fetcher.answer(result, (b"location", place), *applied)

    async def _post(self, target: Target, body: Any, data: bytes) -> TaskFuture[Any] | None:
        try:
            future = await self._poster.post(target, body, len(data))
        except ZQueueError as error:
            raise problem_of(error) from None
        self.counts.accepted += 1
        return future

    # --- lines ---

    def _stream_of(
        self, wants: Wants, target: Target, to_body: Callable[[Any], Any] | None
    ) -> Stream:
        if wants.traceparent:
            plain = to_body or (lambda value: value)
            to_body = lambda value: _with_trace(plain(value), wants)  # noqa: E731
        return Stream(self._outlet, target, self.room, to_body)

    async def _take_lines(
        self, asked: Asked, wants: Wants, target: Target,
        to_body: Callable[[Any], Any] | None = None,
    ) -> Answer:  # fmt: skip
        stream = self._stream_of(wants, target, to_body)
        try:
            await stream.take(asked.body.parts())
        finally:
            self.counts.accepted += stream.accepted
        return _json({"accepted": stream.accepted}, 202)

    async def _stream_calls(self, asked: Asked, wants: Wants, target: Target) -> None:
        """Take calls as lines, and write their results as lines, in order and as they come."""
        stream = self._stream_of(wants, target, to_body)
        taken: asyncio.Queue[list[TaskFuture[Any]] | None] = asyncio.Queue(LINES_AHEAD)
        stream.on_taken = taken.put
        writer = _LineWriter(asked.send)
        writing = asyncio.ensure_future(writer.write(taken))
        taking = asyncio.ensure_future(stream.take(asked.body.parts()))
        try:
            await asyncio.wait({writing, taking}, return_when=asyncio.FIRST_COMPLETED)
            problem = taking.exception() if taking.done() else None
            await taken.put(None)
            await writing
            has_begun = writer.has_begun or stream.accepted
            if problem is not None and not (isinstance(problem, Problem) and has_begun):
                raise problem
            await writer.end(problem)
        finally:
            taking.cancel()
            writing.cancel()
            self.counts.accepted += stream.accepted

    # --- results ---

    async def get_result(self, asked: Asked) -> Answer | None:
        """A result, or that it is yet to come."""
        wait_s = asks.read_wait(asked.scope)
        entry = self._fetcher.find(asked.name)
        asked.check_queue(entry.queue)
        if asks.STREAM in header(asked.scope, b"accept") and asked.scope["method"] == "GET":
            await self._fetcher.stream(entry.future, asked.receive, asked.send)
            return None
        await self._fetcher.wait(entry.future, wait_s)
        return self._fetcher.answer(entry.future)

    # --- queues and dead letters ---

    async def list_queues(self, asked: Asked) -> Answer:
        """All queues that the token is for."""
        queues = await self._overseer.queues()
        return _json({"queues": [each for each in queues if asked.may_use(each["queue"])]})

    async def get_queue(self, asked: Asked) -> Answer:
        """One queue."""
        asked.check_queue(asked.name)
        for each in await self._overseer.queues():
            if each["queue"] == asked.name:
                return _json(each)
        raise Problem(404, f"There is no queue {asked.name!r}: it is made when it is used.")

    async def pause(self, asked: Asked) -> Answer:
        """Hand out nothing."""
        return await self._control("pause", asked)

    async def drain(self, asked: Asked) -> Answer:
        """Take nothing new."""
        return await self._control("drain", asked)

    async def resume(self, asked: Asked) -> Answer:
        """End both."""
        return await self._control("resume", asked)

    async def _control(self, action: str, asked: Asked) -> Answer:
        asked.check_queue(asked.name)
        return _json(await self._overseer.control(action, asked.name))

    async def list_dead(self, asked: Asked) -> Answer:
        """The newest dead letters."""
        limit = asks.read_number(asked.scope, "limit", 1, LETTERS_MAX, 20)
        queue = asks.query(asked.scope, "queue")
        letters = await self._overseer.letters(
            lambda name: asked.may_use(name) and queue in ("", name), limit
        )
        return _json({"letters": letters})

    async def get_dead(self, asked: Asked) -> Answer:
        """One dead letter."""
        letter = await self._overseer.letter(asked.name)
        asked.check_queue(letter.queue)
        return _json(as_data(letter))

    async def replay_dead(self, asked: Asked) -> Answer:
        """Make a task of it again."""
        asked.check_queue((await self._overseer.letter(asked.name)).queue)
        return _json({"replayed": await self._overseer.replay(asked.name)})

    async def drop_dead(self, asked: Asked) -> Answer:
        """Keep it no more."""
        asked.check_queue((await self._overseer.letter(asked.name)).queue)
        return _json({"dropped": await self._overseer.drop(asked.name)})

    # --- the gateway itself ---

    async def openapi(self, asked: Asked) -> Answer:
        """What all of this is, for programs."""
        return Answer(200, JSON, load_openapi(), ((b"cache-control", b"max-age=300"),))

    async def livez(self, asked: Asked) -> Answer:
        """Whether it runs."""
        return Answer(200, TEXT, b"The gateway is alive.\n")

    async def readyz(self, asked: Asked) -> Answer:
        """Whether the broker answers."""
        if await self._overseer.are_draining():
            raise Problem(503, "The broker is draining.", retry_s=1)
        return Answer(200, TEXT, b"Ready.\n")

    async def metrics(self, asked: Asked) -> Answer:
        """What it has counted."""
        if asked.user is not None and asked.user.queues != EVERY_QUEUE:
            raise Problem(403, "Metrics are of all queues: this token is for some.")
        text = await asyncio.to_thread(self.counts.text)
        return Answer(200, KIND, text)


class _LineWriter:
    """Writes results as lines."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._lines: list[bytes] = []
        self._nbytes = 0
        self.has_begun = False

    async def write(self, taken: asyncio.Queue[list[TaskFuture[Any]] | None]) -> None:
        """Write the results of all batches that come, until None does."""
        while (futures := await self._next(taken)) is not None:
            for future in futures:
                if not future.done():
                    await self._flush()
                    await done_of(future)
                line = outcome_of(future) + b"\n"
                self._lines.append(line)
                self._nbytes += len(line)
                if self._nbytes > WRITE_BYTES:
                    await self._flush()

    async def end(self, problem: BaseException | None) -> None:
        """The last line tells what went wrong, if something did."""
        if isinstance(problem, Problem):
            self._lines.append(json.dumps({"error": problem.as_data()}).encode() + b"\n")
        await self._flush()
        await self._begin()
        await self._send({"type": "http.response.body", "body": b""})

    async def _next(
        self, taken: asyncio.Queue[list[TaskFuture[Any]] | None]
    ) -> list[TaskFuture[Any]] | None:
        if taken.empty():
            await self._flush()
        return await taken.get()

    async def _begin(self) -> None:
        if not self.has_begun:
            self.has_begun = True
            headers = [(b"content-type", NDJSON.encode()), NO_STORE]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _flush(self) -> None:
        if self._lines:
            await self._begin()
            body, self._lines, self._nbytes = b"".join(self._lines), [], 0
            await self._send({"type": "http.response.body", "body": body, "more_body": True})


def to_body(value: Any) -> Any:
    """The body of a call: an array by position, an object by name, else the only argument."""
    return value if isinstance(value, list | dict) else [value]


def load_openapi() -> bytes:
    """The description of the gateway."""
    return files(__package__).joinpath("openapi.json").read_bytes()


def _wants_of_event(scope: Scope) -> Wants:
    kind = asks.content_kind(scope)
    given = dict(scope["headers"]) | {b"content-type": EVENT.encode()}
    return read_wants(given, (EVENT,))._replace(kind="binary-" + kind)


def _value_of(scope: Scope, wants: Wants, data: bytes) -> Any:
    """What a body says. Raises `Problem`: 400."""
    if wants.kind == asks.JSON:
        return decode_json(data)
    if wants.kind == MSGPACK:
        return decode_msgpack(data)
    if wants.kind == EVENT:
        return check_event(decode_json(data))
    is_json = wants.kind == "binary-" + asks.JSON and data
    return binary_event(scope, data, decode_json(data) if is_json else None)


def _with_trace(value: Any, wants: Wants) -> Any:
    if not wants.traceparent:
        return value
    try:
        return traced(value, wants.traceparent)
    except ZQueueError as error:
        raise problem_of(error) from None
