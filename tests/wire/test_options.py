"""Task options: what may be asked for, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.errors import ProtocolError
from zqueue.wire.codec import pack
from zqueue.wire.options import (
    KEY_BYTES_MAX,
    RETRIES_MAX,
    SPAN_MS_MAX,
    WALL_MS_MAX,
    TaskOptions,
    unpack_options,
)

SPANS = st.integers(1, SPAN_MS_MAX)
KEYS = st.text(min_size=1, max_size=64)

ASKED = st.one_of(
    st.fixed_dictionaries({}, optional={"delay_ms": SPANS, "expires_ms": SPANS}),
    st.fixed_dictionaries(
        {"at_ms": st.integers(0, WALL_MS_MAX)},
        optional={"retries": st.integers(0, RETRIES_MAX), "backoff_ms": SPANS},
    ),
    st.fixed_dictionaries({"key": KEYS}, optional={"key_window_ms": SPANS}),
)


@given(ASKED)
def test_what_is_asked_for_arrives_and_nothing_else_travels(asked: dict[str, Any]) -> None:
    options = TaskOptions(**asked)
    packed = options.pack()
    assert len(packed) == (len(pack(asked)) if asked else 0)
    assert not packed or unpack_options(packed) == options
    assert options.is_policy == bool(asked.keys() & {"retries", "backoff_ms", "backoff_max_ms"})


@pytest.mark.parametrize(
    "asked",
    [
        {"delay_ms": -1},
        {"delay_ms": SPAN_MS_MAX + 1},
        {"delay_ms": 1.0},
        {"delay_ms": True},
        {"delay_ms": None},
        {"delay_ms": 1, "at_ms": 1},
        {"at_ms": WALL_MS_MAX + 1},
        {"expires_ms": 0},
        {"key": ""},
        {"key": b"bytes"},
        {"key": "é" * (KEY_BYTES_MAX // 2 + 1)},
        {"key_window_ms": 5},
        {"retries": RETRIES_MAX + 1},
        {"backoff_ms": "soon"},
        {"priority": 1},
        {"key": "x" * 5000},
        [],
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(asked: Any) -> None:
    with pytest.raises(ProtocolError) as refused:
        unpack_options(pack(asked))
    assert refused.value.code == "malformed"
