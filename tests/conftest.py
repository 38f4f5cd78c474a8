"""What all tests share."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]

# A busy machine is no failure.
settings.register_profile("zqueue", deadline=None, print_blob=True)
settings.register_profile("quick", settings.get_profile("zqueue"), max_examples=25)
settings.load_profile("zqueue")

# The background of a shell ignores SIGINT, and processes inherit that. With a handler of ours they
# begin with the default.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, lambda *_: None)


@pytest.fixture
def often() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Where tests run side by side, let none run beside one that is marked ``alone``."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    how = fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH
    with contextlib.ExitStack() as opened:
        # Whoever waits for the room stands in the door, so that nobody overtakes it.
        door, room = (
            opened.enter_context((ROOT / name).open()) for name in ("setup.py", "tox.ini")
        )
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, how)
        fcntl.flock(door, fcntl.LOCK_UN)
        return (yield)
