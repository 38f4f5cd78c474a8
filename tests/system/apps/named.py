"""An app with a name, whose task sends another one."""

import json
import os

import zqueue

app = zqueue.App(name="billing")


def note(id):
    fd = os.open(os.environ["RECORD"], os.O_WRONLY | os.O_APPEND)
    try:
        os.write(fd, (json.dumps({"id": id}) + "\n").encode())
    finally:
        os.close(fd)


@app.task
def leaf(id):
    note(id)


@app.task
def branch(id):
    leaf.send(id)
    return id
