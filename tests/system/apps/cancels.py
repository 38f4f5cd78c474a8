"""Tasks that stay until they are cancelled, each in its way."""

import asyncio
import time

from jobs import note

import zqueue

app = zqueue.App()
LONG_S = 60.0


@app.task
def quick(id):
    note(id)
    return id


@app.task
def stay(id):
    note(id, stage="begin")
    try:
        time.sleep(LONG_S)
    except zqueue.Cancelled:
        note(id, stage="cancelled")
        raise


@app.task
def stubborn(id):
    """Is not to be told."""
    note(id, stage="begin")
    while True:
        try:
            time.sleep(LONG_S)
        except BaseException:
            note(id, stage="cancelled")


@app.task
async def dream(id, seconds=LONG_S):
    note(id, stage="begin")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        note(id, stage="cancelled")
        raise
    return id


@app.batch(queue="batches", max_size=2, max_wait=60.0)
def gather(bodies):
    for each in bodies:
        note(each)
