"""Lines, however they come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.gateway.lines import Lines
from zqueue.gateway.problems import Problem


@given(st.lists(st.sampled_from([b"", b"a", b"\n", b"ab\nc", b"\n\n", b"x\ny\nz"])))
def test_nothing_is_lost_and_no_line_is_cut(parts: list[bytes]) -> None:
    lines = Lines()
    whole = [lines.feed(part) for part in parts]
    assert all(part.endswith(b"\n") for part in whole if part)
    assert b"".join([*whole, lines.end()]) == b"".join(parts)
    assert lines.end() == b""


def test_a_line_has_a_limit() -> None:
    lines = Lines(10)
    assert lines.feed(b"0123456789") == b""
    assert lines.feed(b"\nabc") == b"0123456789\n"
    with pytest.raises(Problem) as caught:
        lines.feed(b"defghijk")
    assert caught.value.status == 413
