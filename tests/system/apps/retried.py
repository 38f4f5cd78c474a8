"""Tasks that fail at first, or always, and say in a file when they ran."""

import json
import os
import time

import zqueue

app = zqueue.App(retries=3, backoff=0.05, backoff_max=0.2)


def note(id):
    """One line a run. Returns which run of this task it is, over all processes."""
    path = os.environ["RECORD"]
    current = zqueue.current()
    attempt, left = current.attempt, current.retries_left
    entry = {"id": id, "attempt": attempt, "left": left, "at": time.time(), "pid": os.getpid()}
    line = json.dumps(entry)
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(fd, f"{line}\n".encode())
    finally:
        os.close(fd)
    return attempt


@app.task
def flaky(id, good):
    """Succeeds at that attempt."""
    attempt = note(id)
    if attempt < good:
        raise ConnectionError(f"attempt {attempt}")
    return attempt


@app.task(no_retry_on=(ValueError,))
def picky(id):
    note(id)
    raise ValueError("it will never do")


@app.task(retries=0)
def asking(id, delay):
    """Asks for another attempt, which only its sender has allowed for."""
    if note(id) == 1:
        raise zqueue.Retry("come again", delay=delay)
    return "done"


@app.task(timeout=0.3, backoff=0)
def hanging(id):
    if note(id) == 1:
        time.sleep(60)
    return "done"


@app.task
async def awaited(id, good):
    return flaky(id, good)


@app.task
def slow(id, seconds):
    note(id)
    time.sleep(seconds)


@app.batch(queue="parts", max_size=10, backoff=0)
def parts(bodies):
    attempts = {number: note(body["id"]) for number, body in enumerate(bodies)}
    failures = {
        number: KeyError("not yet")
        for number, body in enumerate(bodies)
        if attempts[number] < body["good"]
    }
    if failures:
        raise zqueue.PartialFailure(failures)
