"""Sending from the shell: ``zqueue send`` and ``zqueue pipe``."""

from __future__ import annotations

import contextlib
import difflib
import json
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from time import monotonic
from typing import IO, Any, NamedTuple

import click

from .client.ask import ask
from .errors import BodyError, ConfigError, LocalError, RemoteError, ZQueueError
from .handlers import call_body
from .memory_queue import MemoryQueue
from .producer import Producer
from .wire.headers import check_name
from .wire.options import TaskOptions

AHEAD_LINES = 20_000
"""Lines sent ahead of the result that is printed."""

PROGRESS_EVERY_S = 0.2


class BadLine(LocalError):
    """A line of the input is not JSON."""


class Target(NamedTuple):
    """Where bodies go: a task of a queue, or the queue's only handler."""

    queue: str
    task: str


def find_target(url: str, name: str, *, is_queue: bool) -> Target:
    """Find what a name on the command line stands for.

    Raises `ConfigError` if no worker has announced such a task, and `BrokerLost`. A queue that no
    worker has served yet may be meant, but is more often misspelt: that is a warning.
    """
    if is_queue:
        check_name(name, "queue")
        if warning := unserved(ask(url), name):
            click.echo(f"zqueue: {warning}", err=True)
        return Target(name, "")
    state = ask(url)
    tasks = state["tasks"]
    if name in tasks:
        if not state["queues"].get(tasks[name], {}).get("workers"):
            click.echo(
                f"zqueue: no worker serves queue {tasks[name]!r} now: what is sent waits there",
                err=True,
            )
        return Target(tasks[name], name)
    known = f"it knows: {', '.join(sorted(tasks))}" if tasks else "it knows none"
    raise ConfigError(
        f"the broker at {url} knows no task {name!r} ({known}): start a worker that has it "
        "first, or give --queue to send bodies to a queue"
    )


def unserved(state: dict[str, Any], name: str) -> str:
    """What to warn of when bodies go to a queue, by the broker's ``info``; empty if nothing."""
    served = set(state["tasks"].values())
    served |= {other for other, q in state["queues"].items() if q["workers"] or q["plain"]}
    if name in served:
        return ""
    (nearest,) = difflib.get_close_matches(name, sorted(served), n=1) or [""]
    hint = f" (did you mean {nearest!r}?)" if nearest else ""
    return f"no worker has served queue {name!r} so far{hint}: what is sent waits there"


def to_body(value: Any) -> Any:
    """The body of a call whose parameters were written as JSON."""
    return value if isinstance(value, list | dict) else [value]


def _call(arguments: tuple[str, ...]) -> object:
    """The body of a call with these arguments, ``JSON`` or ``NAME=JSON``. Raises `ConfigError`."""
    positional, named = [], {}
    for argument in arguments:
        name, separator, text = argument.partition("=")
        if not (separator and name.isidentifier()):
            positional.append(_value(argument))
        elif name in named:
            raise ConfigError(f"argument {name!r} is given twice")
        else:
            named[name] = _value(text)
    return call_body(tuple(positional), named)


def _value(argument: str) -> Any:
    """An argument of the command line, which is JSON. Raises `ConfigError`."""
    try:
        # Where the locale has no such character, the bytes are still UTF-8.
        return json.loads(argument.encode(errors="surrogateescape"))
    except (ValueError, RecursionError):
        raise ConfigError(
            f"{argument!r} is not JSON: text needs quotes of its own, as in '\"text\"'"
        ) from None


def send_one(
    url: str, name: str, arguments: tuple[str, ...], *, is_queue: bool, wait: bool,
    timeout_s: float, options: TaskOptions | None = None,
) -> None:  # fmt: skip
    """Send one call, or bodies to a queue; print each result if ``wait``."""
    bodies = [_value(argument) for argument in arguments] if is_queue else [_call(arguments)]
    target = find_target(url, name, is_queue=is_queue)
    with Producer(url, timeout=timeout_s) as producer:
        if not wait:
            for body in bodies:
                producer.send(target.queue, body, task=target.task, options=options)
            return
        for body in bodies:
            future = producer.submit(target.queue, body, task=target.task, options=options)
            try:
                click.echo(json.dumps(future.result(timeout_s)))
            except TimeoutError as error:
                if isinstance(error, ZQueueError):
                    raise
                raise ZQueueError(f"no result within {timeout_s:g} s") from None


