"""Reading: what the headers and the query of a request ask for."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qs

from ..http.asgi import Scope, header
from .problems import Problem
from .repeats import KEY_CHARS_MAX

WAIT_S_MAX = 60.0

TEXT_BYTES_MAX = 1_000
"""Of a header that tells what is wanted: what is behind that is not read."""

JSON = "application/json"
NDJSON = "application/x-ndjson"
MSGPACK = "application/msgpack"
EVENT = "application/cloudevents+json"
EVENTS = "application/cloudevents-batch+json"

KINDS = {
    JSON: JSON, NDJSON: NDJSON, "application/ndjson": NDJSON, "application/jsonl": NDJSON,
    MSGPACK: MSGPACK, "application/x-msgpack": MSGPACK, "application/vnd.msgpack": MSGPACK,
    EVENT: EVENT, EVENTS: EVENTS,
}  # fmt: skip

STREAM = "text/event-stream"

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_WAIT = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:$|[,;])', re.IGNORECASE)


class Wants(NamedTuple):
    """What a post asks for beside its body."""

    kind: str
    """One of the content types that are known."""
    wait_s: float
    """For how long to wait for the result; 0: not at all."""
    traceparent: str
    key: str
    """Its idempotency key; empty if it has none."""
    is_streamed: bool
    """Whether results are wanted as lines."""


def read_wants(given: Mapping[bytes, bytes], kinds: tuple[str, ...]) -> Wants:
    """What a post asks for, by its headers. Raises `Problem`: 400, 415."""
    wants = _read_common(
        given.get(b"content-type", b""), given.get(b"prefer", b"")[:TEXT_BYTES_MAX],
        given.get(b"accept", b"")[:TEXT_BYTES_MAX], kinds,
    )  # fmt: skip
    traceparent = given.get(b"traceparent", b"").decode("latin-1")
    key = given.get(b"idempotency-key", b"").decode("latin-1")
    if not (traceparent or key):
        return wants
    if not _TRACEPARENT.fullmatch(traceparent):
        traceparent = ""  # As W3C has it: go on without.
    if len(key) > KEY_CHARS_MAX:
        raise Problem(400, f"An Idempotency-Key has at most {KEY_CHARS_MAX} characters.")
    if key and wants.kind == NDJSON:
        raise Problem(400, "An Idempotency-Key is for one body: a stream has none.")
    return wants._replace(traceparent=traceparent, key=key)


@functools.lru_cache(maxsize=1024)  # Those of a client are the same each time.
def _read_common(given: bytes, prefer: bytes, accept: bytes, kinds: tuple[str, ...]) -> Wants:
    kind = KINDS.get(given.decode("latin-1").partition(";")[0].strip().lower(), "")
    if kind not in kinds:
        known = ", ".join(kinds)
        raise Problem(415, f"The Content-Type must be one of {known}.", (b"accept", known.encode()))
    match = _WAIT.search(prefer.decode("latin-1"))
    wait_s = min(float(match[1]), WAIT_S_MAX) if match else 0.0
    return Wants(kind, wait_s, "", "", NDJSON.encode() in accept)


def content_kind(scope: Scope) -> str:
    """The content type, by its first name; empty if it is not known.

    A CloudEvent in binary mode may be of any type: then it is that of its data.
    """
    given = header(scope, b"content-type").partition(";")[0].strip().lower()
    return KINDS.get(given, "")


def read_wait(scope: Scope) -> float:
    """``?wait=N``: for how long to wait, seconds. Raises `Problem`: 400."""
    asked = query(scope, "wait") or "0"
    try:
        wait_s = float(asked)
    except ValueError:
        wait_s = math.nan
    if not 0 <= wait_s < math.inf:
        raise Problem(400, "wait is a number of seconds.")
    return min(wait_s, WAIT_S_MAX)


def query(scope: Scope, name: str) -> str:
    """A parameter of the query; empty if it is not there."""
    text = scope["query_string"].decode("latin-1")
    return parse_qs(text).get(name, [""])[0] if text else ""


def read_number(scope: Scope, name: str, least: int, most: int, default: int) -> int:
    """A number of the query. Raises `Problem`: 400."""
    asked = query(scope, name)
    if not asked:
        return default
    if not asked.isascii() or not asked.isdigit() or not least <= int(asked[:18]) <= most:
        raise Problem(400, f"{name} is a number from {least} to {most}.")
    return int(asked)
