"""A task of next to no work, for awaiting.py."""

from __future__ import annotations

import zqueue

app = zqueue.App()


@app.task
def double(number: int) -> int:
    """Twice that."""
    return 2 * number
