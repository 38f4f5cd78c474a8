"""Mistakes that type checkers must report, and lines beside them that they must not.

``# error: CODE`` says that mypy reports this code in this line, and pyright an error, too. Nothing
is expected in the other lines.
"""

from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import Future
from typing import Any, assert_type

import zqueue

app = zqueue.App()


@app.task
def add(a: int, b: int = 0) -> str:
    return str(a + b)


@app.task(queue="slow", timeout=5, retries=2)
def note(text: str, *, loud: bool = False) -> None: ...


@app.task
async def double(number: float) -> float:
    return 2 * number


@app.task(queue="slow")
async def triple(number: float) -> float:
    return 3 * number


@app.task
def five(a: int, b: str, c: float, d: bytes, e: bool) -> list[int]:
    return [a]


@app.task
def six(a: int, b: int, c: int, d: int, e: int, f: int) -> int:
    return a


@app.task
def seven(a: int, b: int, c: int, d: int, e: int, f: int, g: int) -> int:
    return g


@app.batch(queue="events")
def index(events: list[dict[str, int]]) -> int:
    return len(events)


@app.batch(queue="more")
async def store(bodies: list[str]) -> None: ...


def plain_tasks() -> None:
    assert_type(add(1, 2), str)
    assert_type(add.submit(1, b=2), zqueue.TaskFuture[str])
    assert_type(list(add.map([1, 2], [3, 4])), list[str])
    assert_type(add.options(wait=0).submit(1).result(), str)
    note.send("hi", loud=True)
    future: Future[str] = add.submit(1)
    add(1, "2")  # error: arg-type
    add.send("1")  # error: arg-type
    add.send(1, 2, 3)  # error: call-arg
    add.send()  # error: call-arg
    add.submit(1, c=2)  # error: call-arg
    wrong: Future[int] = add.submit(1)  # error: assignment
    note.send("hi", True)  # error: call-arg
    add.options(wait=0).send("1")  # error: arg-type
    add.options(weight=0)  # error: call-arg
    print(future, wrong)


def async_tasks() -> None:
    coroutine: Coroutine[Any, Any, float] = double(2)
    coroutine.close()
    assert_type(double.submit(2), zqueue.TaskFuture[float])
    assert_type(triple.submit(2).result(), float)
    total: float = sum(double.map(range(10)))
    assert_type(triple.options(queue="q").submit(1), zqueue.TaskFuture[float])
    double.submit("2")  # error: arg-type
    triple.send("2")  # error: arg-type
    text: str = double.submit(2).result()  # error: assignment
    print(text, total)


async def awaiting() -> None:
    assert_type(await double(2), float)
    double(2)  # error: unused-coroutine
    assert_type(await store(["a"]), None)
    await add(1)  # error: misc
    assert_type(await add.call(1, b=2), str)
    assert_type(await double.call(2), float)
    assert_type(await double.submit(2), float)
    assert_type(await double.asend(2), None)
    assert_type(double.asubmit(2), zqueue.LoopFuture[float])
    assert_type(await triple.options(queue="q").asubmit(2), float)
    assert_type([r async for r in double.amap([1, 2.5])], list[float])
    assert_type([r async for r in double.amap(numbers())], list[float])
    assert_type([r async for r in add.amap([1], [2], timeout=5)], list[str])
    assert_type(await index.call({"a": 1}), None)
    assert_type(await app.producer.publish("q", [1]), None)
    async with app as same:
        assert_type(same, zqueue.App)
    await add.call("1")  # error: arg-type
    await add.call(1, 2, 3)  # error: call-arg
    await double.asend("2")  # error: arg-type
    double.asubmit("2")  # error: arg-type
    add.amap(["1"])  # error: list-item
    add.amap([1], [2], [3])  # error: call-overload
    add.call(1)  # error: unused-coroutine
    await index.asend("a")  # error: arg-type


async def numbers() -> AsyncIterator[float]:
    yield 1.5


def many() -> None:
    assert_type(add.send_many([1], [2]), int)
    assert_type(add.send_many(range(3)), int)
    assert_type(list(five.map([1], [""], [1.5], [b""], [True])), list[list[int]])
    assert_type(list(six.map([1], [1], [1], [1], [1], [1])), list[int])
    assert_type(list(add.map([1], timeout=5)), list[str])
    seven.send_many([1], [1], [1], [1], [1], [1], [1])
    add.map(["1"])  # error: list-item
    add.map(1)  # error: call-overload
    add.map([1], ["2"])  # error: list-item
    add.map([1], [2], [3])  # error: call-overload
    add.map()  # error: call-overload
    add.map([1], timeout="5")  # error: call-overload
    add.send_many(["1"])  # error: list-item
    double.map(["1"])  # error: list-item
    triple.options(wait=0).map(["1"])  # error: list-item
    five.send_many([1], [""], [1.5], ["no"], [True])  # error: list-item
    five.map([1], [""], [1.5], [b""])  # error: call-overload


def batches() -> None:
    assert_type(index([{"a": 1}]), int)
    assert_type(index.submit({"a": 1}), zqueue.TaskFuture[None])
    assert_type(index.send_many({"id": n} for n in range(3)), int)
    store.options(wait=0).send("a")
    index({"a": 1})  # error: arg-type
    index.send([{"a": 1}])  # error: arg-type
    index.submit("a")  # error: arg-type
    index.send_many(["a"])  # error: list-item
    index.map([{"a": 1}])  # error: attr-defined
    store.options(wait=0).send(1)  # error: arg-type


def declaring() -> None:
    app.task(queues="q")  # error: call-overload

    @app.batch(queue="q")  # error: arg-type
    def no_list(body: int) -> None: ...
