"""Overseeing: what the broker is asked, in a thread of its own, and not once for each request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ..client.ask import Asker
from ..dead_letters import DeadLetter, DeadLetters
from ..errors import Refused, ZQueueError
from ..report import queues_as_data
from .problems import Problem, problem_of

FRESH_S = 1.0
"""For how long an answer counts, seconds."""

ASK_S = 3.0
LETTERS_MAX = 100

T = TypeVar("T")


class Overseer:
    """Asks the broker at a URL."""

    def __init__(self, url: str) -> None:
        self._asker = Asker(url)
        self._letters = DeadLetters(url)
        self._thread = ThreadPoolExecutor(1, "overseer")
        self._loop = asyncio.get_running_loop()
        self._info: dict[str, Any] = {}
        self._asked_at = float("-inf")
        self._asking: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Overseer of {self._asker.url}>"

    def close(self) -> None:
        """Ask no more."""
        self._thread.submit(self._asker.close)
        self._thread.submit(self._letters.close)
        self._thread.shutdown(wait=False)

    async def info(self, fresh_s: float = FRESH_S) -> dict[str, Any]:
        """What the broker says of itself, not older than that. Raises `Problem`: 503."""
        if self._loop.time() - self._asked_at > fresh_s:
            if self._asking is None:
                self._asking = asyncio.ensure_future(self._ask())
            await asyncio.shield(self._asking)
        return self._info

    async def _ask(self) -> None:
        try:
            self._info = await self._run(lambda: self._asker.ask(timeout=ASK_S))
            self._asked_at = self._loop.time()
        finally:
            self._asking = None

    async def queue_of(self, task: str) -> str:
        """The queue of a task that some worker has. Raises `Problem`: 404, 503."""
        queue = self._info.get("tasks", {}).get(task)
        if queue is None:
            queue = (await self.info())["tasks"].get(task)
        if queue is None:
            raise Problem(404, f"No worker has a task {task!r}.")
        return str(queue)

    async def queues(self) -> list[dict[str, Any]]:
        """The state of all queues."""
        return queues_as_data(await self.info())

    async def control(self, action: str, queue: str) -> dict[str, Any]:
        """Pause, drain or resume a queue. Raises `Problem`: 404, 503."""
        try:
            told = await self._run(lambda: self._asker.control(action, queue, timeout=ASK_S))
        except _RefusedProblem as problem:
            raise Problem(404, problem.detail) from None
        self._asked_at = float("-inf")
        return {key: told[key] for key in ("queue", "paused", "draining")}

    async def letters(self, may_see: Callable[[str], bool], limit: int) -> list[Any]:
        """The newest dead letters."""

        def look() -> list[Any]:
            found = []
            for letter in self._letters.select(newest=True):
                if may_see(letter.queue):
                    found.append(as_data(letter))
                if len(found) >= limit:
                    break
            return found

        return await self._run(look)

    async def letter(self, number: int) -> DeadLetter:
        """One. Raises `Problem`: 404, 503."""
        found = await self._run(lambda: self._letters.get(number))
        if found is None:
            raise Problem(404, f"There is no dead letter {number}.")
        return found

    async def replay(self, number: int) -> int:
        """Make a task of a letter again. Raises `Problem`: 429, 503."""
        return await self._run(lambda: self._letters.replay(numbers=[number], timeout=0))

    async def drop(self, number: int) -> int:
        """Keep a letter no more."""
        return await self._run(lambda: self._letters.drop(numbers=[number]))

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await self._loop.run_in_executor(self._thread, work)
        except Refused as error:
            raise _RefusedProblem(400, str(error)) from None
        except ZQueueError as error:
            raise problem_of(error) from None


class _RefusedProblem(Problem):
    """The broker would not."""


def as_data(letter: DeadLetter) -> Any:
    """A letter, as JSON can have it."""
    return json.loads(letter.to_json())
