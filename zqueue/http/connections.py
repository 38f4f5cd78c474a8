"""Connections: uvicorn's protocols, with the limits that it leaves to others.

Theory of operation. A connection that is made beyond the limit takes the place of one that is idle
between two requests; if there is none, it is answered 503 and closed. A head may have
`Limits.head_bytes_max` bytes. Once a second `end_overdue` looks at all connections, and ends those
whose `Patience` is over: their tasks see a client that went away.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .patience import Limits, Patience

try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
except ImportError:  # Without the extra `http`.
    HttpToolsProtocol = None  # type: ignore[assignment,misc]

if TYPE_CHECKING:
    Base = H11Protocol
else:
    Base = object


def _refusal(status: bytes, text: bytes, *headers: bytes) -> bytes:
    head = (b"HTTP/1.1 " + status, b"content-type: text/plain; charset=utf-8", *headers,
            b"content-length: %d" % len(text), b"connection: close")  # fmt: skip
    return b"\r\n".join(head) + b"\r\n\r\n" + text


class Limited(Base):
    """Limits for a protocol of uvicorn's."""

    limits: ClassVar[Limits]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Serve it, or turn it away."""
        self.head_since: float | None = self.loop.time()
        self.head_bytes = self.data_bytes = 0
        self.patience = Patience(self.limits)
        is_full = len(self.connections) >= self.limits.connections_max and not self._make_room()
        super().connection_made(transport)
        if is_full:
            self.connections.discard(self)
            text = b"%d connections are open already.\n" % self.limits.connections_max
            transport.write(_refusal(b"503 Service Unavailable", text, b"retry-after: 5"))
            transport.close()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and count what belongs to no complete head."""
        self.data_bytes = len(data)
        super().data_received(data)
        if not self.is_in_head():
            self.head_since, self.head_bytes = None, 0
            return
        if self.head_since is None:
            self.head_since = self.loop.time()
        self.head_bytes += len(data)
        if self.head_bytes > self.limits.head_bytes_max and not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                text = b"A request has %d bytes of headers at most.\n" % self.limits.head_bytes_max
                self.transport.write(_refusal(b"431 Request Header Fields Too Large", text))
                self.transport.close()
            else:
                self.transport.abort()  # It is behind a request that is being answered.

    def is_in_head(self) -> bool:
        """Whether the head of a request is yet to be completed."""
        raise NotImplementedError

    def is_overdue(self, now: float) -> bool:
        """Whether to give the client up."""
        unsent = self.transport.get_write_buffer_size()
        is_stuck = self.flow.write_paused or self.transport.is_closing()
        return self.patience.is_over(now, self.head_since, unsent, is_stuck=is_stuck)

    def _make_room(self) -> bool:
        """End a connection that waits for its client's next request. False if there is none."""
        for other in self.connections:
            if isinstance(other, Limited) and other.timeout_keep_alive_task is not None:
                other.transport.abort()
                self.connections.discard(other)
                return True
        return False


class _LimitedH11(Limited, H11Protocol):
    def is_in_head(self) -> bool:
        return self.conn.their_state is h11.IDLE


def limited_protocol(limits: Limits) -> type[asyncio.Protocol]:
    """A protocol for uvicorn, by the quickest parser that is installed."""
    if HttpToolsProtocol is None:
        return type("LimitedH11", (_LimitedH11,), {"limits": limits})

    class LimitedHttpTools(Limited, HttpToolsProtocol):  # type: ignore[misc]
        _in_head = True

        def on_message_begin(self) -> None:
            self._in_head = True
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._in_head = False
            if self.head_bytes + self.data_bytes > self.limits.head_bytes_max:
                size = len(self.url) + sum(len(key) + len(value) for key, value in self.headers)
                if size > self.limits.head_bytes_max:
                    raise ValueError("too many headers")  # The parser's error: 400.
            super().on_headers_complete()

        def is_in_head(self) -> bool:
            return self._in_head

    LimitedHttpTools.limits = limits
    return LimitedHttpTools


def end_overdue(connections: set[Any], now: float) -> None:
    """End all connections whose clients are given up, at ``now`` of the loop's clock."""
    for connection in [each for each in connections if each.is_overdue(now)]:
        connection.transport.abort()
