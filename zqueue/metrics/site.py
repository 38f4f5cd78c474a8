"""The site: the sidecar as an ASGI application. Metrics, the page, and its figures.

Read-only: no request changes anything. There are at most `STREAMS_MAX` streams, so that Prometheus
is served however many pages are open. All streams send the same bytes (`board`), which are rendered
in a thread beside the loop. A stream lasts until its client leaves.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs

from ..errors import ZQueueError
from ..http.asgi import (
    NO_STORE,
    Answer,
    Header,
    Receive,
    Scope,
    Send,
    answer,
    header,
    live,
    sentence,
    until_gone,
)
from ..http.credentials import ASKS
from ..http.hosts import is_for_loopback
from .board import Board
from .dead_letter import letter_of
from .exposition import form_for
from .glossary import GLOSSARY
from .token import Token
from .untrusted import line

STREAMS_MAX = 64

STUCK_S = 10.0
"""After so many seconds without a tick `/livez` answers 503."""

IDLE_S = 15.0
"""After so many seconds without a snapshot a stream sends a comment, which keeps it open."""

RETRY_MS = 2000
"""When a page is to reconnect after it lost its stream."""

OPEN = "/livez"
"""What needs no token: whoever restarts a sidecar asks for it, and it tells no figures."""

STREAM = "/api/stream"

ALWAYS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)

CLOSE: Header = (b"connection", b"close")
"""To whoever sends a body: it is not read."""


SCRIPTS = (
    "figures", "document", "tables", "columns", "panels", "plots", "brokers", "feed",
)  # fmt: skip
"""The page's, in this order."""


