"""The tree of errors, as its module draws it."""

from __future__ import annotations

import inspect
import queue
import re
from typing import Any

import pytest

import zqueue
from zqueue import errors

CLASSES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if cls.__module__ == errors.__name__
]


def drawn_tree() -> dict[str, str]:
    """Class to base, read from the picture in the module's docstring."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ([│├└─ ]*)(\w+)", line)
        if match:
            depth = len(match[1]) // 4
            del path[depth:]
            if path:
                parents[match[2]] = path[-1]
            path.append(match[2])
    return parents


def test_the_picture_is_the_tree() -> None:
    real = {
        cls.__name__: cls.__bases__[0].__name__
        for cls in CLASSES
        if issubclass(cls, errors.ZQueueError) and cls is not errors.ZQueueError
    }
    assert drawn_tree() == real


def test_all_but_the_traceback_are_ours_to_catch() -> None:
    others = {cls.__name__ for cls in CLASSES if not issubclass(cls, errors.ZQueueError)}
    assert others == {"RemoteTraceback"}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (errors.BodyError, TypeError),
        (errors.BodyTooLarge, ValueError),
        (errors.InvalidName, ValueError),
        (errors.ConfigError, ValueError),
        (errors.LoadError, ImportError),
        (errors.Closed, RuntimeError),
        (errors.QueueFull, queue.Full),
        (errors.BrokerLost, ConnectionError),
        (errors.TimedOut, TimeoutError),
        (errors.TaskTimeout, TimeoutError),
    ],
)
def test_may_be_caught_as_in_the_standard_library(ours: type, theirs: type) -> None:
    assert issubclass(ours, theirs)


def test_texts() -> None:
    assert str(errors.Refused("full", "no room")) == "no room (full)"
    assert errors.Refused("full", "no room").code == "full"
    error = errors.ProtocolError("malformed", "what?")
    assert (str(error), error.code) == ("what?", "malformed")
    assert str(errors.RemoteError("ValueError", "no")) == "ValueError: no"
    assert str(errors.RemoteError("ValueError", "")) == "ValueError"
    assert str(errors.TaskTimeout(text="over 3 s")) == "TaskTimeout: over 3 s"
    assert str(errors.RemoteTraceback("lines")) == "\nlines"


def test_a_partial_failure_keeps_its_own_copy() -> None:
    failures: dict[int, BaseException] = {2: ValueError()}
    error = errors.PartialFailure(failures)
    failures.clear()
    assert str(error) == "1 of the batch failed"
    assert list(error.failures) == [2]


def test_users_find_them_in_the_package() -> None:
    exported: list[Any] = [cls for cls in CLASSES if getattr(zqueue, cls.__name__, None) is cls]
    missing = {cls.__name__ for cls in CLASSES} - {cls.__name__ for cls in exported}
    assert missing <= {"RemoteTraceback", "ProtocolError", "PeerError", "LocalError"}, missing
