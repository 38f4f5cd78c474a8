"""Batch handlers."""

import asyncio

from jobs import note  # A module beside the app, as in `python FILE`.

import zqueue

app = zqueue.App(retries=0)


@app.batch(queue="events", max_size=50, max_wait=0.02)
def index(events):
    """Bodies that are marked bad fail, alone."""
    bad = {}
    for position, event in enumerate(events):
        if event.get("bad"):
            bad[position] = ValueError(f"event {event['id']} is bad")
        else:
            note(event["id"], size=len(events))
    if bad:
        raise zqueue.PartialFailure(bad)


@app.batch(queue="async-events", max_size=10, max_wait=0.01)
async def index_async(events):
    await asyncio.sleep(0)
    for event in events:
        note(event["id"], size=len(events))


@app.batch(queue="all-or-nothing", max_size=10, max_wait=0.05)
def refuse_all(events):
    raise RuntimeError(f"none of {len(events)}")
