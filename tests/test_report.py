"""A broker's state in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest

from zqueue.errors import BrokerLost
from zqueue.interpreted import NOTE
from zqueue.report import (
    describe_info,
    describe_queues,
    health_problems,
    queues_as_data,
    repeat,
)


def state(**more: Any) -> dict[str, Any]:
    """What a broker tells, with nothing going on."""
    return {
        "url": "tcp://127.0.0.1:5555", "version": "0.1", "compiled": True, "pid": 7,
        "uptime_s": 3600.2,
        "rss_bytes": 30_000_000, "draining": False, "bytes": 1234, "bytes_max": 1 << 30,
        "producers": 2, "queues": {}, "workers": [], "counters": {"published": 0}, **more,
    }  # fmt: skip


def queue(**more: Any) -> dict[str, Any]:
    return {"ready": 0, "delayed": 0, "due_in_s": None, "leased": 0, "bytes": 0, "workers": 0,
            "withheld": 0, "plain": False,
            **more}  # fmt: skip


WORKER = {
    "id": "77", "pid": 8, "host": "here", "queues": ["a", "b"], "credit": 50, "in_flight": 12,
    "report": {"done": 12_345, "failed": 1},
}  # fmt: skip


def test_an_interpreted_broker_and_worker() -> None:
    slow = {**WORKER, "report": {"compiled": False}}
    workers = [slow, {**WORKER, "report": {"compiled": True}}, {**WORKER, "report": {}}]
    broker, _held, of_broker, of_workers, *_ = describe_info(
        state(compiled=False, workers=workers), "tcp://x:1"
    ).splitlines()
    assert "(interpreted)" in broker
    assert of_broker == f"it runs {NOTE}"
    assert of_workers == f"1 of 3 workers run {NOTE}"


def test_a_busy_broker() -> None:
    text = describe_info(
        state(
            draining=True,
            queues={"mail": queue(ready=5_000, delayed=3, due_in_s=7.25, leased=12, workers=1)},
            workers=[WORKER],
            counters={"published": 9, "failed": 0},
        ),
        "tcp://x:1",
    )
    assert "memory 29 MiB  DRAINING" in text
    lines = text.splitlines()
    assert [line.split() for line in lines if line.startswith("mail")] == [
        ["mail", "5,000", "3", "in", "7.2", "s", "12", "0", "B", "1"]
    ]
    assert [line.split() for line in lines if line.startswith("pid")] == [
        ["pid", "8", "here", "a,b", "50", "12", "12,345", "1"]
    ]
    assert [line.split() for line in lines if line.startswith("published")] == [["published", "9"]]
    assert "failed  " not in text.split("counter")[1]


def test_queues_that_are_held_up() -> None:
    text = describe_info(
        state(
            queues={
                "a": queue(paused=True, draining=False), "b": queue(paused=True, draining=True),
                "c": queue(withheld=2), "old": queue(),
            }
        ),
        "tcp://x:1",
    )  # fmt: skip
    assert (
        "\n\nqueue 'a' is paused: nothing is handed out\n"
        "queue 'b' is paused: nothing is handed out\n"
        "queue 'b' is draining: it takes nothing new\n"
        "queue 'c' is full: its producers wait\n\n"
    ) in text
    assert "'old'" not in text


class TestQueues:
    def test_states(self) -> None:
        queues = {
            "a": queue(), "b": queue(withheld=1, ready=5_000), "c": queue(paused=True, withheld=1),
            "d": queue(draining=True), "e": queue(paused=True, draining=True),
        }  # fmt: skip
        data = queues_as_data(state(queues=queues))
        states = [(one["queue"], one["state"]) for one in data]
        assert states == [
            ("a", "running"), ("b", "full"), ("c", "paused"), ("d", "draining"),
            ("e", "paused, draining"),
        ]  # fmt: skip
        json.dumps(data)
        header, _, b, *_ = describe_queues(data).splitlines()
        assert header.split() == [
            "queue", "state", "ready", "delayed", "next", "due", "leased", "bytes", "workers"
        ]  # fmt: skip
        assert b.split() == ["b", "full", "5,000", "0", "-", "0", "0", "0"]


class TestRepeat:
    """Looks that end it, as Ctrl-C does."""

    def looks(self, *told: str | Exception) -> Callable[[], str]:
        left = list(told)

        def look() -> str:
            if not left:
                raise KeyboardInterrupt
            one = left.pop(0)
            if isinstance(one, Exception):
                raise one
            return one

        return look

    def test_prints_again(self, capsys: pytest.CaptureFixture[str]) -> None:
        repeat(self.looks("a", "b"), 0.01, clears=False)
        assert capsys.readouterr() == ("a\nb\n", "")

    def test_goes_on_without_a_broker(self, capsys: pytest.CaptureFixture[str]) -> None:
        lost = BrokerLost("it is gone")
        repeat(self.looks("a", lost, lost, "b", lost), 0.01, clears=False)
        told = capsys.readouterr()
        assert told.out == "a\nb\n"
        assert told.err == "zqueue: it is gone\n" * 2, "once each time"

    def test_keeps_to_its_grid(self, capsys: pytest.CaptureFixture[str]) -> None:
        began = monotonic()
        repeat(self.looks(*"abcdef"), 0.05, clears=False)
        assert monotonic() - began >= 5 * 0.05


class TestHealth:
    def test_not_well(self) -> None:
        sick = state(
            draining=True,
            queues={
                "a": queue(ready=5_000, withheld=1, workers=1),
                "b": queue(ready=3),
                "out": queue(ready=3, plain=True),
                "idle": queue(),
            },
        )
        assert health_problems(sick, need_workers=True) == [
            "the broker is draining",
            "queue 'a' is full: 5,000 tasks are ready",
            "queue 'b' has 3 tasks and no worker",
            "there are no workers",
        ]
        assert health_problems(sick, need_workers=False) == [
            "the broker is draining",
            "queue 'a' is full: 5,000 tasks are ready",
        ]
