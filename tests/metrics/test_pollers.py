"""Pollers come and go with a list of brokers. (Real brokers: test_process.)"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.harness import wait_until
from zqueue.metrics.pollers import Pollers


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    return tmp_path / "brokers"


@pytest.fixture
def pollers(listed: Path) -> Iterator[Pollers]:
    """Those of a list that is not there yet, and of one address."""
    made = Pollers(("ipc:///always", f"file://{listed}"))
    made.start()
    yield made
    made.stop()


def name(listed: Path, *urls: str) -> None:
    new = listed.with_suffix(".new")
    new.write_text("\n".join(urls))
    new.replace(listed)


def test_they_follow_the_list(pollers: Pollers, listed: Path) -> None:
    def urls() -> list[str]:
        pollers.follow()
        return [poller.watch.url for poller in pollers]

    assert urls() == ["ipc:///always"]
    name(listed, "ipc:///a", "ipc:///b")
    wait_until(lambda: urls() == ["ipc:///always", "ipc:///a", "ipc:///b"])
    always, gone, stays = pollers
    wait_until(lambda: stays.polls, what="a query")
    name(listed, "ipc:///c", "ipc:///b")
    wait_until(lambda: urls() == ["ipc:///always", "ipc:///b", "ipc:///c"])
    assert pollers[:2] == (always, stays)
    wait_until(lambda: not gone.is_running)


def test_a_list_that_names_nobody_takes_nobody_away(pollers: Pollers, listed: Path) -> None:
    name(listed, "ipc:///a")
    wait_until(lambda: [pollers.follow(), len(pollers)][1] == 2)
    listed.unlink()
    wait_until(lambda: pollers.trouble, what="trouble")
    pollers.follow()
    assert len(pollers) == 2
