"""Structured logs of real processes."""

from __future__ import annotations

import json

import zqueue
from tests.system.harness import APPS, DEADLINE_S, Processes, wait_until


def test_every_line_is_json_and_names_the_task(processes: Processes) -> None:
    broker = processes.zqueue("--log-format", "json", "broker", "--bind", "tcp://127.0.0.1:*")
    said = wait_until(lambda: broker.err.splitlines(), what="the broker's first line")
    url = json.loads(said[0])["message"].split()[2]
    pool = processes.zqueue("--log-format", "json", "worker", str(APPS / "traced.py"), "--url", url)
    with zqueue.Producer(url) as producer:
        producer.submit("default", [1, 2], task="add").result(DEADLINE_S)
        producer.send("default", [], task="fail")

    def lines() -> list[dict[str, object]]:
        return [json.loads(line) for line in pool.err.splitlines()]

    wait_until(lambda: any(line["level"] == "error" for line in lines()), what="the failure")
    (adding,) = [line for line in lines() if line["logger"] == "shop"]
    assert adding["message"] == "adding 1"
    assert adding["task"] == "add"
    assert adding["attempt"] == 1
    assert str(adding["task_id"]).endswith("-1-0")
    (failure,) = [line for line in lines() if line["level"] == "error"]
    assert failure["task"] == "fail"
    assert str(failure["task_id"]).endswith("-2-0")
    assert "no such order" in str(failure["error"])
