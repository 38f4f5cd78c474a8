"""Overseeing: what brokers are asked, each in a thread of its own, and not for each request.

Theory of operation. Of several brokers all are asked at once, and one that does not answer holds up
what others say for `LATE_S` at most: what is told of tasks and queues is then of those that did.
What is done to queues and dead letters must be done at all of them, or it is said that it was not.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ..client.ask import Asker
from ..dead_letters import DeadLetters
from ..errors import ConfigError, Refused, ZQueueError
from ..letter import ID_DIGITS, DeadLetter
from ..net.lookup import urls_now
from ..report import queues_as_data
from .outlet import Outlet
from .problems import Problem, problem_of

FRESH_S = 1.0
"""For how long an answer counts, seconds."""

ASK_S = 3.0
LATE_S = 0.5
LETTERS_MAX = 100

T = TypeVar("T")


class _Thread:
    """Where calls are made that wait for a broker."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "overseer")
        self._loop = asyncio.get_running_loop()

    async def run(self, work: Callable[[], T]) -> T:
        """Raises `Problem`."""
        try:
            return await self._loop.run_in_executor(self._pool, work)
        except Refused as error:
            raise _RefusedProblem(400, str(error)) from None
        except ConfigError as error:
            raise Problem(404, str(error)) from None
        except ZQueueError as error:
            raise problem_of(error) from None

    def end(self, work: Callable[[], None]) -> None:
        """Make a last call, for which nobody waits."""
        self._pool.submit(work)
        self._pool.shutdown(wait=False)


class _Desk:
    """One broker."""

    def __init__(self, url: str) -> None:
        self._asker = Asker(url)
        self._thread = _Thread()
        self._asking: asyncio.Future[dict[str, Any]] | None = None

    def ask(self) -> asyncio.Future[dict[str, Any]]:
        """What it says of itself. It is asked once for all who ask meanwhile."""
        if self._asking is None or self._asking.done():
            call = self._thread.run(lambda: self._asker.ask(timeout=ASK_S))
            self._asking = asyncio.ensure_future(call)
        return self._asking

    async def control(self, action: str, queue: str) -> dict[str, Any]:
        """Raises `Problem`."""
        call = self._thread.run(lambda: self._asker.control(action, queue, timeout=ASK_S))
        return await call

    def close(self) -> None:
        """Ask no more."""
        self._thread.end(self._asker.close)