def load_page() -> Answer:
    """The page as one file, with a content security policy that allows only its own script and
    style."""
    folder = files(__package__).joinpath("page")
    read = {entry.name: entry.read_text(encoding="utf-8") for entry in folder.iterdir()}
    words = json.dumps({key: [term.word, term.means] for key, term in GLOSSARY.items()})
    scripts = [f"const GLOSSARY = {words};\n", *(read[f"{name}.js"] for name in SCRIPTS)]
    page = read["page.html"].replace("/* style.css */\n", read["style.css"])
    page = page.replace("// the scripts\n", "\n".join(['"use strict";', *scripts]))
    hashes = {
        tag: " ".join(_hash_of(text) for text in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S))
        for tag in ("script", "style")
    }
    policy = (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    headers = ((b"cache-control", b"no-cache"), (b"content-security-policy", policy.encode()))
    return Answer(200, b"text/html; charset=utf-8", page.encode(), headers)


def _hash_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


class Site:
    """Answers requests from a board, in the loop that `tick` is called in.

    ``is_loopback`` is whether only this machine reaches it: then it answers to no other name.
    """

    def __init__(
        self, board: Board, *, ready_workers: int = 0, token: Token | None = None,
        is_loopback: bool = True,
    ) -> None:  # fmt: skip
        self._board = board
        self._ready_workers = ready_workers
        self._token = token
        self._is_loopback = is_loopback
        self._page = load_page()
        self._renderer = ThreadPoolExecutor(1, "render")
        self._streams = 0
        self._closed = False
        self._ticked = asyncio.Event()
        self._paths: dict[str, Callable[[Scope], Awaitable[Answer]]] = {
            "/": self._show_page,
            "/metrics": self._metrics,
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/api/stats.json": self._stats,
            "/api/dead.json": self._dead,
        }

    def __repr__(self) -> str:
        return f"<Site of {self._board}: {self._streams} streams>"

    def tick(self) -> None:
        """There may be something new: expire what was rendered, and wake all streams."""
        self._board.tick()
        self._ticked.set()
        self._ticked = asyncio.Event()

    def close(self) -> None:
        """End all streams."""
        self._closed = True
        self._ticked.set()
        self._renderer.shutdown(wait=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await live(receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await answer(send, refusal, *ALWAYS, CLOSE)
        elif scope["path"] == STREAM:
            await self._stream(scope, receive, send)
        else:
            await answer(send, await self._paths[scope["path"]](scope), *ALWAYS)

    # --- answers ---

    def _refusal(self, scope: Scope) -> Answer | None:
        """Why a request is refused, or None."""
        path = scope["path"]
        if self._is_loopback and not is_for_loopback(scope):
            return sentence(403, "Only requests for localhost are answered here.")
        if self._token is not None and path != OPEN and not self._token.is_in(scope):
            return sentence(401, "Show the token: Authorization: Bearer TOKEN.", ASKS)
        if path not in self._paths and path != STREAM:
            return sentence(404, f"No such path. There are {', '.join(self._paths)} and {STREAM}.")
        if scope["method"] not in ("GET", "HEAD"):
            return sentence(405, "Only GET and HEAD are answered.", (b"allow", b"GET, HEAD"))
        if path == STREAM and self._streams >= STREAMS_MAX:
            text = f"{STREAMS_MAX} streams are open already: ask for /api/stats.json."
            return sentence(503, text, (b"retry-after", b"5"))
        return None

    async def _show_page(self, scope: Scope) -> Answer:
        return self._page

    async def _stats(self, scope: Scope) -> Answer:
        return Answer(200, b"application/json", await self._json())

    async def _json(self) -> bytes:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._renderer, self._board.as_json)

    async def _metrics(self, scope: Scope) -> Answer:
        form = form_for(header(scope, b"accept"))
        loop = asyncio.get_running_loop()
        text = await loop.run_in_executor(self._renderer, self._board.exposed, form)
        return Answer(200, form.value.encode(), text, (NO_STORE, (b"vary", b"Accept")))

    async def _livez(self, scope: Scope) -> Answer:
        since_s = self._board.since_tick_s
        if since_s > STUCK_S:
            return sentence(503, f"The sidecar is stuck: no tick for {since_s:.0f} s.")
        return sentence(200, "The sidecar is alive.")

    async def _readyz(self, scope: Scope) -> Answer:
        loop = asyncio.get_running_loop()
        problems = await loop.run_in_executor(
            self._renderer, self._board.problems, self._ready_workers
        )
        return sentence(503, "\n".join(problems)) if problems else sentence(200, "Ready.")

    async def _dead(self, scope: Scope) -> Answer:
        """One dead letter: ``?broker=URL&number=N``."""
        asked = parse_qs(scope["query_string"].decode("latin-1"))
        url = self._board.urls.get(asked.get("broker", [""])[0])
        number = asked.get("number", [""])[0]
        if url is None or not re.fullmatch(r"\d{1,18}", number):
            return sentence(400, "Ask for /api/dead.json?broker=URL&number=N, of a watched broker.")
        try:
            letter = await asyncio.to_thread(letter_of, url, int(number))
        except ZQueueError as error:
            return sentence(503, line(str(error)))
        if letter is None:
            return sentence(404, f"There is no dead letter {number} any more.")
        return Answer(200, b"application/json", json.dumps(letter).encode())

    # --- streams ---

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(until_gone(receive))
        self._streams += 1
        try:
            kind = (b"content-type", b"text/event-stream; charset=utf-8")
            headers = [kind, NO_STORE, *ALWAYS]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            if scope["method"] != "HEAD":
                await self._send_events(gone, send)
            if not gone.done():
                await send({"type": "http.response.body", "body": b""})
        finally:
            self._streams -= 1
            gone.cancel()

    async def _send_events(self, gone: asyncio.Future[None], send: Send) -> None:
        event = f"retry: {RETRY_MS}\n\n".encode()
        ticked, has_ticked = self._ticked, True
        while not (gone.done() or self._closed):
            event += b"data: %b\n\n" % await self._json() if has_ticked else b": idle\n\n"
            await send({"type": "http.response.body", "body": event, "more_body": True})
            waiting = asyncio.ensure_future(ticked.wait())
            both: set[asyncio.Future[Any]] = {gone, waiting}
            await asyncio.wait(both, timeout=IDLE_S, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            event, has_ticked, ticked = b"", ticked.is_set(), self._ticked
