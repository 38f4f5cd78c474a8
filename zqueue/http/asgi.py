"""What an ASGI application needs: headers of a request, answers, and a client that may leave.

`ASGI 3.0, HTTP & WebSocket message format <https://asgi.readthedocs.io/en/latest/specs/www.html>`_.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

TEXT = b"text/plain; charset=utf-8"
NO_STORE = (b"cache-control", b"no-store")


class ClientGone(Exception):
    """The client went away: there is nobody to answer."""


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    kind: bytes
    """Its content type."""
    body: bytes
    headers: tuple[Header, ...] = (NO_STORE,)


def sentence(status: int, text: str, *headers: Header) -> Answer:
    """An answer of plain text, for people."""
    return Answer(status, TEXT, f"{text}\n".encode(), (NO_STORE, *headers))


def header(scope: Scope, name: bytes) -> str:
    """The value of a header, whose name is given in lower case, or all its values with commas;
    empty if there is none."""
    found = None
    for key, value in scope["headers"]:
        if key == name:
            found = value if found is None else b"%b,%b" % (found, value)
    return "" if found is None else found.decode("latin-1")


async def answer(send: Send, whole: Answer, *always: Header) -> None:
    """Send an answer, with further headers. The server leaves its body out if HEAD was asked."""
    head = [(b"content-type", whole.kind), (b"content-length", b"%d" % len(whole.body))]
    await send(
        {
            "type": "http.response.start",
            "status": whole.status,
            "headers": [*head, *whole.headers, *always],
        }
    )
    await send({"type": "http.response.body", "body": whole.body})


async def until_gone(receive: Receive) -> None:
    """Returns when the client has left. What is left of the request's body is dropped."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def live(
    receive: Receive, send: Send, at_end: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Take part in a server's lifespan, and do nothing in it but that at its end."""
    kind = ""
    while kind != "lifespan.shutdown":
        kind = (await receive())["type"]
        if kind == "lifespan.shutdown" and at_end is not None:
            await at_end()
        await send({"type": f"{kind}.complete"})
