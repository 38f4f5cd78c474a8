"""Dead letters on the wire: a map each, its body in a frame of its own; and which ones are meant.

The same maps are told by a broker, and taken in again by it or another one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..core.dead import NUMBER_MAX, DeadLetter, Filter
from ..errors import ProtocolError
from .codec import FRAME_BYTES_MAX
from .headers import NAME
from .messages import BAD_NAME, MALFORMED

LETTERS_MAX = 100
"""Letters in one message. Each has a frame, and a broker takes no message of more than 160."""

LETTERS_BYTES_MAX = 1 << 20
"""Bytes after which no further letter is put in a message. One alone may have more."""

IMPORT_MAP_BYTES_MAX = 8 << 20
"""Bytes of the map that tells of letters to be taken in: each has texts of up to 48 KiB."""

REPLAY_MAX = 1000
"""Letters that are replayed or dropped by one message."""

GROUPS_MAX = 500
"""Groups in one message."""

DEATHS = ("failed", "timeout", "crashed", "malformed", "expired")
"""Why a task is a dead letter."""

TYPE_CHARS_MAX = 200
TEXT_BYTES_MAX = 16 << 10
TRACEBACK_BYTES_MAX = 32 << 10
"""What is kept of an error. With the rest, they must fit in the ``meta`` of an entry of a store."""

OPTIONS_BYTES_MAX = 4096

_TEXTS = {
    "queue": 128, "task": 128, "reason": 20, "error": 4 * TYPE_CHARS_MAX, "text": TEXT_BYTES_MAX,
    "traceback": TRACEBACK_BYTES_MAX,
}  # fmt: skip
"""How many bytes each may have."""

_INTS = ("deliveries", "failures", "timeouts", "crashes", "origin", "sequence", "position")
_TIMES = ("sent_s", "died_s")
_WALL_S_MAX = 1e11
"""The year 5138: what is beyond that was no second."""


class Page(NamedTuple):
    """Which letters are asked for, or are to be dealt with."""

    wanted: Filter
    after: int
    """Only above this number; 0: from the first."""
    upto: int
    before: int
    """Only below this number, and the newest first; 0: the oldest first, above ``after``."""
    limit: int


def tell_letter(letter: DeadLetter) -> dict[str, Any]:
    """A letter without its body."""
    told = letter._asdict()
    told["nbytes"] = len(told.pop("body"))
    return told


def read_letter(told: object, body: bytes) -> DeadLetter:
    """The letter that somebody tells of, without a number. Raises `ProtocolError`."""
    if not isinstance(told, dict):
        raise ProtocolError(MALFORMED, "a letter is a map")
    values: dict[str, Any] = {"number": 0, "body": body}
    for key, nbytes_max in _TEXTS.items():
        value = values[key] = told.get(key, "")
        if type(value) is not str or len(value.encode(errors="replace")) > nbytes_max:
            text = f"a letter's {key} is a text of up to {nbytes_max} bytes"
            raise ProtocolError(MALFORMED, text)
    for key in _INTS:
        value = values[key] = told.get(key, 0)
        if type(value) is not int or not 0 <= value <= NUMBER_MAX:
            raise ProtocolError(MALFORMED, f"a letter's {key} is a number")
    for key in _TIMES:
        value = told.get(key, 0)
        values[key] = float(value) if _is_time(value) else None
        if values[key] is None:
            raise ProtocolError(MALFORMED, f"a letter's {key} is a time in seconds since 1970")
    options = values["options"] = told.get("options", b"")
    if type(options) is not bytes or len(options) > OPTIONS_BYTES_MAX:
        raise ProtocolError(MALFORMED, f"a letter's options are {OPTIONS_BYTES_MAX} bytes at most")
    if values["reason"] not in DEATHS:
        raise ProtocolError(MALFORMED, f"a letter's reason is one of {', '.join(DEATHS)}")
    if not NAME.match(values["queue"]) or not (not values["task"] or NAME.match(values["task"])):
        raise ProtocolError(BAD_NAME, "a letter's queue or task has no such name")
    if not 0 < len(body) <= FRAME_BYTES_MAX:
        raise ProtocolError(MALFORMED, "a letter has no body")
    return DeadLetter(**values)


def read_page(told: dict[str, Any], limit_max: int) -> Page:
    """Which letters are meant. Raises `ProtocolError`."""
    texts = {}
    for key in ("queue", "task", "error", "reason"):
        value = told.get(key)
        if value is not None and (type(value) is not str or len(value) > TYPE_CHARS_MAX):
            raise ProtocolError(MALFORMED, f"{key} is a text")
        texts[key] = value
    since = told.get("since", 0)
    if not _is_time(since):
        raise ProtocolError(MALFORMED, "since is a time in seconds since 1970")
    numbers = {"after": 0, "upto": NUMBER_MAX, "before": 0, "limit": limit_max}
    for key in numbers:
        value = told.get(key)
        if value is None:
            continue
        if type(value) is not int or not 0 <= value <= NUMBER_MAX:
            raise ProtocolError(MALFORMED, f"{key} is a number")
        numbers[key] = value
    numbers["limit"] = max(1, min(numbers["limit"], limit_max))
    return Page(Filter(**texts, since_s=float(since)), **numbers)


def _is_time(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value <= _WALL_S_MAX  # type: ignore[operator]