def read_lines(lines: Iterable[bytes]) -> Iterator[tuple[int, Any]]:
    """Number and value of each line that is not blank. Raises `BadLine`."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadLine(f"line {number} is not JSON: {error}") from None


@contextlib.contextmanager
def naming_line(number: int) -> Iterator[None]:
    """Add the number of the line to the error if its body cannot be sent."""
    try:
        yield
    except BodyError as error:
        raise BadLine(f"line {number} cannot be sent: {error}") from None


class Progress:
    """A line on stderr that counts."""

    def __init__(self, shown: bool, what: str = "lines") -> None:
        self._shown = shown
        self._what = what
        self._began = monotonic()
        self._next = self._began + PROGRESS_EVERY_S
        self.count = 0

    def add(self) -> None:
        """Count one more."""
        self.set(self.count + 1)

    def set(self, count: int) -> None:
        """There are so many by now."""
        self.count = count
        if self._shown and monotonic() >= self._next:
            self._next = monotonic() + PROGRESS_EVERY_S
            self._print("\r")

    def end(self) -> None:
        """Print the final count."""
        if self._shown:
            self._print("\n")

    def _print(self, end: str) -> None:
        rate = self.count / max(monotonic() - self._began, 1e-9)
        told = f"\r{self.count:,} {self._what}, {rate:,.0f}/s  "
        print(told, end=end, file=sys.stderr, flush=True)


def run_pipe(
    url: str, name: str, lines: Iterable[bytes], out: IO[str], *, is_queue: bool, timeout_s: float,
    progress: bool,
) -> int:  # fmt: skip
    """Send every line; print the results in order. Returns the exit code.

    Raises `BadLine` when a line is not JSON, once all lines before it are done with.
    """
    target = find_target(url, name, is_queue=is_queue)
    shown = Progress(progress)
    with Producer(url, timeout=timeout_s) as producer, contextlib.ExitStack() as stack:
        stack.callback(shown.end)
        if is_queue:
            for number, value in read_lines(lines):
                with naming_line(number):
                    producer.send(target.queue, value)
                shown.add()
            return 0
        return _pipe_task(producer, target, lines, out, shown)


def _pipe_task(
    producer: Producer, target: Target, lines: Iterable[bytes], out: IO[str], shown: Progress
) -> int:
    """One thread reads and sends, this one prints: slow input does not hold up results."""
    results: MemoryQueue[Future[Any] | Exception | None] = MemoryQueue(AHEAD_LINES)
    sending = threading.Lock()
    ended = threading.Event()

    def read() -> None:
        try:
            for number, value in read_lines(lines):
                with sending, naming_line(number):
                    if ended.is_set():
                        return
                    future = producer.submit(target.queue, to_body(value), task=target.task)
                results.put(future)
        except Exception as error:
            results.put(error)
        else:
            results.put(None)

    threading.Thread(target=read, name="zqueue-pipe", daemon=True).start()
    try:
        return _print_results(results, out, shown)
    finally:
        # The producer is closed next: no line may be on its way into it.
        with sending:
            ended.set()


def _print_results(
    results: MemoryQueue[Future[Any] | Exception | None], out: IO[str], shown: Progress
) -> int:
    """A line for each result, in order. Returns the exit code."""
    failed = 0
    while (item := results.get()) is not None:
        if isinstance(item, Exception):
            raise item
        try:
            line = json.dumps(item.result())
        except ZQueueError as error:
            failed += 1
            type_name = error.type_name if isinstance(error, RemoteError) else type(error).__name__
            text = error.text if isinstance(error, RemoteError) else str(error)
            line = json.dumps({"error": {"type": type_name, "text": text}})
        except TypeError:
            failed += 1
            line = json.dumps({"error": {"type": "TypeError", "text": "the result is not JSON"}})
        out.write(line + "\n")
        if results.empty():
            out.flush()
        shown.add()
    out.flush()
    return 1 if failed else 0
