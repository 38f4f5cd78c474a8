"""Tasks of many steps, which say how far they have come and who they are."""

import asyncio
import json
import os
import threading
import time
from pathlib import Path

import zqueue

app = zqueue.App(retries=0)

STEP_S = 0.05


def note(**what):
    """One line a run; O_APPEND keeps the lines of several processes whole."""
    here = zqueue.current()
    what |= {"task": here.task, "queue": here.queue, "id": here.id, "attempt": here.attempt}
    what |= {"traceparent": here.traceparent, "pid": os.getpid()}
    fd = os.open(os.environ["RECORD"], os.O_WRONLY | os.O_APPEND)
    try:
        os.write(fd, (json.dumps(what) + "\n").encode())
    finally:
        os.close(fd)
    return what


def gate():
    """There once the test lets everybody go on."""
    return Path(os.environ["RECORD"] + ".gate")


def climb(steps):
    for step in range(steps):
        zqueue.current().progress(step, steps)
        time.sleep(STEP_S)
    zqueue.current().progress(steps, steps)
    return zqueue.current().id


plain = app.task(climb, name="plain")
timed = app.task(climb, name="timed", timeout=60)
softly = app.task(climb, name="softly", soft_timeout=50)


@app.task
def threaded(steps):
    """Says so from a thread of its own."""
    thread = threading.Thread(target=climb, args=(steps,))
    thread.start()
    thread.join()
    return zqueue.current().id


@app.task(name="async")
async def climb_async(steps):
    for step in range(steps):
        zqueue.current().progress(step, steps)
        await asyncio.sleep(STEP_S)
    zqueue.current().progress(steps, steps)
    return zqueue.current().id


@app.task
def who(mark):
    return note(mark=mark)


@app.task(name="who_async")
async def who_async(mark):
    return note(mark=mark)


@app.task(queue="gated")
def wait(mark, step=0):
    """Begins, says so, and waits for the gate."""
    note(mark=mark, stage="begin")
    zqueue.current().progress(step, 9)
    while not gate().exists():
        time.sleep(0.01)
    return note(mark=mark, stage="end")["id"]


@app.task(queue="quick")
def quick(mark):
    return note(mark=mark)


@app.task(name="hurry", soft_timeout=0.05)
def hurry():
    """Does nothing but say how far it has come, until its time is over."""
    step = 0
    while True:
        step += 1
        zqueue.current().progress(step, step)


@app.batch(queue="batches", max_size=10, max_wait=0.1)
def index(bodies):
    for step in range(4):
        zqueue.current().progress(step, 4)
        time.sleep(0.3)
    note(bodies=bodies)


@app.task(name="patient")
async def patient(rounds):
    """Says so ten times a second, and does nothing else."""
    for round_ in range(rounds):
        zqueue.current().progress(round_, rounds)
        await asyncio.sleep(0.1)
