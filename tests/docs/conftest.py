"""A broker for a test, and the wires to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import zqueue
from tests.shell import Shell
from zqueue.testing import InProcess

from .bare_client import Wires
from .processes import HEARTBEAT_S, LIVENESS_S


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/b"


@pytest.fixture
def wires() -> Iterator[Wires]:
    """To a broker in a thread of ours."""
    times = {"heartbeat_s": HEARTBEAT_S, "liveness_s": LIVENESS_S}
    with InProcess(zqueue.App(), worker=False, **times) as pool, Wires(pool.url) as wires:
        yield wires


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell.stop()
