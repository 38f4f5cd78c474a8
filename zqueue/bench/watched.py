"""The tasks of `handlers`, in a worker process that is watched from here on to its end."""

from __future__ import annotations

import atexit

from .handlers import app
from .watch import watching

__all__ = ["app"]

_watch = watching("worker")
_watch.__enter__()
atexit.register(_watch.__exit__, None, None, None)
