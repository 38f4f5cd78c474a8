"""A broker's state in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest

from zqueue.errors import BrokerLost
from zqueue.protocol.codec import pack
from zqueue.report import (
    dead_as_data,
    describe_control,
    describe_dead,
    describe_info,
    describe_queues,
    health_problems,
    queues_as_data,
    repeat,
    table,
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
    return {"ready": 0, "leased": 0, "bytes": 0, "workers": 0, "withheld": 0, "plain": False,
            **more}  # fmt: skip


WORKER = {
    "id": "77", "pid": 8, "host": "here", "queues": ["a", "b"], "credit": 50, "in_flight": 12,
    "report": {"done": 12_345, "failed": 1},
}  # fmt: skip


def test_a_table_has_numbers_to_the_right() -> None:
    assert table(("queue", "ready"), [("mail", 5), ("q", 12_345)]) == (
        "queue  ready\nmail       5\nq      12,345".replace("ready", "ready ").replace(
            "mail       5", "mail        5"
        )
    ).replace("ready \n", "ready\n")


def test_an_idle_broker() -> None:
    text = describe_info(state(), "tcp://x:1")
    assert text == (
        "broker tcp://127.0.0.1:5555  zqueue 0.1 (compiled)  pid 7  up 3,600 s  memory 30 MB\n"
        "holds 1,234 of 1,073,741,824 bytes  producers 2\n\n"
        "no workers: start some with 'zqueue worker APP'"
    )


def test_a_busy_broker() -> None:
    text = describe_info(
        state(
            draining=True,
            queues={"mail": queue(ready=5_000, leased=12, workers=1)},
            workers=[WORKER],
            counters={"published": 9, "failed": 0},
        ),
        "tcp://x:1",
    )
    assert "memory 30 MB  DRAINING" in text
    lines = text.splitlines()
    assert [line.split() for line in lines if line.startswith("mail")] == [
        ["mail", "5,000", "12", "0", "1"]
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
    def test_none(self) -> None:
        assert describe_queues(queues_as_data(state())) == (
            "no queues: a queue is made when something is sent to it"
        )

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
        assert header.split() == ["queue", "state", "ready", "leased", "bytes", "workers"]
        assert b.split() == ["b", "full", "5,000", "0", "0", "0"]

    def test_what_was_done(self) -> None:
        answer = {"queue": "a", "paused": True, "draining": False}
        assert describe_control(answer) == "queue 'a' is paused"
        assert describe_control({**answer, "paused": False}) == "queue 'a' is as usual"


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

    def test_clears_the_screen(self, capsys: pytest.CaptureFixture[str]) -> None:
        repeat(self.looks("a"), 0.01, clears=True)
        assert capsys.readouterr().out == "\x1b[H\x1b[2Ja\n"

    def test_goes_on_without_a_broker(self, capsys: pytest.CaptureFixture[str]) -> None:
        lost = BrokerLost("it is gone")
        repeat(self.looks("a", lost, lost, "b", lost), 0.01, clears=False)
        told = capsys.readouterr()
        assert told.out == "a\nb\n"
        assert told.err == "zqueue: it is gone\n" * 2, "once each time"

    def test_a_broker_that_never_was_there(self) -> None:
        with pytest.raises(BrokerLost):
            repeat(self.looks(BrokerLost("no")), 0.01, clears=False)

    def test_keeps_to_its_grid(self, capsys: pytest.CaptureFixture[str]) -> None:
        began = monotonic()
        repeat(self.looks(*"abcdef"), 0.05, clears=False)
        assert monotonic() - began >= 5 * 0.05


class TestDead:
    def answer(self, body: bytes, error: bytes = b"") -> dict[str, Any]:
        return {"total": 1234, "letters": [["mail", "send", body, "failed", error, 3]]}

    def test_none(self) -> None:
        assert describe_dead({"total": 0, "letters": []}) == "no dead letters"

    def test_in_words(self) -> None:
        answer = self.answer(pack([["a@b.c"]]), pack(["ValueError", "no", "lines"]))
        assert describe_dead(answer) == (
            "1,234 dead letters since the start; the newest:\n"
            "mail/send  failed  attempt 3  ValueError: no\n"
            "    ['a@b.c']"
        )

    def test_as_data(self) -> None:
        answer = self.answer(pack([{"x": b"\x01\xff", 1: None}]), pack(["E", "no", ""]))
        (letter,) = dead_as_data(answer)["letters"]
        assert letter == {
            "queue": "mail", "task": "send", "reason": "failed", "attempt": 3,
            "body": {"x": "01ff", "1": None}, "error": ["E", "no", ""],
        }  # fmt: skip
        json.dumps(letter)

    @pytest.mark.parametrize("body", [b"", b"\xc1", b"\x94\x01\x02\xc1", pack([1, 2])], ids=repr)
    def test_a_body_that_is_none(self, body: bytes) -> None:
        (letter,) = dead_as_data(self.answer(body))["letters"]
        assert letter["body"] == body.hex()
        assert letter["error"] is None
        assert "failed  attempt 3  ?" in describe_dead(self.answer(body))


class TestHealth:
    def test_well(self) -> None:
        busy = state(queues={"a": queue(ready=5, workers=1)}, workers=[WORKER])
        assert health_problems(busy, need_workers=True) == []
        assert health_problems(state(), need_workers=False) == []

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
