"""Shards: ``zqueue broker --shards N`` is N brokers that end together."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

import zqueue
from tests.system.harness import ask, wait_until

pytestmark = pytest.mark.system


def state_of(url: str) -> dict[str, Any]:
    return ask(url, timeout=0.2) or {}


def wait_for(url: str, *, other_than: int = 0) -> dict[str, Any]:
    """The state of a shard that answers, of another process than before."""
    wait_until(lambda: state_of(url).get("pid", other_than) != other_than, what=f"a shard at {url}")
    return state_of(url)


def test_one_that_is_killed_is_started_again_and_all_end_together(
    processes: Any, tmp_path: Any, produce: Any
) -> None:
    bind = f"ipc://{tmp_path}/s"
    urls = [f"{bind}-1", f"{bind}-2"]
    data = str(tmp_path / "data")
    keeper = processes.zqueue("broker", "--bind", bind, "--shards", "2", "--data-dir", data)
    states = [wait_for(url) for url in urls]
    assert [state["shard"] for state in states] == ["1 of 2", "2 of 2"]
    assert (tmp_path / "data" / "shard-2" / "zqueue-store").exists()
    producer: zqueue.Producer = produce(",".join(urls))
    assert producer.send_many("q", range(10_000)) == 10_000
    producer.flush()
    os.kill(states[0]["pid"], signal.SIGKILL)
    again = wait_for(urls[0], other_than=states[0]["pid"])
    held = [state["queues"].get("q", {"ready": 0})["ready"] for state in (again, state_of(urls[1]))]
    assert sum(held) == 10_000
    keeper.send(signal.SIGTERM)
    assert keeper.wait(20) == 0
    assert all(ask(url, timeout=0.2) is None for url in urls)


@pytest.mark.parametrize("option", ["--ingest", "--egress"])
def test_the_plain_lane_is_of_one_broker(run: Any, option: str) -> None:
    url = "tcp://127.0.0.1:5999"
    value = url if option == "--ingest" else f"q={url}"
    done = run("broker", "--shards", "2", option, value)
    assert done.returncode == 2
    assert "--shards" in done.stderr
