"""What callers ask for their tasks, checked and in the units of the wire."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, TypedDict

from ..errors import ConfigError
from ..seconds import check_seconds
from ..wire.options import KEY_BYTES_MAX, RETRIES_MAX, SPAN_MS_MAX, WALL_MS_MAX, TaskOptions


class Asked(TypedDict, total=False):
    """The parameters of `task_options`."""

    delay: float | None
    at: datetime | float | None
    expires: float | None
    retries: int | None
    backoff: float | None
    backoff_max: float | None
    key: str | None
    key_window: float | None
    resubmit: bool | None


def task_options(
    *,
    delay: float | None = None,
    at: datetime | float | None = None,
    expires: float | None = None,
    retries: int | None = None,
    backoff: float | None = None,
    backoff_max: float | None = None,
    key: str | None = None,
    key_window: float | None = None,
    resubmit: bool | None = None,
) -> TaskOptions | None:
    """Options for tasks that are sent; None if there are none.

    Parameters:
        delay: seconds that a task waits in the broker before it may run.
        at: the time from which on it may run: an aware ``datetime``, or seconds since 1970.
        expires: seconds from now, after which it is not run any more.
        retries: how often it is tried again if it fails; 0: not at all.
        backoff: seconds that it waits before the first of these at most, twice that before the
            next, and so on; how long in fact is left to chance.
        backoff_max: seconds that it waits before any of these at most.
        key: a text that names the task, 1 to 256 bytes as UTF-8.
        key_window: seconds for which the key counts.
        resubmit: whether it is sent again, some times at most, if its result is lost with a broker
            or a connection (`ResultLost`). For tasks that may run twice.

    Raises `ConfigError`: one of them makes no sense, or two of them together do not.
    """
    if delay is not None and at is not None:
        raise ConfigError("give either delay= or at=, not both")
    if key_window is not None and key is None:
        raise ConfigError("key_window= is of a key=: give that, too")
    options = TaskOptions(
        delay_ms=_ms(delay, "delay"),
        at_ms=None if at is None else _wall_ms(at),
        expires_ms=_ms(expires, "expires", least=1),
        key=None if key is None else _key(key),
        key_window_ms=_ms(key_window, "key_window", least=1),
        retries=None if retries is None else check_retries(retries),
        backoff_ms=_ms(backoff, "backoff"),
        backoff_max_ms=_ms(backoff_max, "backoff_max"),
        resubmit=None if resubmit is None else check_resubmit(resubmit),
    )
    return None if options == _NOTHING else options


_NOTHING = TaskOptions()


def check_retries(value: Any) -> int:
    """A number of retries. Raises `ConfigError`."""
    if type(value) is not int or not 0 <= value <= RETRIES_MAX:
        raise ConfigError(f"retries must be a number from 0 to {RETRIES_MAX}, not {value!r}")
    return value


def check_resubmit(value: Any) -> bool:
    """Whether to send something again. Raises `ConfigError`."""
    if type(value) is not bool:
        raise ConfigError(f"resubmit must be True or False, not {value!r}")
    return value


def _ms(value: Any, what: str, *, least: int = 0) -> int | None:
    if value is None:
        return None
    ms = 1000 * check_seconds(value, what, above_zero=least > 0)
    if ms > SPAN_MS_MAX:
        raise ConfigError(f"{what} must be at most {SPAN_MS_MAX // 1000} seconds, not {value!r}")
    return max(least, math.ceil(ms))


def _wall_ms(value: Any) -> int:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ConfigError(f"at must know its time zone, as in datetime.now(UTC), not {value!r}")
        value = value.timestamp()
    ms = 1000 * check_seconds(value, "at")
    if ms > WALL_MS_MAX:
        raise ConfigError(f"at must be seconds since 1970, before the year 9999, not {value!r}")
    return math.ceil(ms)


def _key(value: Any) -> str:
    try:
        if isinstance(value, str) and 1 <= len(value.encode()) <= KEY_BYTES_MAX:
            return value
    except UnicodeEncodeError:
        pass
    raise ConfigError(f"key must be a text of 1 to {KEY_BYTES_MAX} bytes, not {value!r:.80}")
