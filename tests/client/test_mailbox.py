"""A loop's mailbox: it is woken once for all that was posted, and nothing is left in it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import Any

import pytest

from zqueue.client.mailbox import Mailbox, aside, mailbox_of, wait_in_loop


class Loop(asyncio.SelectorEventLoop):
    """Counts how often it is woken."""

    woken = 0

    def call_soon_threadsafe(self, *args: Any, **kwargs: Any) -> Any:
        self.woken += 1
        return super().call_soon_threadsafe(*args, **kwargs)


@pytest.fixture
def loop() -> Any:
    loop = Loop()
    yield loop
    loop.close()


def turn(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_until_complete(asyncio.sleep(0))


def test_one_wake_up_is_for_all(loop: Loop) -> None:
    mailbox, made = Mailbox(loop), list[int]()
    for number in range(100):
        mailbox.post(made.append, number)
    turn(loop)
    assert made == list(range(100))
    assert loop.woken == 1
    mailbox.post(made.append, 100)
    turn(loop)
    assert made[-1] == 100
    assert loop.woken == 2


def test_what_a_call_posts_is_made_in_the_same_turn(loop: Loop) -> None:
    mailbox, made = Mailbox(loop), list[int]()
    mailbox.post(lambda: mailbox.post(made.append, 1))
    turn(loop)
    turn(loop)
    assert made == [1]


def test_a_loop_that_is_closed_makes_none(loop: Loop) -> None:
    mailbox = Mailbox(loop)
    loop.close()
    mailbox.post(pytest.fail, "nobody is there")
    assert repr(mailbox) == "<Mailbox with 0 calls>"


def test_many_threads(loop: Loop) -> None:
    mailbox, made = Mailbox(loop), list[int]()

    async def main() -> None:
        def post() -> None:
            for number in range(1000):
                mailbox.post(made.append, number)

        threads = [threading.Thread(target=post) for _ in range(4)]
        for thread in threads:
            thread.start()
        while len(made) < 4000:
            await asyncio.sleep(0.001)
        for thread in threads:
            thread.join()

    loop.run_until_complete(asyncio.wait_for(main(), 20))
    assert sorted(made) == sorted(list(range(1000)) * 4)


def test_each_loop_has_its_own(loop: Loop) -> None:
    other = asyncio.new_event_loop()
    assert mailbox_of(loop) is mailbox_of(loop) is not mailbox_of(other)
    other.close()


def test_a_call_that_waits_is_made_aside() -> None:
    async def main() -> None:
        told = threading.Event()
        waiting = asyncio.create_task(aside(told.wait, 20))
        await asyncio.sleep(0)
        told.set()
        assert await waiting is True
        with pytest.raises(ZeroDivisionError):
            await aside(lambda: 1 / 0)

    asyncio.run(main())


def test_a_future_of_another_thread() -> None:
    async def result(future: Future[int]) -> int:
        class Awaitable:
            def __await__(self) -> Any:
                return wait_in_loop(future)

        return await Awaitable()

    async def main() -> None:
        future = Future[int]()
        threading.Timer(0, future.set_result, [1]).start()
        assert await result(future) == 1
        assert await result(future) == 1  # It is done already.
        cancelled = Future[int]()
        task = asyncio.create_task(result(cancelled))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cancelled.cancelled()
        with pytest.raises(asyncio.CancelledError):
            await result(cancelled)

    asyncio.run(main())
