"""A broker for a test, and the wires to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .bare_client import Wires
from .processes import broker


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/b"


@pytest.fixture
def wires(url: str) -> Iterator[Wires]:
    with broker(url), Wires(url) as wires:
        yield wires
