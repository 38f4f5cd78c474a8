"""Lines of standard input."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue import streams
from zqueue.streams import StreamLost, lines_of


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Where to read, and where to write."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)


def lines_when_read(text: bytes, read_bytes: int) -> list[bytes]:
    reader, writer = os.pipe()
    os.write(writer, text)
    os.close(writer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "READ_BYTES", read_bytes)
        lines = list(lines_of(reader))
    os.close(reader)
    return lines


@given(st.lists(st.binary(max_size=9).map(lambda b: b.replace(b"\n", b"."))), st.integers(1, 9))
def test_lines_however_they_are_read(lines: list[bytes], read_bytes: int) -> None:
    ended = b"".join(line + b"\n" for line in lines)
    assert lines_when_read(ended, read_bytes) == lines
    assert lines_when_read(ended + b"rest", read_bytes) == [*lines, b"rest"]


def test_a_line_is_there_as_soon_as_it_is_written(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    lines = lines_of(reader)
    for text in (b"1", b"2"):
        os.write(writer, text + b"\n")
        assert next(lines) == text
    os.close(writer)
    assert list(lines) == []


def test_a_reader_that_does_not_wait_is_waited_for(pipe: tuple[int, int]) -> None:
    """A program that shares the terminal may have set it so."""
    reader, writer = pipe
    os.set_blocking(reader, False)
    lines = lines_of(reader)
    seen: list[bytes] = []
    thread = threading.Thread(target=lambda: seen.extend(lines))
    thread.start()
    os.write(writer, b"late\n")
    os.close(writer)
    thread.join(20)
    assert seen == [b"late"]


def test_a_line_has_a_limit(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LINE_BYTES_MAX", 5)
    monkeypatch.setattr(streams, "READ_BYTES", 2)
    reader, writer = pipe
    os.write(writer, b"12345\n123456\n")
    os.close(writer)
    lines = lines_of(reader)
    assert next(lines) == b"12345"
    with pytest.raises(StreamLost, match="a line is over 5 bytes"):
        next(lines)


def test_what_cannot_be_read() -> None:
    folder = os.open("/", os.O_RDONLY)
    try:
        with pytest.raises(StreamLost, match="cannot read standard input: Is a directory"):
            next(lines_of(folder))
    finally:
        os.close(folder)
