"""The tree of errors, as its module draws it."""

from __future__ import annotations

import copy
import importlib
import inspect
import multiprocessing
import pickle
import pkgutil
import queue
import re
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import zqueue
from zqueue import errors
from zqueue.deploy.facts import Fault
from zqueue.deploy.rollout import HostUnready, Stopped
from zqueue.deploy.ssh import HostFailed, HostLost

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


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (errors.BodyError, TypeError),
        (errors.BodyTooLarge, ValueError),
        (errors.InvalidName, ValueError),
        (errors.ConfigError, ValueError),
        (errors.InvalidFailures, TypeError),
        (errors.InvalidFailures, ValueError),
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


class Index:
    """An integer of another library, as a data frame gives them."""

    def __index__(self) -> int:
        return 3


def test_a_partial_failure_takes_positions_only() -> None:
    error = ValueError("x")
    failures: Any = {Index(): error, 0: error}
    assert list(errors.PartialFailure(failures).failures.items()) == [(3, error), (0, error)]
    for key in ("0", "a17", -1, True, None, 1.0, (1,), b"0"):
        failures = {0: error, key: error}
        with pytest.raises(errors.InvalidFailures, match="is not a position in the batch"):
            errors.PartialFailure(failures)


# --- across processes ---


class TheirOwn(errors.RemoteError):
    """As a user may write one: its `__init__` takes other things than a text."""

    def __init__(self, order: int, *, customer: str) -> None:
        super().__init__("TheirOwn", f"order {order}")
        self.customer = customer


class TheirConnection(errors.BrokerLost):
    """One whose built-in base keeps fields of its own."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "no route")
        self.number = number


def with_cause() -> errors.RemoteError:
    error = errors.RemoteError("ValueError", "no")
    error.__cause__ = errors.RemoteTraceback("line 7")
    error.add_note("seen by the caller")
    return error


SAMPLES: dict[str, Callable[[], BaseException]] = {
    "ProtocolError": lambda: errors.ProtocolError("malformed", "what?"),
    "Refused": lambda: errors.Refused("full", "no room"),
    "RemoteError": lambda: errors.RemoteError("ValueError", "no"),
    "a remote cause": with_cause,
    "TaskTimeout": lambda: errors.TaskTimeout(text="over 3 s"),
    "TaskTimeout, bare": errors.TaskTimeout,
    "WorkerLost": lambda: errors.WorkerLost("WorkerLost", "3 died"),
    "UnknownTask": lambda: errors.UnknownTask("UnknownTask", "x"),
    "PartialFailure": lambda: errors.PartialFailure({1: ValueError("x")}),
    "LoadError, with a name": lambda: errors.LoadError("no module", name="shop", path="shop.py"),
    "BrokerLost, with a number": lambda: errors.BrokerLost(111, "refused"),
    "HostFailed": lambda: HostFailed("h1", "no"),
    "HostLost": lambda: HostLost("h1", "no"),
    "HostUnready": lambda: HostUnready("h1", "no"),
    "Stopped": lambda: Stopped([Fault("h1", "no")]),
    "TheirOwn": lambda: TheirOwn(7, customer="them"),
    "TheirConnection": lambda: TheirConnection(113),
}
SPECIAL = {
    "HostFailed", "HostLost", "HostUnready", "PartialFailure", "ProtocolError", "Refused",
    "RemoteError", "Stopped", "UnknownTask", "WorkerLost",
}  # fmt: skip


def every_class() -> list[type[errors.ZQueueError]]:
    """All errors of the package, also those of its programs."""
    for module in pkgutil.walk_packages(zqueue.__path__, "zqueue."):
        if not module.name.startswith(("zqueue.bench", "zqueue.top", "zqueue.__main__")):
            importlib.import_module(module.name)
    found, left = [], [errors.ZQueueError]
    while left:
        found.append(left.pop())
        left += found[-1].__subclasses__()
    return [cls for cls in found if cls.__module__.startswith("zqueue.")]


def with_samples() -> dict[str, Callable[[], BaseException]]:
    plain = {cls.__name__: cls for cls in every_class() if cls.__name__ not in SPECIAL}
    return {name: (lambda cls=cls: cls("why")) for name, cls in plain.items()} | SAMPLES


def as_seen(error: BaseException) -> dict[str, Any]:
    """All that a caller can see of an error."""
    names = ("code", "type_name", "text", "customer", "number", "errno", "strerror", "name", "path")
    fields = {name: getattr(error, name, None) for name in names}
    failures = getattr(error, "failures", {})
    return fields | {
        "type": type(error), "str": str(error), "args": error.args, "cause": repr(error.__cause__),
        "notes": getattr(error, "__notes__", None),
        "failures": {n: repr(failures[n]) for n in failures},
    }  # fmt: skip


@pytest.mark.parametrize(
    "make", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))]
)
def test_every_error_can_be_copied_and_pickled(make: Callable[[Any], Any]) -> None:
    for name, sample in with_samples().items():
        error = sample()
        assert as_seen(make(error)) == as_seen(error), name
        assert as_seen(make(make(error))) == as_seen(error), name


def raise_sample(name: str) -> None:
    error = SAMPLES[name]()
    raise error


def test_a_process_pool_outlives_every_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cannot be unpickled breaks the pool: all that it still had to do fails, too."""
    # Its processes import this file, and zqueue from where it is installed.
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parents[1])])
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        for name, sample in SAMPLES.items():
            error = pool.submit(raise_sample, name).exception(timeout=60)
            assert error is not None
            assert (type(error), str(error)) == (type(sample()), str(sample())), name
        assert pool.submit(len, "abc").result(timeout=60) == 3
