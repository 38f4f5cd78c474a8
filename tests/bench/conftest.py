"""A result that was recorded, to be read and spoilt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zqueue.bench.result import Result

RECORDED = Path(__file__).with_name("recorded.json")


@pytest.fixture
def data() -> dict[str, Any]:
    """What ``zqueue bench queue pool memory gc --quick --runs 2`` wrote, and some of its cases."""
    recorded: dict[str, Any] = json.loads(RECORDED.read_text())
    return recorded


@pytest.fixture
def result(data: dict[str, Any]) -> Result:
    """The same, read."""
    return Result.from_data(data)


@pytest.fixture
def put(result: Result) -> Callable[..., None]:
    """``put("pool", "send", "zqueue", rate=(1.0, 2.0))``: other values for some figures."""
    from zqueue.bench.result import make_figures

    def change(component: str, case: str, subject: str, **values: tuple[float, ...]) -> None:
        found = result.find(component, case, subject)
        assert found is not None
        named = {name.replace("_of_", ":"): row for name, row in values.items()}
        found.figures.update(make_figures(named))

    return change
