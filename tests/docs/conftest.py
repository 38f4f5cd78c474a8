"""A broker for a test, and the wires to it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from .bare_client import Wires
from .commands import Shell
from .processes import broker


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/b"


@pytest.fixture
def wires(url: str) -> Iterator[Wires]:
    with broker(url), Wires(url) as wires:
        yield wires


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    for process in reversed(shell.started):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
