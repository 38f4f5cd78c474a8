"""JSON and msgpack, by whatever is installed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from zqueue.gateway import decoding
from zqueue.gateway.decoding import (
    BadLine,
    decode_json,
    decode_lines,
    decode_msgpack,
    encode_json,
)
from zqueue.gateway.problems import Problem
from zqueue.wire.codec import pack


@pytest.fixture(params=["msgspec", "json"], autouse=True)
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra, and without."""
    if request.param == "json":
        monkeypatch.setattr(decoding, "_decode", decoding._plain)
        monkeypatch.setattr(decoding, "_decode_lines", decoding._plain_lines)
    else:
        pytest.importorskip("msgspec")


@pytest.mark.parametrize("value", [None, True, 1, -1.5, "é", [1, [2]], {"a": {"b": None}}, []])
def test_values(value: Any) -> None:
    data = json.dumps(value).encode()
    assert decode_json(data) == value
    assert json.loads(encode_json(value)) == value
    assert decode_msgpack(pack(value)) == value


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"nan", b"NaN", b"[Infinity]", b"\xff", b"[1] x", b"[" * 100_000, b"'a'", b"\x00"],
    ids=["empty", "open", "nan", "NaN", "infinity", "ff", "behind", "deep", "quotes", "zero"],
)  # fmt: skip
def test_what_is_no_json(data: bytes) -> None:
    with pytest.raises(Problem, match="not JSON") as caught:
        decode_json(data)
    assert caught.value.status == 400


def test_lines() -> None:
    assert decode_lines(b'1\n\n{"a":2}\r\n  \n"x"\n', 0) == [1, {"a": 2}, "x"]
    assert decode_lines(b"1", 0) == [1]


def test_a_line_that_is_none() -> None:
    with pytest.raises(BadLine, match="Line 14 is not JSON") as caught:
        decode_lines(b"1\n\n2\n{\n3\n", 10)
    assert caught.value.before == [1, 2]
    assert caught.value.further == {"line": 14}


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93\x01", b"\x01\x01"])
def test_what_is_no_msgpack(data: bytes) -> None:
    with pytest.raises(Problem, match="not msgpack"):
        decode_msgpack(data)


def test_what_json_lacks_is_text() -> None:
    assert json.loads(encode_json({"a": b"bytes", "b": {1: 2}})) == {"a": "bytes", "b": {"1": 2}}
    assert isinstance(json.loads(encode_json({(1, 2): 3})), str)
