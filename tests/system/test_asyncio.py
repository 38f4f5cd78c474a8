"""An app in a loop of asyncio: what is awaited, what is cancelled; nothing blocks the loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import signal
import threading
import weakref

import pytest

import zqueue
from zqueue.testing import Cluster, InProcess, wait_until

pytestmark = pytest.mark.system

LONG_S = 20.0
NOBODY = "tcp://127.0.0.1:9"


SHOP = """
import zqueue

app = zqueue.App(retries=0)


@app.task
def double(number):
    return 2 * number


@app.task(queue="outer")
async def outer(number):
    await double.asend(number)
    double.send(number)
    return await double.call(number) + sum([r async for r in double.amap([number])])
"""


def _runners():
    """``asyncio.run``, and that of uvloop where it is installed."""
    yield pytest.param(asyncio.run, id="asyncio")
    try:
        import uvloop
    except ImportError:
        yield pytest.param(None, id="uvloop", marks=pytest.mark.skip("uvloop is not installed"))
    else:
        yield pytest.param(uvloop.run, id="uvloop")


@pytest.fixture(params=_runners())
def run(request):
    return request.param


@pytest.fixture
def app():
    app = zqueue.App(retries=0)

    @app.task
    def double(number: int) -> int:
        return 2 * number

    @app.task
    async def add(a, b=0):
        return a + b

    @app.task
    def step(steps):
        for done in range(steps + 1):
            zqueue.current().progress(done, steps)
        return steps

    @app.batch(queue="events")
    def index(bodies):
        pass

    app.double, app.add, app.step, app.index = double, add, step, index
    return app


@pytest.fixture
def pool(app):
    with InProcess(app) as pool:
        yield pool


class Ticks:
    """Counts how often the loop comes round while something is awaited."""

    def __init__(self):
        self.count = 0

    async def _tick(self):
        while True:
            await asyncio.sleep(0.005)
            self.count += 1

    async def __aenter__(self):
        self._task = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_):
        self._task.cancel()


async def until(condition, what):
    """`wait_until`, beside the loop."""
    return await asyncio.to_thread(wait_until, condition, LONG_S, what=what)


# --- what is awaited ---


def test_each_call(run, app, pool):
    async def main():
        async with app:
            assert await app.double.call(21) == 42
            assert await app.add.call(1, b=2) == 3
            assert await app.double.asubmit(4) == 8
            assert await app.double.submit(5) == 10
            assert await app.double.options(queue="default").call(6) == 12
            assert await app.double.asend(1) is None
            assert await app.index.call({"a": 1}) is None
            assert await app.index.asend({"a": 2}) is None
            assert await app.index.asubmit({"a": 3}) is None
            assert await app.producer.asubmit("default", [7], task="double") == 14
            assert await app.producer.asend("default", [7], task="double") is None
            confirmation = app.producer.publish("default", [[8]], task="double", results=True)
            assert await confirmation is None
            assert await confirmation.tasks[0] == 16

    run(main())


def test_many_side_by_side(run, app, pool):
    async def main():
        async with app:
            calls = (app.double.call(n) for n in range(1000))
            assert await asyncio.gather(*calls) == list(range(0, 2_000, 2))
            sends = (app.double.asend(n) for n in range(1000))
            await asyncio.gather(*sends)

    run(main())
    assert pool.wait_idle()["counters"]["done"] == 2_000


def test_amap(run, app, pool):
    async def slowly():
        for number in range(5):
            await asyncio.sleep(0.001)
            yield number

    async def main():
        async with app:
            doubled = list(range(0, 4_000, 2))
            assert [r async for r in app.double.amap(range(2_000))] == doubled
            assert [r async for r in app.double.amap(n for n in range(2_000))] == doubled
            assert [r async for r in app.double.amap(slowly())] == [0, 2, 4, 6, 8]
            assert [r async for r in app.add.amap([1, 2], [10, 20])] == [11, 22]
            assert [r async for r in app.double.amap([])] == []

    run(main())


def test_an_asynchronous_source_is_held_back(app, pool):
    given = 0

    async def endless():
        nonlocal given
        while True:
            given += 1
            yield given

    async def main():
        async with app, contextlib.aclosing(app.double.amap(endless())) as results:
            assert [await anext(results) for _ in range(3)] == [2, 4, 6]

    asyncio.run(main())
    assert given < 1_000_000


def test_errors_are_raised_where_they_are_awaited(run, app, pool):
    async def failing():
        yield 1
        raise ValueError("no more")

    async def main():
        async with app:
            with pytest.raises(zqueue.RemoteError, match="unsupported operand"):
                await app.double.call(None)
            with pytest.raises(TypeError, match="too many positional arguments"):
                await app.double.call(1, 2)
            with pytest.raises(zqueue.BodyError, match="task 'double', argument number"):
                await app.double.call(object())
            with pytest.raises(zqueue.RemoteError):
                [r async for r in app.double.amap([1, None, 2])]
            with pytest.raises(ValueError, match="no more"):
                [r async for r in app.double.amap(failing())]
            with pytest.raises(zqueue.TimedOut, match="no result within"):
                [r async for r in app.double.options(queue="unserved").amap([1], timeout=0.01)]

    run(main())


def test_progress(app, pool):
    async def main():
        async with app:
            future, seen = app.step.asubmit(3), []
            future.add_progress_callback(lambda f: seen.append(f.progress))
            assert await future == 3
            assert seen[-1] == future.progress == (3, 3)
            again = []
            future.add_progress_callback(lambda f: again.append(f.progress))
            await asyncio.sleep(0)
            assert again == [(3, 3)]
            assert future.id.count("-") == 2

    asyncio.run(main())


def test_the_context_is_kept(app, pool):
    user = contextvars.ContextVar("user")
    seen = []

    def numbers():
        seen.append(user.get())
        yield 1

    async def main():
        async with app:
            user.set("ann")
            [_ async for _ in app.double.amap(numbers())]
            app.double.asubmit(1).add_done_callback(lambda _: seen.append(user.get()))
            await app.double.call(2)
            await asyncio.sleep(0)
            seen.append(user.get())

    asyncio.run(main())
    assert seen == ["ann"] * 3


def test_loops_one_after_the_other(app, pool):
    loops = []

    async def main():
        loops.append(weakref.ref(asyncio.get_running_loop()))
        assert await app.double.call(1) == 2
        assert await app.double.submit(1) == 2

    for _ in range(3):
        asyncio.run(main())
    gc.collect()
    assert [loop() for loop in loops] == [None] * 3  # None is kept by the producer.


def test_loops_side_by_side(app, pool):
    async def main():
        return await asyncio.gather(*(app.double.call(n) for n in range(300)))

    results = []
    threads = [threading.Thread(target=lambda: results.append(asyncio.run(main()))) for _ in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)
    assert results == [list(range(0, 600, 2))] * 3


# --- what is cancelled ---


def test_a_cancelled_await_cancels_what_has_not_begun(run, app):
    with InProcess(app, worker=False) as pool:

        async def main():
            async with app:
                for make in (app.double.call, app.add.call):
                    task = asyncio.create_task(make(1))
                    await until(lambda: pool.queue("default")["ready"] == 1, "the task")
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                    await until(lambda: pool.queue("default")["ready"] == 0, "the end of it")
                future = app.double.submit(1)
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(future, 0.01)
                await until(lambda: pool.queue("default")["ready"] == 0, "the end of it")
                assert future.cancelled()

        run(main())


def test_what_still_gathers_is_not_sent(app):
    with InProcess(app, worker=False) as pool:

        async def main():
            async with app:
                first = app.double.asubmit(1)  # Unconfirmed: those behind it gather.
                rest = [app.double.asubmit(n) for n in range(10)]
                for future in rest[:-1]:
                    assert future.cancel()
                await app.double.asend(2)
                await until(lambda: pool.queue("default")["ready"] == 3, "three tasks")
                assert not first.done()

        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(main())


def test_what_others_cancel_is_cancelled(app):
    with InProcess(app, worker=False) as pool:

        async def main():
            async with app:
                futures = [app.double.asubmit(1), app.double.submit(1)]
                await until(lambda: pool.queue("default")["ready"] == 2, "the tasks")
                await asyncio.to_thread(app.cancel, queue="default")
                for future in futures:
                    with pytest.raises(asyncio.CancelledError):
                        await future

        asyncio.run(main())


def test_amap_that_is_left_early_cancels_what_waits(app):
    with InProcess(app, worker=False) as pool:

        async def main():
            async with app:
                with pytest.raises(zqueue.TimedOut):
                    async for _ in app.double.amap(range(100), timeout=0.2):
                        pass
                await until(lambda: pool.queue("default")["ready"] == 0, "the end of all")

        asyncio.run(main())


# --- nothing blocks the loop ---


def test_without_a_broker(run):
    app = zqueue.App(NOBODY, connect_timeout=0.5)

    @app.task
    def double(number):
        return 2 * number

    async def main():
        async with app, Ticks() as ticks:
            for call in (double.call, double.asend):
                with pytest.raises(zqueue.BrokerLost, match="no broker answers"):
                    await asyncio.gather(*(call(n) for n in range(10)))
            assert ticks.count > 10
            app.producer.timeout = 0.1

    run(main())


def test_closing_without_a_broker():
    app = zqueue.App(NOBODY, timeout=0.5, connect_timeout=60)

    @app.task
    def double(number):
        return 2 * number

    async def main():
        async with Ticks() as ticks:
            future = double.asubmit(1)
            with pytest.raises(zqueue.BrokerLost):
                await app.aclose()
            assert ticks.count > 10
            with pytest.raises(zqueue.Closed):
                await future

    asyncio.run(main())


def test_a_full_queue_is_an_answer(run, app):
    with InProcess(app, worker=False, queue_tasks_max=4) as pool:

        async def main():
            async with app:
                for number in range(4):
                    await app.double.asend(number)
                for call in (app.double.asend, app.double.call):
                    with pytest.raises(zqueue.QueueFull, match="queue 'default' is full"):
                        await call(5)
                assert pool.queue("default")["ready"] == 4
                await app.double.options(queue="other").asend(1)

        run(main())


def test_a_broker_that_hangs(app, tmp_path):
    program = tmp_path / "shop.py"
    program.write_text(SHOP)
    with Cluster(str(program), workers=1) as cluster:
        cluster.connect(app)

        async def main():
            async with app, Ticks() as ticks:
                assert await app.double.call(1) == 2
                cluster.broker.process.send(signal.SIGSTOP)
                try:
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.5):
                            await app.double.call(2)
                    assert ticks.count > 10
                    future = app.double.asubmit(3)
                finally:
                    cluster.broker.process.send(signal.SIGCONT)
                assert await asyncio.wait_for(future, LONG_S) == 6

        asyncio.run(main())


def test_leaving_waits_for_the_confirms(run, app, pool):
    async def main():
        async with app:
            for number in range(3000):
                app.double.asubmit(number)

    run(main())
    assert pool.wait_idle()["counters"]["done"] == 3000


def test_a_callback_that_blocks_does_not_hold_up_the_loop(app, pool):
    """Other threads of the program may have callbacks that block: they are not called in a loop."""
    goes_on, began = threading.Event(), threading.Event()

    def block(_):
        began.set()
        goes_on.wait(LONG_S)

    async def main():
        async with app:
            app.double.submit(1).add_done_callback(block)
            await until(began.is_set, "the callback")
            # Results are given out in their order, so these wait for it; the loop does not.
            futures = [app.double.asubmit(n) for n in range(10)]
            async with Ticks() as ticks:
                await until(lambda: ticks.count > 3, "a loop that goes on")
                goes_on.set()
                assert await asyncio.gather(*futures) == list(range(0, 20, 2))

    asyncio.run(main())


# --- in a worker ---


def test_in_a_handler_there_is_one_connection_for_all(tmp_path):
    program = tmp_path / "shop.py"
    program.write_text(SHOP)
    app = zqueue.App()

    @app.task(queue="outer")
    async def outer(number): ...

    with Cluster() as cluster:
        cluster.connect(app)
        for queue in ("default", "outer"):
            cluster.start_workers(program, 1, "-Q", queue)

        async def main():
            async with app:
                results = await asyncio.gather(*(outer.call(n) for n in range(20)))
                assert results == [4 * n for n in range(20)]
                producers = (await asyncio.to_thread(cluster.info))["producers"]
                assert producers == 2  # That of the test, and that of the worker of "outer".

        asyncio.run(main())
