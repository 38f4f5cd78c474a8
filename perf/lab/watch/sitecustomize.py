"""A profiler in every Python process that finds this folder on its path: started when the process
begins, saved when it ends. `profiles` sets the environment variables that say which, and where to.
"""

from __future__ import annotations

import atexit
import os
import sys
from pathlib import Path

KIND, FOLDER = "PERF_WATCH", "PERF_WATCH_FOLDER"
MEMORY, TRACE = "memory", "trace"

TRACE_ENTRIES = 100_000
"""Calls in a trace of one process; the newest are kept. A viewer shows more, but slowly."""

ROLES = (
    ("peers.pyzmq", "raw pyzmq"),
    ("peers pyzmq", "raw pyzmq"),
    ("peers ours", "producer"),
    ("zqueue.worker.", "worker"),
    (" broker ", "broker"),
    (" worker ", "supervisor"),
)
"""Whose process it is, by its command."""

HERE = "process"


def role_of(command: str) -> str:
    """Who a process is, by its command."""
    return next((role for mark, role in ROLES if mark in command), HERE)


def _start() -> None:
    stem = Path(os.environ[FOLDER], f"{role_of(' '.join(sys.orig_argv))}-{os.getpid()}")
    if os.environ[KIND] == MEMORY:
        import memray

        tracker = memray.Tracker(stem.with_suffix(".bin"))
        tracker.__enter__()
        atexit.register(tracker.__exit__, None, None, None)
    else:
        import viztracer

        tracer = viztracer.VizTracer(
            output_file=str(stem.with_suffix(".json")), tracer_entries=TRACE_ENTRIES,
            process_name=stem.name, log_gc=True, verbose=0,
        )  # fmt: skip
        tracer.start()
        atexit.register(tracer.save)
        atexit.register(tracer.stop)  # The last one registered is the first one called.


if __name__ == "sitecustomize" and KIND in os.environ:  # `profiles` imports it, too.
    _start()
