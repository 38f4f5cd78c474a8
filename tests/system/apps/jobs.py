"""Tasks that succeed, fail, hang and crash, and say in a file what ran."""

import asyncio
import json
import os
import time

import zqueue

app = zqueue.App(retries=0)


def note(id, **more):
    """One line a run; O_APPEND keeps the lines of several processes whole."""
    line = json.dumps({"id": id, "pid": os.getpid(), **more}) + "\n"
    fd = os.open(os.environ["RECORD"], os.O_WRONLY | os.O_APPEND)
    try:
        os.write(fd, line.encode())
    finally:
        os.close(fd)


@app.task
def add(a, b=0, *, c=0):
    return a + b + c


@app.task
def echo(value):
    return value


@app.task
def fail(text):
    raise ValueError(text)


@app.task
def no_such_element():
    """Raises StopIteration, as careless code does."""
    return next(iter(()))


@app.task
def stop_on(number):
    if number % 3 == 0:
        raise StopIteration(number)
    return number


@app.task
def leave(code):
    raise SystemExit(code)


@app.task
def unsendable():
    return {1, 2, 3}


@app.task
def half_unsendable(number):
    return object() if number % 2 else number


@app.task
def run(id, padding=""):
    note(id)
    return id


LONG_S = 60
"""For tasks that run until the test opens the gate."""


@app.task
def run_slowly(id, seconds=LONG_S):
    """For so long, or until the test opens the gate."""
    note(id, stage="begin")
    until, gate = time.monotonic() + seconds, os.environ["RECORD"] + ".gate"
    while (left := until - time.monotonic()) > 0 and not os.path.exists(gate):
        time.sleep(min(left, 0.02))
    note(id, stage="end")
    return id


@app.task
async def nap(id, seconds):
    await asyncio.sleep(seconds)
    note(id)
    return id


@app.task
async def fail_soon(text):
    await asyncio.sleep(0)
    raise LookupError(text)


@app.task(queue="poison")
def run_or_die(id):
    note(id)
    if id == "die":
        os._exit(70)
    return id


@app.task(queue="timed", timeout=0.5)
def run_in_half_a_second(id, seconds):
    note(id)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            time.sleep(0.05)
        except BaseException:
            pass  # As code does that catches too much.
    return id


@app.task(queue="timed", soft_timeout=0.3, timeout=20)
def notice_the_time(id, seconds):
    try:
        time.sleep(seconds)
    except zqueue.TaskTimeout:
        note(id, stage="noticed")
        raise
    note(id)
    return id


@app.task(queue="timed", timeout=0.5)
async def nap_in_half_a_second(id, seconds):
    await asyncio.sleep(seconds)
    return id


@app.task(queue="other")
def run_elsewhere(id, padding=""):
    note(id)
    return id
