"""HTTP requests: reading the head of one, from any client, and which hosts it may name.

A head is a request line and headers, `HEAD_BYTES_MAX` in all, and must be complete `HEAD_S` after
the connection was made: a byte now and then does not keep it open.

A server at a loopback address accepts only requests that name a loopback host. A page of another
site can make its own name resolve to 127.0.0.1 (DNS rebinding), and its scripts could then read our
answers as those of their own site; but the browser still sends that site's name in ``Host``.
"""

from __future__ import annotations

import re
import socket
from email.message import Message
from http.client import HTTPException, parse_headers
from io import BytesIO
from time import monotonic
from typing import NamedTuple

HEAD_BYTES_MAX = 8192
HEAD_S = 5.0

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")

_LINE = re.compile(rb"([A-Z]{1,20}) ([!-~]{1,4096}) HTTP/1\.[01]\r?\n")
_END = re.compile(rb"\r?\n\r?\n")


class BadRequest(Exception):
    """Not a valid request. ``status`` is what to answer; None: the client is gone."""

    def __init__(self, status: int | None, text: str) -> None:
        super().__init__(text)
        self.status = status


class Request(NamedTuple):
    """The head of a request."""

    method: str
    path: str
    """Without what follows a question mark."""
    query: str
    headers: Message

    def header(self, name: str) -> str:
        """The value of a header, or all its values with commas; empty if there is none."""
        return ",".join(self.headers.get_all(name) or ())


def read_request(connection: socket.socket) -> Request:
    """Read a request from a connection. What follows its head is not read.

    Raises `BadRequest`, or OSError if the connection is lost.
    """
    head = _read_head(connection)
    match = _LINE.match(head)
    if match is None:
        raise BadRequest(400, "This is not an HTTP request.")
    try:
        headers = parse_headers(BytesIO(head[match.end() :]))
    except HTTPException:
        raise BadRequest(431, "There are too many headers.") from None
    method, target = match[1].decode(), match[2].decode()
    if not target.startswith("/"):
        raise BadRequest(400, "Ask for a path.")
    path, _, query = target.partition("?")
    return Request(method, path, query, headers)


def _read_head(connection: socket.socket) -> bytes:
    head, deadline = b"", monotonic() + HEAD_S
    while (end := _END.search(head)) is None and len(head) < HEAD_BYTES_MAX:
        left = deadline - monotonic()
        if left <= 0:
            raise BadRequest(408, "The request did not come in time.")
        connection.settimeout(left)
        try:
            part = connection.recv(HEAD_BYTES_MAX - len(head))
        except TimeoutError:
            raise BadRequest(408, "The request did not come in time.") from None
        if not part:
            raise BadRequest(None, "The client went away.")
        head += part
    if end is None:
        raise BadRequest(431, f"A request has {HEAD_BYTES_MAX:,} bytes of headers at most.")
    return head[: end.end()]


def is_for_loopback(request: Request) -> bool:
    """Whether the request names loopback, or (as no browser does) nothing."""
    hosts = request.headers.get_all("Host") or []
    return all(_name_of(host) in LOOPBACK_NAMES for host in hosts)


def _name_of(host: str) -> str:
    match = re.fullmatch(r"(\[[0-9a-f:]+\]|[^:]*)(:\d*)?", host.strip().lower())
    return match[1].rstrip(".") if match else ""
