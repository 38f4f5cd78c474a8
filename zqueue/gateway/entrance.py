"""The entrance: the gateway as an ASGI application. Who may come in, and how each is answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, Self

from ..app import App
from ..auth.tokens import Tokens
from ..auth.users import User
from ..config import BrokerList, default_url
from ..http.asgi import Answer, ClientGone, Header, Receive, Scope, Send, answer, live
from ..http.credentials import shown_in
from ..http.hosts import is_for_loopback
from ..producer import Producer
from .answering import Asked, Calls
from .body import Body
from .outlet import BROKER_S, Outlet
from .problems import ASKS, Problem
from .routes import Route, find_route

logger = logging.getLogger("zqueue")

ALWAYS: tuple[Header, ...] = ((b"x-content-type-options", b"nosniff"),)

CLOSE: Header = (b"connection", b"close")
"""To whoever owes the rest of a body."""

BODILESS = ("GET", "HEAD")

CLOSE_S = 5.0
"""How long to wait at the end for confirms of what was posted, seconds."""


class Gateway:
    """Posts tasks and gives out results over HTTP: an ASGI application.

    Serve it with ``zqueue gateway``, or mount it in a program's own application, under any path.
    It connects at its first request. ``async with`` it in the lifespan of that application, or call
    `close`, so that it leaves the broker in order.

    Parameters:
        to: the app whose tasks may be called, or a broker's address, or those of several with
            commas between them; by default ``ZQUEUE_URL``, or ``tcp://127.0.0.1:5555``. Of a
            broker all tasks may be called that its workers have.
        tokens: who may come in. None: everybody, which is for a place where others guard the door.
        only_local: answer only requests that name a loopback host.

    Raises `ConfigError`: the address makes no sense.
    """

    def __init__(
        self, to: App | str | None = None, *, tokens: Tokens | None = None,
        only_local: bool = False,
    ) -> None:  # fmt: skip
        self._app = to if isinstance(to, App) else None
        self.url = to.url if isinstance(to, App) else to or default_url()
        BrokerList.parse(self.url)
        self.tokens = tokens
        self._only_local = only_local
        self._producer: Producer | None = None
        self._calls: Calls | None = None

    def __repr__(self) -> str:
        return f"<Gateway to {self.url}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        await self.close()

    def stop_waiting(self) -> None:
        """Answer who waits for a result, and end event streams: before the server stops."""
        if self._calls is not None:
            self._calls.stop_waiting()

    async def close(self) -> None:
        """Leave the broker. An app that was given stays as it is."""
        calls, self._calls = self._calls, None
        if calls is not None:
            calls.close()
        producer, self._producer = self._producer, None
        if producer is not None:
            await asyncio.to_thread(producer.__exit__, None, None, None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await live(receive, send, self.close)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"a gateway speaks HTTP, not {scope['type']}")
        calls = self._calls or self._start()
        body = Body(scope, receive, calls.room, calls.stalls)
        call, answered = "none", None
        try:
            route, name = find_route(scope["method"], _path_of(scope))
            call = route.call
            asked = Asked(scope, receive, send, self._let_in(route, scope), name, body)
            answered = await calls.find(call)(asked)
        except Problem as problem:
            answered = problem.answer()
        except ClientGone:
            calls.counts.answered(call, 499)
            return
        calls.counts.answered(call, 200 if answered is None else answered.status)
        if answered is not None and answered.status >= 400 and scope["method"] not in BODILESS:
            await _answer_early(send, answered, body)
        elif answered is not None:
            await answer(send, answered, *ALWAYS)

    def _start(self) -> Calls:
        if self._app is not None:
            producer = self._app.producer
            tasks = {name: handler.queue for name, handler in self._app.handlers.items()}
        else:
            producer = self._producer = Producer(
                self.url, timeout=CLOSE_S, connect_timeout=BROKER_S
            )
            tasks = {}
        self._calls = Calls(Outlet(producer), self.url, tasks)
        return self._calls

    def _let_in(self, route: Route, scope: Scope) -> User | None:
        """Whose token a request shows; None if none is needed. Raises `Problem`: 401, 403."""
        if self._only_local and not is_for_loopback(scope):
            raise Problem(403, "Only requests for localhost are answered here.")
        if self.tokens is None or route.role is None:
            return None
        shown = shown_in(scope)
        user = None if shown is None else self.tokens.find(shown)
        if user is None:
            raise Problem(401, "Show a token: Authorization: Bearer TOKEN.", ASKS)
        if not user.has_role(frozenset((route.role,))):
            raise Problem(403, f"This token does not have the role {route.role!r}.")
        return user


def _path_of(scope: Scope) -> str:
    """The path, without that under which the gateway is mounted."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


async def _answer_early(send: Send, whole: Answer, body: Body) -> None:
    """Answer, and read on for a while: who sends a body often does not look before it is sent."""
    if body.is_read:
        await answer(send, whole, *ALWAYS)
        return

    async def send_most(message: MutableMapping[str, Any]) -> None:
        await send({**message, "more_body": True} if "body" in message else message)

    await answer(send_most, whole, *ALWAYS, CLOSE)
    await body.drop()
    await send({"type": "http.response.body", "body": b""})