class Overseer:
    """Asks the brokers at a URL, or several."""

    def __init__(self, url: str, outlet: Outlet) -> None:
        self._url = url
        self._outlet = outlet
        self._desks = [_Desk(each) for each in urls_now([url])]
        self._letters = DeadLetters(url)
        self._thread = _Thread()
        self._loop = asyncio.get_running_loop()
        self._infos: dict[str, tuple[_Desk, dict[str, Any]]] = {}
        """By the brokers' ids: one that has two addresses is there once."""
        self._tasks: dict[str, str] = {}
        self._asked_at = float("-inf")
        self._asking: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Overseer of {self._url}>"

    def close(self) -> None:
        """Ask no more."""
        for desk in self._desks:
            desk.close()
        self._thread.end(self._letters.close)

    async def infos(self) -> list[dict[str, Any]]:
        """What the brokers say of themselves, not older than `FRESH_S`. Raises `Problem`: 503."""
        try:
            self._outlet.check()
        except ZQueueError as error:
            raise problem_of(error) from None
        if self._loop.time() - self._asked_at > FRESH_S:
            if self._asking is None or self._asking.done():
                self._asking = asyncio.ensure_future(self._ask())
            await asyncio.shield(self._asking)
        return [info for _, info in self._infos.values()]

    async def _ask(self) -> None:
        asked = {desk.ask(): desk for desk in self._desks}
        left = set(asked)
        while left:  # Until one has answered, and the others have or are late.
            some = any(each.done() and not each.exception() for each in asked)
            done, left = await asyncio.wait(
                left, timeout=LATE_S if some else None, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
        answered = [each for each in asked if each.done() and not each.exception()]
        if not answered:
            await next(iter(asked))
        infos: dict[str, tuple[_Desk, dict[str, Any]]] = {}
        for each in answered:
            infos.setdefault(each.result()["id"], (asked[each], each.result()))
        self._infos, self._asked_at = infos, self._loop.time()
        self._tasks = {task: queue for _, info in infos.values()
                       for task, queue in info["tasks"].items()}  # fmt: skip

    async def queue_of(self, task: str) -> str:
        """The queue of a task that some worker has. Raises `Problem`: 404, 503."""
        if task not in self._tasks:
            await self.infos()
        if task not in self._tasks:
            raise Problem(404, f"No worker has a task {task!r}.")
        return self._tasks[task]

    async def are_draining(self) -> bool:
        """Whether all brokers that answer are. Raises `Problem`: 503."""
        return all(info.get("draining") for info in await self.infos())

    async def queues(self) -> list[dict[str, Any]]:
        """The state of all queues: of several brokers what is in all of them, and each."""
        infos = await self.infos()
        if len(self._desks) == 1:
            return queues_as_data(infos[0])
        found: dict[str, list[dict[str, Any]]] = {}
        for info in infos:
            for queue in queues_as_data(info):
                found.setdefault(queue["queue"], []).append(
                    {"broker": info["id"][:ID_DIGITS], **queue}
                )
        return [_in_all(rows) for rows in found.values()]

    async def control(self, action: str, queue: str) -> dict[str, Any]:
        """Pause, drain or resume a queue, at all brokers. Raises `Problem`: 404, 503."""
        calls = [desk.control(action, queue) for desk in self._desks]
        told = await asyncio.gather(*calls, return_exceptions=True)
        self._asked_at = float("-inf")
        unknown = [each for each in told if isinstance(each, _RefusedProblem)]
        for each in told:
            if isinstance(each, BaseException) and each not in unknown:
                raise each
        if len(unknown) == len(told):
            raise Problem(404, unknown[0].detail)
        one = next(each for each in told if isinstance(each, dict))
        return {key: one[key] for key in ("queue", "paused", "draining")}

    async def letters(self, may_see: Callable[[str], bool], limit: int) -> list[Any]:
        """The newest dead letters. Raises `Problem`: 503."""

        def look() -> list[Any]:
            found = []
            for letter in self._letters.select(newest=True):
                if may_see(letter.queue):
                    found.append(as_data(letter))
                if len(found) >= limit:
                    break
            return found

        return await self._thread.run(look)

    async def letter(self, name: str) -> DeadLetter:
        """One. Raises `Problem`: 404, 503."""
        found = await self._thread.run(lambda: self._letters.get(name))
        if found is None:
            raise Problem(404, f"There is no dead letter {name}.")
        return found

    async def replay(self, name: str) -> int:
        """Make a task of a letter again. Raises `Problem`: 429, 503."""
        return await self._thread.run(lambda: self._letters.replay(numbers=[name], timeout=0))

    async def drop(self, name: str) -> int:
        """Keep a letter no more. Raises `Problem`: 503."""
        return await self._thread.run(lambda: self._letters.drop(numbers=[name]))


class _RefusedProblem(Problem):
    """The broker would not."""


def _in_all(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A queue of several brokers, which the same workers serve."""
    due = [row["due_in_s"] for row in rows if row["due_in_s"] is not None]
    states = dict.fromkeys(row["state"] for row in rows)
    total = {key: sum(row[key] for row in rows) for key in ("ready", "delayed", "leased", "bytes")}
    return {
        "queue": rows[0]["queue"], "state": "; ".join(states), **total,
        "due_in_s": min(due, default=None), "workers": max(row["workers"] for row in rows),
        "brokers": rows,
    }  # fmt: skip


def as_data(letter: DeadLetter) -> Any:
    """A letter, as JSON can have it."""
    return {"name": letter.name, **json.loads(letter.to_json())}
