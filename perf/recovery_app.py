"""Tasks that say in a file when they began, for recovery.py."""

from __future__ import annotations

import os
import time

import zqueue

app = zqueue.App()
_record = os.open(os.environ["RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


@app.task(queue="work", retries=0)
def work(number: int, seconds: float = 0.0) -> None:
    """Note who begins what, when; then take so long."""
    os.write(_record, b"%d %d %.6f\n" % (number, os.getpid(), time.monotonic()))
    if seconds:
        time.sleep(seconds)
