"""Tasks that wait, for workers with threads."""

import asyncio
import os
import threading
import time

from jobs import note

import zqueue

app = zqueue.App(retries=0)
LONG_S = 60.0
together = threading.Barrier(8)


@app.task
def meet(id):
    """Only done where eight run at a time."""
    together.wait(LONG_S)
    return zqueue.current().id, threading.get_ident()


@app.task
def nap(id, seconds=0.01):
    note(id, stage="begin")
    time.sleep(seconds)
    note(id, stage="end")
    return id


def wait_for_gate():
    while not os.path.exists(f"{os.environ['RECORD']}.gate"):
        time.sleep(0.002)


@app.task
def hold(id):
    note(id, stage="begin")
    try:
        wait_for_gate()
    except zqueue.Cancelled:
        note(id, stage="cancelled")
        raise
    note(id, stage="end")
    return id


@app.task(timeout=0.5)
def overrun(id, seconds):
    note(id, stage="begin")
    time.sleep(seconds)
    return id


@app.task(soft_timeout=0.3)
def notice(id):
    note(id, stage="begin")
    wait_for_gate()


@app.task
def tell(id, steps):
    task = zqueue.current()
    assert task.task == "tell"
    task.progress(steps, steps + 1)
    wait_for_gate()
    assert zqueue.current() is task
    assert task.done == steps
    return id


@app.task
def fork(id):
    """The child returns from the handler, as its parent does."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    note(id, stage="child" if child == 0 else "parent")
    return id


@app.task
def die(id):
    note(id)
    os._exit(70)


@app.task
async def dream(id):
    note(id, stage="begin")
    while not os.path.exists(f"{os.environ['RECORD']}.gate"):
        await asyncio.sleep(0.002)
    return id


@app.batch(queue="batches", max_size=4, max_wait=0.01)
def gather(bodies):
    for each in bodies:
        note(each)
