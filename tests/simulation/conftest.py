"""The simulation watches methods of the machines, which compiled ones do not have."""

from __future__ import annotations

import pytest

from zqueue.wire.codec import COMPILED


@pytest.fixture(autouse=True)
def _interpreted() -> None:
    if COMPILED:
        pytest.skip("what is compiled cannot be watched: tox -e interpreted runs this")
