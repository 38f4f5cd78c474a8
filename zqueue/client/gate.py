"""Whether this process may send at all: a worker may not while it imports the app it runs.

Every worker of a pool imports the app, again after each restart; a task that is sent by an import
would be sent by each of them. What its tasks send is not sent under the app's name: that is for one
process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ConfigError

_why_not: str | None = None
_may_use_names = True


@contextmanager
def sending_refused(why: str) -> Iterator[None]:
    """No producer of this process connects in here, in any thread."""
    global _why_not
    _why_not = why
    try:
        yield
    finally:
        _why_not = None


def check_may_send() -> None:
    """Raises `ConfigError` inside of `sending_refused`."""
    if _why_not is not None:
        raise ConfigError(_why_not)


def forbid_names() -> None:
    """Apps of this process send without their names: it is a worker, one of many of that app."""
    global _may_use_names
    _may_use_names = False


def may_use_names() -> bool:
    """Whether an app of this process sends under its name."""
    return _may_use_names
