"""A handler that waits for another task of its own queue."""

import zqueue

app = zqueue.App(retries=0)


@app.task
def inner(value):
    return value


@app.task
def outer(value, seconds):
    return inner.submit(value).result(seconds)
