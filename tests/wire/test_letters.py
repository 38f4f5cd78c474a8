"""Dead letters on the wire: what is told is read again, and nonsense is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.core.dead import NUMBER_MAX, DeadLetter, Filter
from zqueue.errors import ProtocolError
from zqueue.wire.codec import pack
from zqueue.wire.letters import Page, read_letter, read_page, tell_letter
from zqueue.wire.unpacking import unpack

LETTER = DeadLetter(
    7, "mail", "send", b"\x91\x01", "failed", "ValueError", "no", "Traceback …", deliveries=3,
    failures=2, timeouts=1, crashes=0, sent_s=1.5, died_s=9.0, options=b"\x80", origin=5,
    sequence=6, position=7,
)  # fmt: skip


def test_there_and_back() -> None:
    told = unpack(pack(tell_letter(LETTER)))
    assert told["nbytes"] == 2
    assert read_letter(told, LETTER.body) == LETTER._replace(number=0)


def test_what_need_not_be_told() -> None:
    read = read_letter({"queue": "mail", "reason": "crashed"}, b"\x91\x01")
    assert (read.task, read.error, read.deliveries, read.died_s) == ("", "", 0, 0.0)


@pytest.mark.parametrize("wrong", [
    {"queue": "no such name"}, {"queue": ""}, {"task": "a b"}, {"reason": "bored"}, {"queue": 5},
    {"text": "ü" * 8_193}, {"error": "x" * 801}, {"deliveries": -1}, {"deliveries": 1.5},
    {"origin": True}, {"sent_s": "now"}, {"died_s": float("nan")}, {"died_s": -1}, {"died_s": None},
    {"options": "x"}, {"options": b"x" * 4097},
])  # fmt: skip
def test_nonsense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        read_letter({**tell_letter(LETTER), **wrong}, LETTER.body)


def test_no_body_and_no_map() -> None:
    with pytest.raises(ProtocolError):
        read_letter(tell_letter(LETTER), b"")
    with pytest.raises(ProtocolError):
        read_letter([1], LETTER.body)


def test_pages() -> None:
    assert read_page({}, 100) == Page(Filter(), 0, NUMBER_MAX, 0, 100)
    told = {"queue": "q", "since": 5, "after": 3, "upto": 9, "before": 4, "limit": 1000}
    assert read_page(told, 100) == Page(Filter(queue="q", since_s=5.0), 3, 9, 4, 100)
    assert read_page({"limit": 0}, 100).limit == 1
    for wrong in ({"queue": 1}, {"since": "x"}, {"since": -1}, {"after": -1}, {"limit": "9"}):
        with pytest.raises(ProtocolError):
            read_page(wrong, 100)


_VALUES = st.none() | st.integers() | st.floats() | st.text() | st.binary() | st.booleans()
_KEYS = st.sampled_from([*LETTER._fields, "since", "after", "upto", "before", "limit"])


@given(st.dictionaries(_KEYS, _VALUES))
def test_nothing_but_a_protocol_error(told: dict[str, Any]) -> None:
    for read in (lambda: read_letter(told, b"\x91\x01"), lambda: read_page(told, 100)):
        try:
            read()
        except ProtocolError:
            pass
