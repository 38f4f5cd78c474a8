"""The app: a registry of tasks, for the programs that send them and for those that run them."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, ParamSpec, Protocol, TypeVar, Unpack, overload

from .client.earlier import EarlierResult
from .client.everywhere import cancel_at
from .client.questions import Cancellation
from .client.replies import TaskFuture, cancel_futures
from .errors import ConfigError
from .handlers import Handler, Retries, Retrying
from .producer import CONNECT_TIMEOUT_S, TIMEOUT_S
from .seconds import check_seconds
from .senders import AsyncTask, BatchTask, Task
from .sending import SendingApp

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")
B = TypeVar("B")


class MakesTask(Protocol):
    """What ``@app.task(…)`` gives: it makes a task of a function."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...


class MakesBatchTask(Protocol):
    """What ``@app.batch(…)`` gives: it makes a task of a function of a list."""

    def __call__(self, function: Callable[[list[B]], R], /) -> BatchTask[B, R]: ...


class App(SendingApp):
    """Tasks, and the connection over which they are sent.

    Parameters:
        url: the broker's address, or those of several with commas between them; by default
            ``ZQUEUE_URL``, or ``tcp://127.0.0.1:5555``.
        timeout, connect_timeout: see `Producer`.
        retries: how often a task that failed is tried again, unless the task, or whoever sends it,
            says otherwise.
        backoff: seconds that it waits before the first of these at most, twice that before the
            next, and so on; how long in fact is left to chance.
        backoff_max: seconds that it waits before any of these at most.
        name: see `Producer`. It is this process's: what its workers send, and what a child process
            sends after ``fork``, is sent without it.

    The connection is made by the first call that sends something; a program that only runs
    tasks (a worker) never makes it.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        timeout: float | None = TIMEOUT_S,
        connect_timeout: float | None = CONNECT_TIMEOUT_S,
        name: str | None = None,
        retries: int = 3,
        backoff: float = 0.5,
        backoff_max: float = 600.0,
    ) -> None:
        super().__init__(url, timeout, connect_timeout, name)
        self._retries = Retries(retries, backoff, backoff_max)
        self.handlers: dict[str, Handler] = {}

    def __repr__(self) -> str:
        return f"<App at {self.url}: {', '.join(self.handlers) or 'no tasks'}>"

    @overload
    def task(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...

    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...

    @overload
    def task(
        self,
        /,
        *,
        name: str | None = None,
        queue: str = "default",
        timeout: float | None = None,
        soft_timeout: float | None = None,
        **retrying: Unpack[Retrying],
    ) -> MakesTask: ...

    def task(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        queue: str = "default",
        timeout: float | None = None,
        soft_timeout: float | None = None,
        **retrying: Unpack[Retrying],
    ) -> Any:
        """Make a task of a function, plain or ``async``. Used as ``@app.task`` or with options.

        Parameters:
            name: what it is called on the wire; by default the function's name.
            queue: where its tasks wait.
            timeout: seconds after which a task fails with `TaskTimeout` and the process that
                runs it is killed, whatever it is doing. An ``async`` task is cancelled instead.
            soft_timeout: seconds after which `TaskTimeout` is raised inside the function.
            retrying: ``retries``, ``backoff`` and ``backoff_max`` as for `App`; ``retry_on`` and
                ``no_retry_on``: which exceptions are tried again, each a class or a tuple of them
                (default: all, `TaskTimeout` among them). ``resubmit``: whether whoever submits it
                sends it again if its result is lost (see `task_options`).

        Raises:
            ConfigError, InvalidName: a name is taken or cannot be, an option makes no sense.
        """

        def decorate(function: Callable[..., Any]) -> Task[..., Any] | AsyncTask[..., Any]:
            handler = Handler(
                _name_of(function, name, "@app.task(name=…)"),
                queue,
                function,
                timeout=timeout,
                soft_timeout=soft_timeout,
                **self._retries.of(retrying),
            )
            self._register(handler)
            return (AsyncTask if handler.is_async else Task)(self, handler)

        return decorate if function is None else decorate(function)

    def batch(
        self,
        *,
        queue: str,
        name: str | None = None,
        max_size: int = 500,
        max_wait: float = 0.02,
        timeout: float | None = None,
        soft_timeout: float | None = None,
        **retrying: Unpack[Retrying],
    ) -> MakesBatchTask:
        """Make a task of a function that takes a list of bodies. It owns its queue.

        Parameters:
            queue: where its bodies wait; no other task may use it.
            max_size: bodies in one call at most.
            max_wait: seconds that the first body of a call waits for company.
            name, timeout, soft_timeout, retrying: as for `task`; the time-outs are for a whole
                call. Only what failed is tried again (`PartialFailure`).

        The function may raise `PartialFailure` to say which of the bodies failed.
        """
        if type(max_size) is not int or max_size < 1:
            raise ConfigError(f"max_size must be a number of bodies, at least 1, not {max_size!r}")
        if math.isinf(check_seconds(max_wait, "max_wait")):
            raise ConfigError("max_wait must be finite: its bodies would wait for ever")

        def decorate(function: Callable[..., Any]) -> BatchTask[Any, Any]:
            handler = Handler(
                _name_of(function, name, "@app.batch(queue=…, name=…)"),
                queue,
                function,
                timeout=timeout,
                soft_timeout=soft_timeout,
                batch_max=max_size,
                batch_wait=max_wait,
                **self._retries.of(retrying),
            )
            self._register(handler)
            return BatchTask(self, handler)

        return decorate

    def earlier_results(self, timeout: float | None = 1.0) -> Iterator[EarlierResult]:
        """Results of what an earlier process of this app's name submitted and did not hear of: see
        `Producer.earlier_results`."""
        return self.producer.earlier_results(timeout)

    def cancel(
        self,
        *tasks: TaskFuture[Any] | str,
        queue: str = "",
        task: str = "",
        key: str = "",
        running: bool = False,
        timeout: float | None = 3.0,
    ) -> Cancellation:
        """Cancel tasks: futures or ids, or else all of a queue. Returns what became of how many.

        What waits will not run: its future is cancelled, and a task that nobody awaits is no dead
        letter. One call for many costs the broker no more than one for a single task.

        Parameters:
            queue, task: all tasks that wait in a queue, or those of a name there.
            key: the task that has this key in ``queue``. The key stays taken until its window ends.
            running: also end those that workers have: `Cancelled` is raised in a handler, an
                ``async`` one is cancelled. One that goes on for a while (``--cancel-grace``) ends
                with its process. A call of a batch handler goes on.
            timeout: seconds to wait for the broker's answer. What is not known by then counts as
                unknown, for futures; for the others it raises.

        Raises:
            ConfigError, InvalidName: it is not said which tasks; an id is none.
            BrokerLost: no broker answers.
            Refused: there is no such queue.
        """
        seconds = check_seconds(timeout, "timeout")
        if not tasks and not queue:
            raise ConfigError("cancel which tasks? give futures or ids, or queue=")
        if key and (tasks or task or not queue):
            raise ConfigError("cancel key= in which queue? give queue=, and no tasks or task=")
        futures = [task for task in tasks if isinstance(task, TaskFuture)]
        ids = [task for task in tasks if not isinstance(task, TaskFuture)]
        counts = cancel_futures(futures, running, seconds)
        if ids or not futures:
            told = cancel_at(
                self.url, *ids, queue=queue, task=task, key=key, running=running, timeout=timeout
            )
            counts = counts.plus(told)
        return counts

    def _register(self, handler: Handler) -> None:
        same = self.handlers.get(handler.name)
        if same is not None:
            if not _is_defined_again(same.function, handler.function):
                raise ConfigError(f"there is a task {handler.name!r} already: give one a name=")
            logger.info("task %r is defined again: the new definition counts", handler.name)
        for other in self.handlers.values():
            if other is same:
                continue
            if other.queue == handler.queue and (other.batch_max or handler.batch_max):
                raise ConfigError(
                    f"tasks {other.name!r} and {handler.name!r} share queue {handler.queue!r}: "
                    "a batch task needs a queue of its own"
                )
        self.handlers[handler.name] = handler


def _name_of(function: object, name: str | None, way: str) -> str:
    """What a task of a function is called. Raises `ConfigError`."""
    if not callable(function):
        raise ConfigError(f"{function!r} is not a function: write {way} to name a task")
    name = name or getattr(function, "__name__", None)
    if not isinstance(name, str):
        raise ConfigError(f"{function!r} has no name of its own: write {way}")
    return name


def _is_defined_again(before: Callable[..., Any], now: Callable[..., Any]) -> bool:
    """Whether a cell of a notebook, or a module, was run once more."""
    place = [(getattr(f, "__module__", ""), getattr(f, "__qualname__", "<")) for f in (before, now)]
    # What is defined inside a function, and a lambda, may be another one of the same name.
    if place[0] != place[1] or "<" in place[0][1]:
        return False
    codes = [getattr(inspect.unwrap(f), "__code__", None) for f in (before, now)]
    lines = {(code.co_filename, code.co_firstlineno) for code in codes if code is not None}
    # A cell that was edited has another file name. Two lines of one file are two definitions.
    return len(lines) < 2 or len({name for name, _ in lines}) == 2
