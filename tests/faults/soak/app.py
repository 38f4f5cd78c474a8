"""The tasks of a soak: a fifth fail at first, and some until somebody has mended them."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import zqueue
from tests.faults.soak.marks import DONE, MENDED, Marks

FIRST_FAILS = 5
"""Every fifth task fails at its first attempt."""
HOPELESS = 500
"""Every so manieth fails for good, until it was mended."""

logging.disable(logging.ERROR)
"""Each failure is logged with its traceback: in an hour more than all else on the disk."""

app = zqueue.App()
folder = Path(os.environ["ZQUEUE_SOAK"])
done = Marks(folder, DONE)
mended = Marks(folder, MENDED)


class Hopeless(Exception):
    """Not worth another attempt."""


@app.task(queue="work", retries=8, backoff=0.2, backoff_max=1.0, no_retry_on=Hopeless)
def work(number: int) -> int:
    """Give the number back, as it should be tried."""
    if number % HOPELESS == 0 and not mended[number]:
        raise Hopeless(number)
    if number % FIRST_FAILS == 1 and zqueue.current().attempt == 1:
        raise RuntimeError("the first attempt")
    done.set([number])
    return number
