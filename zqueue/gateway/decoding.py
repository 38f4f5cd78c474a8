"""JSON in and out, by msgspec if it is installed (the extra ``http``), else by the library's."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ..errors import ProtocolError
from ..wire.unpacking import unpack
from .problems import Problem


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _plain(data: bytes) -> Any:
    return json.loads(data, parse_constant=_refuse_constant)


def _plain_lines(data: bytes) -> list[Any]:
    return [_plain(line) for line in data.split(b"\n") if line.strip()]


_decode: Callable[[bytes], Any] = _plain
_decode_lines: Callable[[bytes], list[Any]] = _plain_lines

try:
    from msgspec.json import Decoder
except ImportError:  # Without the extra `http`.
    pass
else:
    _decode, _decode_lines = Decoder().decode, Decoder().decode_lines

ERRORS = (ValueError, RecursionError)
"""What decoders raise; msgspec's error is a ValueError."""


class BadLine(Problem):
    """A line is no JSON. ``before`` are the values of those before it."""

    def __init__(self, text: str, number: int, before: list[Any]) -> None:
        super().__init__(400, text, line=number)
        self.before = before


def decode_json(data: bytes) -> Any:
    """A value. Raises `Problem`: 400."""
    try:
        return _decode(data)
    except ERRORS as error:
        raise Problem(400, f"The body is not JSON: {error}") from None


def decode_lines(data: bytes, before: int) -> list[Any]:
    """The values of whole lines, of which ``before`` came before. Empty lines are passed over.

    Raises `BadLine`.
    """
    try:
        return _decode_lines(data)
    except ERRORS:
        pass
    values: list[Any] = []
    for number, line in enumerate(data.split(b"\n"), before + 1):
        try:
            if line.strip():
                values.append(_decode(line))
        except ERRORS as error:
            text = f"Line {number} is not JSON: {error}"
            raise BadLine(text, number, values) from None
    return values


def decode_msgpack(data: bytes) -> Any:
    """A value. Raises `Problem`: 400."""
    try:
        return unpack(data)
    except ProtocolError as error:
        raise Problem(400, f"The body is not msgpack: {error}") from None


def encode_json(value: Any) -> bytes:
    """A value of a task, as JSON: bytes and other things that JSON lacks as text."""
    try:
        return json.dumps(value, default=_as_text, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError):
        return json.dumps(repr(value)[:1000]).encode()


def _as_text(value: Any) -> str:
    return value.decode("utf-8", "replace") if type(value) is bytes else repr(value)[:1000]
