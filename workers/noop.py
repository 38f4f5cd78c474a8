"""Does nothing, says what it hears, or sleeps: for benchmarks, and to try things out.

Start a broker and a worker, each in a terminal of its own::

    $ zqueue broker
    $ zqueue worker workers/noop.py

Send from the shell::

    $ zqueue send echo '{"any": ["JSON", 1, null]}' --wait
    {"any": ["JSON", 1, null]}
    $ seq 1000 | zqueue pipe noop | wc -l
    1000

Send from Python (``PYTHONPATH=workers python``). Two of the tasks that sleep have a time-out: a
soft one is raised inside the function, which may still tidy up; the other ends its process,
whatever it is doing, and another process takes its place::

    >>> from noop import app, noop, sleep, sleep_hard, sleep_soft
    >>> noop.send_many(range(10_000))
    10000
    >>> sleep.submit(0.01).result(timeout=60)
    >>> sleep_soft.submit(60).result(timeout=60)
    Traceback (most recent call last):
        ...
    zqueue.errors.TaskTimeout: TaskTimeout: ran longer than 0.5 s
    >>> sleep_hard.submit(60).result(timeout=60)
    Traceback (most recent call last):
        ...
    zqueue.errors.TaskTimeout: TaskTimeout: ran longer than its timeout; its process was killed
    >>> app.close()

Safe to run twice: there is nothing that it does.
"""

from __future__ import annotations

import time
from typing import Any

import zqueue

TIMEOUT_S = 0.5
"""After which the tasks are stopped that have a time-out."""

app = zqueue.App()


@app.task(queue="noop")
def noop(body: Any) -> None:
    """Nothing. What is left is the cost of the way there."""


@app.task(queue="echo")
def echo(value: Any) -> Any:
    """The value that came."""
    return value


@app.task(queue="sleep")
def sleep(seconds: float) -> None:
    """Sleep for as long as it takes: a slow task."""
    time.sleep(seconds)


@app.task(queue="sleep", soft_timeout=TIMEOUT_S)
def sleep_soft(seconds: float) -> None:
    """Sleep, until `TaskTimeout` is raised."""
    time.sleep(seconds)


@app.task(queue="sleep", timeout=TIMEOUT_S)
def sleep_hard(seconds: float) -> None:
    """Sleep, until the process is killed."""
    time.sleep(seconds)
