"""Tasks that do what handlers should not, and still harm nobody else."""

import asyncio
import functools
import multiprocessing
import os
import signal
import sys
import time

import zqueue

app = zqueue.App(retries=0)


@app.task
def echo(value):
    return value


@app.task
async def aecho(value):
    return value


@app.task
def nap(seconds):
    time.sleep(seconds)


@app.task(queue="side")
async def anap(seconds):
    await asyncio.sleep(seconds)
    return os.getpid()


@app.task
def tuple_key(number):
    """A result that no wire carries, now and then."""
    return {(1, 2): 3} if number == 7 else number


def plain(function):
    @functools.wraps(function)
    def inner(*arguments):
        return function(*arguments)

    inner.__wrapped__ = None  # Nobody can see what is inside.
    return inner


@app.task
@plain
async def wrapped():
    """Returns a coroutine, for which nobody waits."""


@app.task
def fork(how):
    """The child returns, or ends as programs do."""
    pid = os.fork()
    if pid:
        return pid
    if how == "exit":
        sys.exit(3)
    return None


@app.task
def child_can_be_ended():
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    child.terminate()
    child.join(10)
    return child.exitcode == -signal.SIGTERM


@app.batch(queue="partial")
def partial(bodies):
    """Fails as it is told."""
    failures = {}
    error = zqueue.PartialFailure({0: ValueError("x")})
    for body in bodies:
        failures[body] = ValueError("x")
    error.failures = failures
    raise error


@app.task(soft_timeout=0.3)
def slow_finalizer():
    class Slow:
        def __del__(self):
            until = time.monotonic() + 0.6
            while time.monotonic() < until:
                pass

    slow = Slow()
    del slow
    while True:
        pass
