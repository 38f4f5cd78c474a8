"""What a stream says that it took."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from zqueue.client.confirmation import Confirmation
from zqueue.errors import BrokerLost, QueueFull, ZQueueError
from zqueue.gateway import streaming
from zqueue.gateway.posting import Target
from zqueue.gateway.problems import Problem
from zqueue.gateway.room import Room
from zqueue.gateway.streaming import Stream
from zqueue.wire.unpacking import unpack


class Answers:
    """An outlet whose broker answers as it is told, and the last of these from then on."""

    def __init__(self, *answers: ZQueueError | None) -> None:
        self._answers = list(answers)
        self.published: list[list[Any]] = []

    def publish_packed(self, queue: str, frame: bytes, tasks: int, **_: Any) -> Confirmation:
        self.published.append(unpack(frame))
        confirmation = Confirmation(None, [])  # type: ignore[arg-type]
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        confirmation.end(answer)
        return confirmation


async def parts(count: int) -> AsyncIterator[bytes]:
    yield b"".join(b"%d\n" % number for number in range(count))


def refused(outlet: Answers, monkeypatch: pytest.MonkeyPatch) -> Problem:
    monkeypatch.setattr(streaming, "FULL_WAIT_S", 0.0)
    monkeypatch.setattr(streaming, "BATCH_MAX", 1)

    async def run() -> None:
        stream = Stream(outlet, Target("q"), Room(1 << 20), None)  # type: ignore[arg-type]
        await stream.take(parts(4))

    with pytest.raises(Problem) as raised:
        asyncio.run(run())
    return raised.value


def test_of_a_full_queue_all_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = refused(Answers(None, QueueFull("full")), monkeypatch)
    assert (problem.status, problem.further) == (429, {"accepted": 1})


def test_what_was_taken_behind_a_gap_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    full = QueueFull("full")
    outlet = Answers(None, full, None, full)
    problem = refused(outlet, monkeypatch)
    assert problem.status == 429
    assert outlet.published[:3] == [[0], [1], [2]]
    assert problem.further == {"accepted": 1, "behind": [(3, 3)]}


def test_of_a_lost_broker_nothing_more_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = refused(Answers(None, BrokerLost("gone")), monkeypatch)
    assert (problem.status, problem.further) == (503, {"accepted": 1})
