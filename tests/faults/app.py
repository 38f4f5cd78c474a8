"""Tasks that say in a file when they begin and end. For workers that are killed."""

from __future__ import annotations

import json
import os
import signal
import time

import zqueue

app = zqueue.App()
NAME = f"{os.getppid()}/{os.getpid()}"


def note(**what: object) -> None:
    """One line; O_APPEND keeps the lines of several processes whole."""
    line = json.dumps({"at": time.monotonic(), **what}) + "\n"
    fd = os.open(os.environ["RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(fd, line.encode())
    finally:
        os.close(fd)


@app.task(queue="work")
def run(number: int, seconds: float, is_poison: bool = False) -> int:
    """Take so long, and give the number back, if it does not kill its worker."""
    note(began=number, worker=NAME, attempt=zqueue.current().attempt)
    time.sleep(seconds)
    if is_poison:
        note(fault="crash", whom=NAME)
        os.kill(os.getpid(), signal.SIGKILL)
    note(ended=number, worker=NAME, how="done")
    return number
