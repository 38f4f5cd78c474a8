"""Tasks that fail until somebody mends them: until the file MENDED is there."""

import json
import os
import pathlib

import zqueue

app = zqueue.App(retries=0)


@app.task
def send_mail(to, copies=1):
    mend("send_mail", to, ConnectionError(f"no way to {to}"))


@app.task(queue="sums")
def add(a, b):
    mend("add", a, ValueError("cannot add"))


def mend(task, what, error):
    if not pathlib.Path(os.environ["MENDED"]).exists():
        raise error
    line = json.dumps({"id": what, "task": task, "attempt": zqueue.current().attempt}) + "\n"
    with open(os.environ["RECORD"], "a", encoding="utf-8") as record:
        record.write(line)
