"""What callers ask for: seconds and times of theirs, milliseconds of the wire."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest

from zqueue.client.asked import task_options
from zqueue.errors import ConfigError
from zqueue.wire.options import TaskOptions, unpack_options


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        ({"delay": 2.5}, TaskOptions(delay_ms=2500)),
        ({"delay": 0}, TaskOptions(delay_ms=0)),
        ({"delay": 0.0001}, TaskOptions(delay_ms=1)),
        ({"at": 1.5}, TaskOptions(at_ms=1500)),
        ({"at": datetime(1970, 1, 2, tzinfo=UTC)}, TaskOptions(at_ms=86_400_000)),
        ({"expires": 1e-9}, TaskOptions(expires_ms=1)),
        ({"retries": 0, "backoff": 0}, TaskOptions(retries=0, backoff_ms=0)),
        ({"key": "é", "key_window": 60}, TaskOptions(key="é", key_window_ms=60_000)),
    ],
)
def test_units(asked: dict[str, Any], options: TaskOptions) -> None:
    assert task_options(**asked) == options
    assert unpack_options(options.pack()) == options


def test_no_broker_is_told_what_its_producer_will_do() -> None:
    options = task_options(resubmit=True)
    assert options is not None
    assert options.pack() == b""
    more = options._replace(retries=2)
    assert unpack_options(more.pack()) == TaskOptions(retries=2)


def test_nothing_asked_for_is_nothing() -> None:
    assert task_options() is None
    assert task_options(delay=None, key=None) is None


@pytest.mark.parametrize(
    "asked",
    [
        {"resubmit": 1},
        {"delay": -1},
        {"delay": math.inf},
        {"delay": "1"},
        {"delay": 1, "at": 1},
        {"at": datetime(2030, 1, 1)},
        {"at": math.inf},
        {"expires": 0},
        {"retries": -1},
        {"retries": 2.0},
        {"retries": True},
        {"retries": 1001},
        {"backoff": -0.1},
        {"backoff_max": 1e12},
        {"key": ""},
        {"key": 7},
        {"key": "\ud800"},
        {"key": "x" * 257},
        {"key_window": 1},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_at_once(asked: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        task_options(**asked)
