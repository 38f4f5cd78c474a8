"""A program that sends numbered tasks, and says in a file which were sent, confirmed and done."""

from __future__ import annotations

import functools
import sys
from concurrent.futures import Future
from typing import Any

import zqueue
from tests.faults.app import note

CHUNK = 10


def told(number: int, future: Future[Any]) -> None:
    """The outcome of a task."""
    error = future.exception()
    if error is None:
        note(told=number, how="value", value=future.result())
    elif not isinstance(error, zqueue.Closed):
        note(told=number, how=getattr(error, "type_name", type(error).__name__))


def main(url: str, name: str, first: int, count: int, seconds: float, poison: int) -> None:
    """Send ``count`` tasks, a few at a time, each confirmed before the next. Every other few have
    results; the last ``poison`` of all kill their workers."""
    futures: list[Future[Any]] = []
    with zqueue.Producer(url, timeout=60, connect_timeout=60) as producer:
        for start in range(first, first + count, CHUNK):
            numbers = list(range(start, min(start + CHUNK, first + count)))
            reply = start // CHUNK % 2 == 1
            note(sent=numbers, producer=name, reply=reply)
            for number in numbers:
                body = [number, seconds, number >= first + count - poison]
                if reply:
                    future = producer.submit("work", body, task="run")
                    futures.append(future)
                    future.add_done_callback(functools.partial(told, number))
                else:
                    producer.send("work", body, task="run")
            producer.flush(60)
            note(confirmed=numbers)
        for future in futures:
            future.exception(60)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:5]), float(sys.argv[5]), int(sys.argv[6]))
