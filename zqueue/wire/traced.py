"""Traced bodies: a body with the trace context of whoever sent it (W3C Trace Context).

It travels as a msgpack extension around the packed body: 26 bytes of context, then the body.
Who sends without a context pays nothing, and a broker sees a body like any other.
"""

from __future__ import annotations

import re
from typing import Any

from msgpack import ExtType

from ..errors import ConfigError, ProtocolError
from .codec import pack_body
from .unpacking import unpack

TRACED = 116
"""The extension's type. No body of a user's own may be of it."""

CONTEXT_BYTES = 26
"""Version, 16 bytes of trace id, 8 of parent id, flags."""

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})\Z")


def traced(body: object, traceparent: str) -> ExtType:
    """A body with a trace context.

    Raises `BodyError` as without one, `ConfigError` if ``traceparent`` is none.
    """
    match = _TRACEPARENT.match(traceparent)
    if match is None or match[1] == "ff" or not int(match[2], 16) or not int(match[3], 16):
        raise ConfigError(f"{traceparent[:80]!r} is no traceparent: 00-TRACEID-PARENTID-FLAGS")
    return ExtType(TRACED, bytes.fromhex("".join(match.groups())) + pack_body(body))


def untraced(body: Any) -> tuple[Any, str]:
    """The body itself, and its ``traceparent``, empty if it has none. Raises `ProtocolError`."""
    if type(body) is not ExtType or body.code != TRACED:
        return body, ""
    data = body.data
    if len(data) <= CONTEXT_BYTES:
        raise ProtocolError("malformed", "the trace context of a body ends too early")
    context = data[:CONTEXT_BYTES].hex()
    traceparent = f"{context[:2]}-{context[2:34]}-{context[34:50]}-{context[50:]}"
    return unpack(data[CONTEXT_BYTES:]), traceparent


def take_contexts(bodies: list[Any]) -> dict[int, str]:
    """Put bodies themselves in the place of traced ones; what they had, by position.

    Where a trace context is broken, the error takes the body's place.
    """
    contexts: dict[int, str] = {}
    if ExtType in map(type, bodies):
        for position, body in enumerate(bodies):
            try:
                bodies[position], traceparent = untraced(body)
            except ProtocolError as error:
                bodies[position] = error
                continue
            if traceparent:
                contexts[position] = traceparent
    return contexts
