"""What gathers in a loop: when it leaves, and what becomes of each future."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.client.test_publisher import Owner
from zqueue.client.lane import BATCH_TASKS, Lane
from zqueue.client.loop_lane import LoopFuture, LoopLanes
from zqueue.errors import BodyError, BrokerLost, QueueFull, RemoteError
from zqueue.wire.codec import pack
from zqueue.wire.messages import CANCELLED, FAILED, RESULTS
from zqueue.wire.options import TaskOptions
from zqueue.wire.unpacking import unpack_bodies

Test = Callable[["Scene"], Coroutine[Any, Any, None]]


class Scene:
    """Lanes of a loop, and an exchange that notes what it is asked for."""

    def __init__(self) -> None:
        self.lanes = LoopLanes(self, lambda *place, **asked: Lane(Owner(), *place, **asked))
        self.published: list[tuple[list[Any], Any]] = []
        self.cancelled: list[Any] = []
        self.full = False

    def publish(
        self, lane: Lane, frame: bytes, tasks: int, promise: Any, *, since: float | None
    ) -> None:
        if self.full:
            raise QueueFull("so much is unconfirmed")
        bodies = unpack_bodies(frame)
        assert len(bodies) == tasks
        promise.numbered(7, len(self.published) + 1)
        self.published.append((bodies, promise))

    def ask_to_cancel(self, queue: str, places: list[Any]) -> None:
        self.cancelled += places

    def add(
        self, body: object, *, results: bool = True, options: TaskOptions | None = None
    ) -> LoopFuture[Any]:
        return self.lanes.add("q", body, "t", results, options)

    @property
    def bodies(self) -> list[list[Any]]:
        return [bodies for bodies, _ in self.published]

    async def end(self, number: int, error: Any = None) -> None:
        self.published[number][1].end(error)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def in_loop(test: Test) -> Callable[[], None]:
    """A test that runs in a loop."""

    def run() -> None:
        asyncio.run(test(Scene()))

    return run


async def _leaves_together(scene: Scene) -> None:
    for number in range(5):
        scene.add(number)
    assert scene.bodies == [[0]]
    await scene.end(0)
    assert scene.bodies == [[0], [1, 2, 3, 4]]
    await scene.end(1)
    scene.add(5)
    assert scene.bodies[2:] == [[5]]


test_what_is_sent_meanwhile_leaves_together = in_loop(_leaves_together)


async def _full_batch(scene: Scene) -> None:
    for number in range(BATCH_TASKS + 2):
        scene.add(number)
    assert [len(bodies) for bodies in scene.bodies] == [1, BATCH_TASKS]


test_a_full_batch_leaves_at_once = in_loop(_full_batch)


async def _no_room(scene: Scene) -> None:
    futures = [scene.add(number) for number in range(BATCH_TASKS + 1)]
    scene.full = True
    with pytest.raises(QueueFull):
        scene.add("one more")
    scene.full = False
    await scene.end(0)  # Those before gather still.
    assert len(scene.bodies[1]) == BATCH_TASKS
    assert not any(future.done() for future in futures)


test_what_has_no_room_is_refused_and_the_rest_goes_on = in_loop(_no_room)


async def _results(scene: Scene) -> None:
    first, second = scene.add(1), scene.add(2)
    await scene.end(0)
    promise = scene.published[0][1]
    promise.reply().take(0, 1, RESULTS, pack(["one"]), last=True)
    assert await first == "one"
    promise = scene.published[1][1]
    promise.progress(0, 1, 2)
    await asyncio.sleep(0)
    assert second.progress == (1, 2)
    promise.take(0, 1, FAILED, pack([["ValueError", "no", ""]]), last=True)
    with pytest.raises(RemoteError, match="no"):
        await second
    assert (first.id, second.id) == ("000000000007-1-0", "000000000007-2-0")


test_results = in_loop(_results)


async def _confirms(scene: Scene) -> None:
    first, second = scene.add(1, results=False), scene.add(2, results=False)
    assert scene.published[0][1].reply() is None
    await scene.end(0)
    assert await first is None
    await scene.end(1, QueueFull("full"))
    with pytest.raises(QueueFull, match="full"):
        await second


test_without_results_a_confirm_is_awaited = in_loop(_confirms)


async def _lost(scene: Scene) -> None:
    futures = [scene.add(number) for number in range(3)]
    await scene.end(0, BrokerLost("nobody"))
    for future in futures:  # Those that gathered would wait as long again.
        with pytest.raises(BrokerLost):
            await future
    assert len(scene.bodies) == 1


test_without_a_broker_all_have_failed = in_loop(_lost)


async def _cancelling(scene: Scene) -> None:
    futures = [scene.add(number) for number in range(4)]
    assert futures[2].cancel()
    await scene.end(0)
    assert scene.bodies == [[0], [1, 3]]
    assert scene.cancelled == []
    assert futures[0].cancel()
    assert futures[3].cancel()
    assert not futures[3].cancel()
    await asyncio.sleep(0)
    assert scene.cancelled == [(7, 1, 0), (7, 2, 1)]
    scene.published[1][1].take(0, 1, CANCELLED, b"", last=False)
    await asyncio.sleep(0)
    assert futures[1].cancelled()


test_what_is_cancelled_does_not_leave_or_is_asked_for = in_loop(_cancelling)


async def _options(scene: Scene) -> None:
    keyed = [TaskOptions(key=str(number)) for number in range(3)]
    for options in keyed:
        scene.add(1, options=options)
    assert scene.bodies == [[1]] * 3
    (lanes,) = scene.lanes._lanes.values()
    assert len(lanes) == 3
    for number in range(3):
        await scene.end(number)
    assert not lanes  # They may never come again.
    scene.add(2, options=keyed[0])
    scene.add(3, options=keyed[0])
    await scene.end(3)
    assert scene.bodies[3:] == [[2], [3]]


test_lanes_of_options_are_forgotten = in_loop(_options)


async def _mistakes(scene: Scene) -> None:
    with pytest.raises(BodyError):
        scene.add(object())
    scene.add(1)
    scene.add(2)
    scene.lanes.leave()
    assert scene.bodies == [[1], [2]]


test_a_body_that_cannot_be_sent_is_left_out = in_loop(_mistakes)


def test_out_of_a_loop_there_is_none() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        Scene().add(1)
