"""One monitored system for all tests that look at it: it takes seconds to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .monitored import Monitored, monitoring


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    with monitoring(tmp_path_factory.mktemp("monitored")) as monitored:
        yield monitored
